"""The DeepSpeed loop on the embedded model's shape: resume, accumulation, scopes, bad losses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from trainables.common.process_group import destroy_process_group, fresh_single_process_group
from trainables.models.families.llava import LLAVA_LLAMA
from trainables.models.recovered import apply_recovered
from trainables.models.work import RecoveryFlops, SampleFlops
from trainables.records import CHECKPOINT
from trainables.recovery.data.conversations import ConversationData
from trainables.recovery.encode.encoder import Encoder
from trainables.recovery.loss.layer_maps import student_states, teacher_states
from trainables.recovery.loss.objective import hidden_states
from trainables.recovery.loss.targets import teacher_needs
from trainables.recovery.teacher.online import OnlineTeacher
from trainables.recovery.train import checkpoint
from trainables.recovery.train.curves import CURVES
from trainables.recovery.train.loop import recover
from trainables.recovery.train.passes import RecoveryJob
from trainables.recovery.train.steps import TRAINED
from trainables.specs import Budget, DataSpec, LossSpec, RecoverySpec, Seeds, TrialSpec

Recover = Callable[..., Any]


@pytest.fixture(scope="module")
def dense() -> Any:
    from transformers import LlavaForConditionalGeneration

    from trainables.models.families.registry import TINY_FOLDER

    return LlavaForConditionalGeneration.from_pretrained(TINY_FOLDER, dtype=torch.float32).eval()


@pytest.fixture
def run(
    dense: Any, processor: Any, conversations: ConversationData, tmp_path: Path
) -> Iterator[Recover]:
    """Recovers a fresh copy of the dense model; returns (report, folder, student)."""
    encoder = Encoder(processor, conversations, 256, LLAVA_LLAMA)

    def go(name: str, on_rung: Any = None, rungs: Any = (), **settings: Any) -> Any:
        import copy

        workers = settings.pop("workers", 0)

        fresh_single_process_group()
        defaults = {"scope": "joint", "batch_size": 8, "micro_batch_size": 8, "data_fraction": 1.0}
        given = {"budget": Budget(steps=4), "learning_rate": 1e-3, **defaults, **settings}
        spec = TrialSpec(
            data=DataSpec(workers=workers),
            recovery=RecoverySpec(**given),
            rungs=rungs,
            seeds=Seeds(train=1),
        )
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        checkpoint.claim(folder, "attempt")
        student = copy.deepcopy(dense)
        loss, layers = spec.recovery.loss, dense.config.text_config.num_hidden_layers
        states = student_states(loss, layers)
        needs = teacher_needs(loss, teacher_states(loss, range(layers), layers))
        teacher = OnlineTeacher(dense, needs, LLAVA_LLAMA) if loss.needs_teacher else None
        job = RecoveryJob(
            spec=spec,
            folder=folder,
            attempt="attempt",
            adapter=LLAVA_LLAMA,
            states=states,
            hidden_scale=(1.0,) * loss.hidden_layers,
            teacher_width=dense.config.text_config.hidden_size,
            flops=RecoveryFlops(SampleFlops(1e6)),
            gradient_checkpointing=spec.recovery.gradient_checkpointing == "on",
        )
        report = recover(student, teacher, encoder, job, on_rung)
        return report, folder, student

    yield go
    destroy_process_group()


def _trained(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / TRAINED)


def _assert_same(a: Path, b: Path) -> None:
    first, second = _trained(a), _trained(b)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def _assert_close(a: Path, b: Path) -> None:
    """Equal to float error: losses to 1e-5, tensors to 2e-3 of their norm.

    By norm rather than by element, because Adam divides by the gradient's size: an element whose
    gradient is nearly zero moves by the full rate in whichever direction the rounding points.
    """
    first, second = _trained(a), _trained(b)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert float((value - second[name]).norm()) <= 2e-3 * float(value.norm()), name
    for one, two in zip(_curve(a), _curve(b), strict=True):
        assert one == pytest.approx(two, rel=1e-5)


def _curve(folder: Path) -> list[dict[str, float]]:
    lines = (folder / CURVES).read_text(encoding="utf-8").splitlines()
    return [
        {k: v for k, v in json.loads(x).items() if k not in ("grad_norm", "learning_rate")}
        for x in lines
    ]


class Killed(BaseException):
    """What a kill would be."""


def _cut_and_resumed(run: Recover, rung: float, name: str = "cut", **settings: Any) -> Any:
    """The same recovery, killed at a rung and started again; what `run` returns."""

    def kill(*_: Any) -> None:
        raise Killed

    with pytest.raises(Killed):
        run(name, on_rung=kill, rungs=(rung,), **settings)
    return run(name, rungs=(rung,), **settings)


MIXTURE = LossSpec(alpha=0.5, beta=0.3, gamma=0.2, hidden_layers=2)


def test_the_same_trial_twice_is_bit_identical(run: Recover) -> None:
    first, a, _ = run("a", loss=MIXTURE)
    second, b, _ = run("b", loss=MIXTURE)
    assert first.model_copy(update={"speed": None}) == second.model_copy(update={"speed": None})
    assert (a / CURVES).read_text() == (b / CURVES).read_text()
    _assert_same(a, b)


def test_resumed_equals_uninterrupted(run: Recover) -> None:
    settings = {"loss": MIXTURE, "budget": Budget(steps=20), "checkpoint_every_steps": 19}
    whole, a, _ = run("whole", **settings)

    interrupted, b, _ = _cut_and_resumed(run, 0.95, **settings)
    assert interrupted.resumed_at_step == 19
    assert (interrupted.steps, interrupted.tokens) == (whole.steps, whole.tokens)
    assert interrupted.first_terms == whole.first_terms
    assert (a / CURVES).read_text() == (b / CURVES).read_text()
    assert interrupted.last_terms == whole.last_terms
    _assert_same(a, b)


def test_a_torn_checkpoint_is_not_resumed(run: Recover, tmp_path: Path) -> None:
    folder = tmp_path / "torn"
    folder.mkdir()
    (folder / CHECKPOINT).write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}")
    report, _, _ = run("torn")
    assert report.resumed_at_step is None
    assert report.steps == 4


@pytest.mark.parametrize(("stage", "micro_batch"), [(1, 1), (3, 4)])  # ZeRO-3 is slow on a CPU
def test_accumulation_and_zero_stage_do_not_change_the_result(
    run: Recover, stage: int, micro_batch: int
) -> None:
    _, a, _ = run("whole", loss=MIXTURE)
    report, b, _ = run("parts", loss=MIXTURE, micro_batch_size=micro_batch, zero_stage=stage)
    _assert_close(a, b)
    assert report.steps == 4


def test_passes_bounded_by_tokens_do_not_change_the_result(run: Recover) -> None:
    _, a, _ = run("whole", loss=MIXTURE)
    report, b, _ = run("bounded", loss=MIXTURE, max_tokens_per_step=60)
    _assert_close(a, b)
    assert report.samples == 32


def test_images_decoded_ahead_do_not_change_the_result(run: Recover) -> None:
    _, a, _ = run("here", loss=MIXTURE)
    _, b, _ = run("ahead", loss=MIXTURE, workers=2)
    _assert_same(a, b)


def test_length_groups_resume_within_an_epoch(run: Recover) -> None:
    settings = {"length_groups": 3, "budget": Budget(steps=7), "checkpoint_every_steps": 4}
    _, a, _ = run("whole", **settings)
    report, b, _ = _cut_and_resumed(run, 5 / 7, **settings)
    assert report.resumed_at_step == 4
    _assert_same(a, b)


def test_the_projector_alone(run: Recover, dense: Any) -> None:
    report, folder, student = run("projector", scope="projector")
    assert all("multi_modal_projector" in name for name in _trained(folder))
    assert report.trained_params == sum(
        p.numel() for p in dense.model.multi_modal_projector.parameters()
    )
    for name, parameter in student.named_parameters():
        same = torch.equal(parameter, dense.get_parameter(name))
        assert same != ("multi_modal_projector" in name), name


def test_saved_tensors_rebuild_the_trained_student(
    run: Recover, dense: Any, processor: Any, conversations: ConversationData
) -> None:
    import copy

    _, folder, student = run("joint", loss=MIXTURE, learning_rate=1e-2)
    merged = copy.deepcopy(dense)
    apply_recovered(merged, folder / TRAINED)
    batch = Encoder(processor, conversations, 256, LLAVA_LLAMA).batch([0, 1])
    with torch.no_grad():
        got, expected = (
            hidden_states(m.eval(), batch, (), LLAVA_LLAMA)[-1] for m in (merged, student)
        )
        before = hidden_states(dense, batch, (), LLAVA_LLAMA)[-1]
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(before, expected, atol=1e-3)


def test_the_report_says_what_was_done(run: Recover, conversations: ConversationData) -> None:
    report, folder, _ = run("report", loss=MIXTURE, clip_norm=1e-6, data_fraction=0.5)
    assert report.samples == 32
    assert report.epochs == pytest.approx(32 / 20)
    assert report.tflops == pytest.approx(1e6 * report.tokens / 1e12)
    assert set(report.first_terms) == {"ce", "reverse_kl", "l2"} == set(report.first_grad_norms)
    assert report.first_grad_norms["ce"] > 0
    assert report.clipped_fraction == 1.0
    assert report.weights_normalised == pytest.approx((0.5, 0.3, 0.2))
    lines = [json.loads(line) for line in (folder / CURVES).read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1, 2, 3]
    assert report.first_terms["ce"] == lines[0]["ce"]


def test_training_lowers_the_loss(run: Recover) -> None:
    report, _, _ = run("learn", budget=Budget(steps=25), learning_rate=3e-3)
    assert report.last_terms["ce"] < 0.7 * report.first_terms["ce"]


def test_three_bad_steps_in_a_row_name_step_and_samples(run: Recover, dense: Any) -> None:
    weight = dense.model.multi_modal_projector.linear_1.weight
    before = weight.detach().clone()
    weight.data.fill_(float("nan"))
    try:
        with pytest.raises(FloatingPointError, match=r"3 steps in a row.*step 2.*sample-"):
            run("nan", scope="projector")
    finally:
        weight.data.copy_(before)


def test_a_stale_attempt_may_not_write(run: Recover, tmp_path: Path) -> None:
    folder = tmp_path / "claimed"

    def claim(*_: Any) -> None:
        checkpoint.claim(folder, "newer")

    with pytest.raises(RuntimeError, match="stale"):
        run("claimed", on_rung=claim, rungs=(0.5,))
    assert not (folder / TRAINED).exists()


@pytest.mark.parametrize("stage", [2, 3])
def test_a_step_that_is_not_finite_changes_nothing(
    run: Recover, monkeypatch: pytest.MonkeyPatch, stage: int
) -> None:
    """The second of two batches is poisoned: what is left is the state after the first."""
    settings = {"budget": Budget(steps=2), "micro_batch_size": 4, "zero_stage": stage}

    def kill(*_: Any) -> None:
        raise Killed

    with pytest.raises(Killed):
        run("clean", on_rung=kill, rungs=(0.5,), checkpoint_every_steps=1, **settings)
    whole = Encoder.batch
    seen: list[int] = []

    def poisoned(encoder: Encoder, indices: Any) -> Any:
        batch = whole(encoder, indices)
        seen.append(len(indices))
        if len(seen) == 2 * 2 + 1:  # two passes for the norms at step 0, two for step 0 itself
            batch["pixel_values"] = batch["pixel_values"] * float("nan")
        return batch

    monkeypatch.setattr(Encoder, "batch", poisoned)
    report, folder, _ = run("poisoned", **settings)
    assert report.skipped_steps == 1
    assert report.steps == 2
    after_first = load_file(folder.parent / "clean" / CHECKPOINT)
    trained = _trained(folder)
    for name, value in after_first.items():
        kind, _, parameter = name.partition("/")
        if kind == "weight":
            assert torch.equal(trained[parameter.replace(".default.", ".")], value), parameter
    skipped = json.loads((folder / CURVES).read_text().splitlines()[1])
    assert "not finite" in skipped["skipped"]
    assert skipped["ce"] is None
    assert report.last_terms == {} or all(v == v for v in report.last_terms.values())


def test_a_resume_after_a_skipped_step_equals_no_interruption(
    run: Recover, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Encoder.batch
    bad = {int(i) for i in np.random.default_rng((0, 0)).permutation(40)[8:16]}  # not step 0

    def poisoned(encoder: Encoder, indices: Any) -> Any:
        batch = whole(encoder, indices)
        shown = {encoder.data.conversations[int(i)].id for i in indices}
        if poison <= shown:
            batch["pixel_values"] = batch["pixel_values"] * float("nan")
        return batch

    subset = np.random.default_rng(0).permutation(40)
    poison = {f"sample-{subset[i]}" for i in bad}
    monkeypatch.setattr(Encoder, "batch", poisoned)
    settings = {"budget": Budget(steps=5), "checkpoint_every_steps": 3}
    first, a, _ = run("whole", **settings)
    second, b, _ = _cut_and_resumed(run, 0.8, **settings)
    assert first.skipped_steps == second.skipped_steps == 1
    assert second.resumed_at_step == 3
    _assert_same(a, b)


def test_a_spike_is_skipped_and_counted(run: Recover, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, calls = Encoder.batch, []

    def scrambled(encoder: Encoder, indices: Any) -> Any:
        batch = whole(encoder, indices)
        calls.append(1)
        if len(calls) == 14:  # step 12: one pass each, after the one for the norms
            labels = batch["labels"]
            batch["labels"] = torch.where(labels >= 0, (labels + 7) % 60, labels)
        return batch

    monkeypatch.setattr(Encoder, "batch", scrambled)
    settings = {"budget": Budget(steps=14), "learning_rate": 3e-3}
    report, folder, _ = run("spike", spike_factor=1.5, **settings)
    lines = [json.loads(line) for line in (folder / CURVES).read_text().splitlines()]
    assert [line["step"] for line in lines if "skipped" in line] == [12]
    assert report.skipped_steps == 1


def test_the_whole_language_model(run: Recover, dense: Any) -> None:
    report, folder, student = run("full", scope="full", learning_rate=1e-3, loss=MIXTURE)
    language = sum(p.numel() for p in dense.model.language_model.parameters())
    projector = sum(p.numel() for p in dense.model.multi_modal_projector.parameters())
    head = 0 if dense.config.tie_word_embeddings else dense.lm_head.weight.numel()
    assert report.trained_params == language + projector + head
    changed = {
        n for n, p in student.named_parameters() if not torch.equal(p, dense.get_parameter(n))
    }
    assert not any("vision_tower" in name for name in changed)
    assert any("layers.0.mlp" in name for name in changed)
    import copy

    rebuilt = copy.deepcopy(dense)
    apply_recovered(rebuilt, folder / TRAINED)
    for name, parameter in rebuilt.named_parameters():
        assert torch.equal(parameter, student.get_parameter(name)), name


def test_gradient_checkpointing_changes_nothing(run: Recover) -> None:
    _, a, _ = run("kept", loss=MIXTURE)
    report, b, _ = run("again", loss=MIXTURE, gradient_checkpointing="on")
    assert report.gradient_checkpointing
    _assert_close(a, b)


def test_dropout_is_seeded_by_the_step(run: Recover) -> None:
    settings = {"lora_dropout": 0.3, "checkpoint_every_steps": 2, "learning_rate": 1e-2}
    whole, a, _ = run("whole", **settings)
    interrupted, b, _ = _cut_and_resumed(run, 0.5, **settings)
    assert interrupted.resumed_at_step == 2
    _assert_same(a, b)
    without, c, _ = run("without", learning_rate=1e-2)
    assert without.last_terms != whole.last_terms
    assert _trained(c).keys() == _trained(a).keys()


def test_lora_goes_where_it_is_asked(run: Recover) -> None:
    _, folder, _ = run("targets", lora_targets=("q_proj", "down_proj"))
    modules = {name.split(".")[-3] for name in _trained(folder) if "lora_" in name}
    assert modules == {"q_proj", "down_proj"}
    with pytest.raises(ValueError, match=r"names query.*linears of llava-llama are q_proj"):
        run("strange", lora_targets=("query",))


def test_the_report_says_how_fast_it_was(run: Recover) -> None:
    report, _, _ = run("speed", loss=MIXTURE)
    speed = report.speed
    assert speed.samples_per_second == pytest.approx(32 / speed.seconds)
    assert speed.tokens_per_second == pytest.approx(report.tokens / speed.seconds)
    assert 0 < speed.teacher_share < 1
    assert report.teacher == "online"
    alone, _, _ = run("alone")
    assert (alone.teacher, alone.speed.teacher_share) == ("none", 0.0)
