"""A random LLaVA of two layers with its processor, and small parquet files of questions."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

WORDS = "what color is the object left of red green blue yellow yes no one two A B C D ?".split()
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<image>", "USER:", "ASSISTANT:")
TEMPLATE = (
    "{% for m in messages %}{{ m['role'].upper() + ': ' }}"
    "{% for part in m['content'] %}{% if part['type'] == 'image' %}{{ '<image>\n' }}"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %} {% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
PIXELS, PATCH = 24, 8
KINDS = ("attribute", "choice")


def make_model(seed: int = 0, **text: Any) -> Any:
    """A random LLaVA in eval mode whose answers differ from image to image and text to text."""
    import torch
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
    )

    vision = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=PIXELS,
        patch_size=PATCH,
    )
    settings: dict[str, Any] = {
        "vocab_size": len(SPECIAL) + len(WORDS),
        "hidden_size": 48,
        "intermediate_size": 80,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    config = LlavaConfig(
        vision_config=vision,
        text_config=LlamaConfig(**{**settings, **text}),
        image_token_index=4,
        image_seq_length=9,
        vision_feature_layer=-1,
        tie_word_embeddings=bool(text.get("tie_word_embeddings", False)),
        pad_token_id=0,
    )
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=parameter.shape[-1] ** -0.5 * 2)
    return model


def make_processor() -> Any:
    """The processor that goes with `make_model`."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import CLIPImageProcessor, LlavaProcessor, PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate((*SPECIAL, *WORDS))}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>"},
        padding_side="right",  # generation has to ask for the left side itself
    )
    images = CLIPImageProcessor(
        size={"shortest_edge": PIXELS}, crop_size={"height": PIXELS, "width": PIXELS}
    )
    return LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )


def noise_image(seed: int) -> Image.Image:
    """An image of random pixels."""
    return Image.frombytes("RGB", (PIXELS, PIXELS), random.Random(seed).randbytes(3 * PIXELS**2))


def question_rows(kind: str, count: int = 12, per_image: int = 3) -> list[dict[str, Any]]:
    """Rows of one kind; `per_image` neighbours, of different lengths, share an image."""
    colors = ("red", "green", "blue", "yellow")
    rows: list[dict[str, Any]] = []
    for i in range(count):
        words = "what color is the " + "object left of the " * (i % 4) + f"{colors[i % 4]} object ?"
        image = i // per_image
        rows.append(
            {
                "image": noise_image(image),
                "image_id": f"image-{image}",
                "scene": f"scene-{image}",
                "question": words,
                "answer": colors[i % 4] if kind == "attribute" else "ABCD"[i % 4],
                "kind": kind,
                "options": list(colors) if kind == "choice" else [],
            }
        )
    return rows


def write_parquet(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write rows in the layout of the embedded tasks."""
    import datasets

    text = datasets.Value("string")
    features = datasets.Features(
        {
            "image": datasets.Image(),
            **dict.fromkeys(("image_id", "scene", "question", "answer", "kind"), text),
            "options": datasets.List(text),
        }
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_list(list(rows), features=features).to_parquet(path)
    return path


@pytest.fixture(scope="session")
def model() -> Any:
    """A random model; tests do not change it."""
    return make_model()


@pytest.fixture(scope="session")
def processor() -> Any:
    """The processor of every model of this folder."""
    return make_processor()


@pytest.fixture(scope="session")
def build_model() -> Callable[..., Any]:
    """`make_model`, for tests that change their model or its sizes."""
    return make_model


@pytest.fixture(scope="session")
def make_rows() -> Callable[..., list[dict[str, Any]]]:
    """`question_rows(kind, count, per_image)`."""
    return question_rows


@pytest.fixture(scope="session")
def make_parquet() -> Callable[..., Path]:
    """`write_parquet(path, rows)`."""
    return write_parquet


@pytest.fixture(scope="session")
def make_image() -> Callable[[int], Image.Image]:
    """`noise_image(seed)`."""
    return noise_image


@pytest.fixture(scope="session")
def task_data(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Parquet files of two kinds by split; `rows[kind]` are the rows of both splits."""
    folder = tmp_path_factory.mktemp("questions")
    rows = {kind: question_rows(kind) for kind in KINDS}
    files = {
        kind: {
            split: write_parquet(folder / kind / f"{split}.parquet", rows[kind])
            for split in ("search", "report")
        }
        for kind in KINDS
    }
    return SimpleNamespace(tasks=files, rows=rows)


@pytest.fixture(scope="session")
def task_folder(task_data: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Task files of the search split."""
    from trainables.evaluation.task_files import write_task_files

    return write_task_files(task_data, "search", tmp_path_factory.mktemp("tasks"))


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str], str]], None]:
    """Replaces the model's answers by a function of the question's text."""
    from trainables.evaluation import harness
    from trainables.evaluation.generation import Answer, Question

    def install(reply: Callable[[str], str]) -> None:
        def answerer(model: Any, processor: Any, size: int) -> Callable[..., list[Answer]]:
            def answer(asked: Sequence[Question]) -> list[Answer]:
                return [Answer(reply(question.text), unfinished=False) for question in asked]

            return answer

        monkeypatch.setattr(harness, "Answerer", answerer)

    return install
