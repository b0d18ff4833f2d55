"""Real processors for the tiny models of every family, with one token per character."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

FAKE, GLOBAL, TURN_END = "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"
VISION_START, VISION_END, VIDEO, IMAGE = "<|start|>", "<|end|>", "<|video|>", "<image>"
TILES = tuple(f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2))
CHARACTERS = "abcdefghijklmnopqrstuvwxyz \n:?.012"
# The last four have the ids that the tiny models' configs name; the image token is the last one.
VOCABULARY = ("<pad>", "<s>", "</s>", "<unk>", *CHARACTERS, FAKE, GLOBAL, TURN_END, *TILES)
LAST = (VISION_END, VISION_START, VIDEO, IMAGE)
SIZE = 64
HALF = [0.5, 0.5, 0.5]

# What a template writes for an image, and after an answer.
WRITES = {
    "llava": (f"{IMAGE}\\n", ""),
    "llava-next": (f"{IMAGE}\\n", " "),
    "qwen": (f"{VISION_START}{IMAGE}{VISION_END}", "</s>\\n"),
    "internvl": (f"{IMAGE}\\n", "</s>\\n"),
    "idefics3": (IMAGE, f"{TURN_END}\\n"),
    "smolvlm": (IMAGE, f"{TURN_END}\\n"),
}


def _tokenizer() -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    known = {token: i for i, token in enumerate(VOCABULARY)}
    known |= {token: SIZE - len(LAST) + i for i, token in enumerate(LAST)}
    core = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    core.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_special_tokens={
            "image_token": IMAGE,
            "context_image_token": IMAGE,
            "video_token": VIDEO,
            "start_image_token": VISION_START,
            "end_image_token": VISION_END,
        },
        clean_up_tokenization_spaces=False,
    )
    tokenizer.add_tokens([FAKE, GLOBAL, TURN_END, *TILES], special_tokens=True)
    return tokenizer


def _template(kind: str) -> str:
    image, end = WRITES[kind]
    return (
        "{% for m in messages %}{{ m['role'] + ': ' }}{% for part in m['content'] %}"
        f"{{% if part['type'] == 'image' %}}{{{{ '{image}' }}}}"
        "{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
        f"{{{{ '{end}' if m['role'] == 'assistant' else '\\n' }}}}"
        "{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )


def _normalised(**settings: Any) -> dict[str, Any]:
    return {"image_mean": HALF, "image_std": HALF, **settings}


def _llava(tokenizer: Any, template: str, name: str) -> Any:
    from transformers import CLIPImageProcessor, LlavaProcessor

    return LlavaProcessor(
        CLIPImageProcessor(
            **_normalised(size={"shortest_edge": 8}, crop_size={"height": 8, "width": 8})
        ),
        tokenizer,
        patch_size=4,
        # CLIP has a class token, which "default" leaves out; SigLIP has none.
        vision_feature_select_strategy="full" if name == "llava-phi" else "default",
        num_additional_image_tokens=0 if name == "llava-phi" else 1,
        chat_template=template,
    )


def _llava_next(tokenizer: Any, template: str, name: str) -> Any:
    from transformers import LlavaNextImageProcessor, LlavaNextProcessor

    images = LlavaNextImageProcessor(
        **_normalised(size={"shortest_edge": 8}, crop_size={"height": 8, "width": 8}),
        image_grid_pinpoints=[[8, 16], [16, 8], [16, 16]],
    )
    return LlavaNextProcessor(
        images,
        tokenizer,
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
    )


def _qwen(tokenizer: Any, template: str, name: str) -> Any:
    import transformers

    images = transformers.Qwen2VLImageProcessor(
        **_normalised(patch_size=4, size={"shortest_edge": 64, "longest_edge": 576})
    )
    kinds = {"qwen2-vl": "Qwen2VL", "qwen2.5-vl": "Qwen2_5_VL", "qwen3-vl": "Qwen3VL"}
    kind = getattr(transformers, f"{kinds[name]}Processor")
    videos = "Qwen3VLVideoProcessor" if name == "qwen3-vl" else "Qwen2VLVideoProcessor"
    return kind(images, tokenizer, getattr(transformers, videos)(), chat_template=template)


def _internvl(tokenizer: Any, template: str, name: str) -> Any:
    from transformers import GotOcr2ImageProcessor, InternVLProcessor, InternVLVideoProcessor

    square = {"height": 8, "width": 8}
    images = GotOcr2ImageProcessor(**_normalised(size=square, min_patches=1, max_patches=3))
    videos = InternVLVideoProcessor(**_normalised(size=square))
    return InternVLProcessor(images, tokenizer, videos, image_seq_length=4, chat_template=template)


def _idefics3(tokenizer: Any, template: str, name: str) -> Any:
    from transformers import Idefics3ImageProcessor, Idefics3Processor

    sizes = {"size": {"longest_edge": 32}, "max_image_size": {"longest_edge": 16}}
    return Idefics3Processor(
        Idefics3ImageProcessor(**_normalised(**sizes)),
        tokenizer,
        image_seq_len=4,
        chat_template=template,
    )


def _smolvlm(tokenizer: Any, template: str, name: str) -> Any:
    pytest.importorskip("num2words", reason="SmolVLM's processor cannot be built without it")
    from transformers import SmolVLMImageProcessor, SmolVLMProcessor, SmolVLMVideoProcessor

    sizes = {"size": {"longest_edge": 32}, "max_image_size": {"longest_edge": 16}}
    return SmolVLMProcessor(
        SmolVLMImageProcessor(**_normalised(**sizes)),
        tokenizer,
        SmolVLMVideoProcessor(**_normalised(**sizes)),
        image_seq_len=4,
        chat_template=template,
    )


BUILDERS: dict[str, Callable[[Any, str, str], Any]] = {
    "llava": _llava,
    "llava-next": _llava_next,
    "qwen": _qwen,
    "internvl": _internvl,
    "idefics3": _idefics3,
    "smolvlm": _smolvlm,
}


@functools.cache
def make_processor(name: str) -> Any:
    """The processor of a family's tiny model; images are a few pixels large."""
    kind = max((kind for kind in BUILDERS if name.startswith(kind)), key=len)
    return BUILDERS[kind](_tokenizer(), _template(kind), name)
