"""The shipped weights load with plain transformers, keep their promised shape, and answer."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoProcessor, LlavaForConditionalGeneration

from docs.scripts.embedded import build
from docs.scripts.embedded.train import deepen, initialize, logits_of, main, muon_of, schedule
from docs.scripts.embedded.training_batches import Packer
from trainables.embedded.questions import KINDS
from trainables.embedded.scenes import CELLS, draw, sample_scene
from trainables.embedded.tiny_dataset import generate


@pytest.fixture(scope="module")
def processor() -> Any:
    return AutoProcessor.from_pretrained(build.WEIGHTS)


@pytest.fixture(scope="module")
def shipped() -> Any:
    model = LlavaForConditionalGeneration.from_pretrained(build.WEIGHTS, dtype=torch.float32)
    return model.eval()


def _prompt(processor: Any, question: str) -> str:
    content = [{"type": "image"}, {"type": "text", "text": question}]
    text: str = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True
    )
    return text


def test_size_and_shape(shipped: Any) -> None:
    assert 2_000_000 <= sum(p.numel() for p in shipped.parameters()) <= 5_000_000
    assert shipped.config.text_config.num_hidden_layers >= 12
    assert shipped.config.text_config.num_attention_heads == 8
    assert (build.WEIGHTS / "model.safetensors").stat().st_size <= 8_000_000
    assert not list(build.WEIGHTS.glob("*.bin"))


def test_shipped_config_is_the_built_one(shipped: Any) -> None:
    ours, theirs = build.config(), shipped.config
    for part in ("text_config", "vision_config"):
        built, stored = getattr(ours, part).to_dict(), getattr(theirs, part).to_dict()
        ignored = {"dtype", "transformers_version", "architectures"}
        assert {k: v for k, v in built.items() if k not in ignored} == {
            k: v for k, v in stored.items() if k not in ignored
        }


def test_prompt_is_short_and_counts_its_image_tokens(processor: Any) -> None:
    image = draw(sample_scene(random.Random(0)), random.Random(0))
    for row in generate("search", 10):
        for question in row.questions.values():
            text = _prompt(processor, question.text)
            assert text == f"USER: <image>\n{question.text} ASSISTANT:"
            ids = processor(text=text, images=image)["input_ids"][0]
            assert list(ids).count(build.IMAGE_ID) == CELLS
            assert build.UNK_ID not in ids
            assert len(ids) <= 40


def test_answers_most_questions_by_generation(shipped: Any, processor: Any) -> None:
    rng, right, asked = random.Random(5), 0, 0
    tokenizer = processor.tokenizer
    for row in generate("search", 16):
        questions = list(row.questions.values())
        inputs = processor(
            text=[_prompt(processor, q.text) for q in questions],
            images=[draw(row.scene, rng)] * len(questions),
            return_tensors="pt",
            padding=True,
        )
        out = shipped.generate(**inputs, max_new_tokens=2, do_sample=False)
        answers = tokenizer.batch_decode(
            out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )
        right += sum(a.strip() == q.answer for a, q in zip(answers, questions, strict=True))
        asked += len(questions)
    assert asked == 16 * len(KINDS)
    assert right / asked >= 0.85


def test_packed_logits_equal_those_of_separate_prompts(shipped: Any, processor: Any) -> None:
    batch = Packer(3, "train", describe=False).batch(1)
    depth = len(shipped.model.language_model.layers)
    with torch.no_grad():
        packed = logits_of(shipped, batch, batch.answers, depth)
    ids, segments = batch.input_ids[0], batch.segments[0]
    for number in range(len(batch.kinds)):
        alone = ids[(segments == 0) | (segments == number + 1)][None]
        at = int((batch.answers[0] & (segments == number + 1)).nonzero())
        place = int(batch.positions[0, at])
        with torch.no_grad():
            logits = shipped(input_ids=alone, pixel_values=batch.pixel_values).logits[0, place]
        torch.testing.assert_close(packed[number], logits, atol=1e-4, rtol=1e-4)


def test_packer_encodes_like_the_tokenizer() -> None:
    packer, tokenizer = Packer(0, "train"), build.tokenizer()
    for row in generate("train", 10):
        for question in row.questions.values():
            text = f"{question.text} ASSISTANT:"
            assert packer.encode(text) == tokenizer(text)["input_ids"]


def test_stacking_copies_layers_and_shares_out_their_sum() -> None:
    model: Any = LlavaForConditionalGeneration(build.config())
    initialize(model)
    layers = model.model.language_model.layers
    first, last = (layers[i].mlp.down_proj.weight.clone() for i in (0, 3))
    deepen(model, 4)
    torch.testing.assert_close(layers[2].mlp.down_proj.weight, first / 3)
    torch.testing.assert_close(layers[9].mlp.down_proj.weight, last / 3)


def test_muon_steps_are_orthogonal_and_of_the_stated_size() -> None:
    torch.manual_seed(0)
    matrices = [torch.nn.Parameter(torch.zeros(16, 32)) for _ in range(2)]
    for matrix in matrices:
        matrix.grad = torch.randn(16, 32)
    muon_of(matrices).step()
    updates = torch.stack([m.detach() for m in matrices]) / (1e-3 * 0.2 * 32**0.5)
    singular = torch.linalg.svdvals(updates)
    assert float(singular.min()) > 0.5
    assert float(singular.max()) < 1.3
    parameter = torch.nn.Parameter(torch.zeros(4, 4))
    parameter.grad = torch.eye(4)
    optimizer = muon_of([parameter])
    optimizer.param_groups[0]["lr"] = 0.1
    optimizer.step()
    moved = parameter.detach()
    assert torch.equal(moved, torch.diag(moved.diagonal()))
    assert 0.5 < float(-moved.diagonal().mean()) / (0.1 * 0.2 * 4**0.5) < 1.3


def test_schedule_rises_then_falls() -> None:
    values = [schedule(step, 200) for step in range(200)]
    assert values[0] < values[5] == max(values) == pytest.approx(1.0)
    assert values[-1] == pytest.approx(0.01, abs=0.002)


def test_the_training_script_writes_a_model_after_a_few_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = ["--vision-steps=2", "--shallow-steps=3", "--steps=2", "--scenes=2"]
    monkeypatch.setattr("sys.argv", ["train", f"--to={tmp_path}", *sizes])
    main()
    model = LlavaForConditionalGeneration.from_pretrained(tmp_path, dtype=torch.float32)
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert AutoProcessor.from_pretrained(tmp_path).tokenizer.get_vocab() == build.vocabulary()
