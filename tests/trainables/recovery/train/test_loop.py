"""The DeepSpeed loop on the embedded model's shape: resume, accumulation, scopes, report."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.recoveries import Killed, Recover, assert_close, assert_same, cut_and_resumed, trained

from trainables.common import attempts
from trainables.models.families.llava import LLAVA_LLAMA
from trainables.models.recovered import apply_recovered
from trainables.records import ASKED, CHECKPOINT, CURVES, TRAINED
from trainables.recovery.data.conversations import ConversationData
from trainables.recovery.encode.encoder import Encoder
from trainables.recovery.loss.objective import hidden_states
from trainables.specs import Budget, LossSpec

MIXTURE = LossSpec(alpha=0.5, beta=0.3, gamma=0.2, hidden_layers=2)


def test_the_same_trial_twice_is_bit_identical(run: Recover) -> None:
    first, a, _ = run("a", loss=MIXTURE)
    second, b, _ = run("b", loss=MIXTURE)
    assert first.model_copy(update={"speed": None}) == second.model_copy(update={"speed": None})
    assert (a / CURVES).read_text() == (b / CURVES).read_text()
    assert_same(a, b)


def test_resumed_equals_uninterrupted(run: Recover) -> None:
    settings = {"loss": MIXTURE, "budget": Budget(steps=20), "checkpoint_every_steps": 19}
    whole, a, _ = run("whole", **settings)

    interrupted, b, _ = cut_and_resumed(run, 0.95, **settings)
    assert interrupted.resumed_at_step == 19
    assert (interrupted.steps, interrupted.tokens) == (whole.steps, whole.tokens)
    assert interrupted.first_terms == whole.first_terms
    assert (a / CURVES).read_text() == (b / CURVES).read_text()
    assert interrupted.last_terms == whole.last_terms
    assert_same(a, b)


def test_a_checkpoint_that_is_asked_for_is_resumed_like_any_other(run: Recover) -> None:
    _, whole, _ = run("whole", budget=Budget(steps=6))

    def ask_and_go_on(*_: Any) -> None:
        ask.touch()

    def die(*_: Any) -> None:
        assert not ask.exists(), "what was asked is answered"
        raise Killed

    ask = whole.parent / "cut" / ASKED
    steps = iter((ask_and_go_on, die))
    settings = {"budget": Budget(steps=6), "rungs": (0.3, 0.6)}  # after steps 2 and 4
    with pytest.raises(Killed):
        run("cut", on_rung=lambda *given: next(steps)(*given), **settings)
    report, cut, _ = run("cut", **settings)
    assert report.resumed_at_step == 3
    assert_same(whole, cut)


def test_a_rung_at_which_the_process_died_is_asked_again(run: Recover) -> None:
    """The checkpoint of its step is there; without it, the rung would come again by itself."""
    settings = {"checkpoint_every_steps": 2, "rungs": (0.25, 0.5)}
    asked: list[tuple[int, int]] = []

    def ask(index: int, report: Any, _: Any) -> None:
        asked.append((index, report.steps))
        if len(asked) == 2:
            raise Killed

    _, whole, _ = run("whole", on_rung=lambda *_: None, **settings)
    with pytest.raises(Killed):
        run("cut", on_rung=ask, **settings)
    report, cut, _ = run("cut", on_rung=ask, **settings)
    assert report.resumed_at_step == 2
    assert asked == [(0, 1), (1, 2), (1, 2)]
    assert_same(whole, cut)


def test_a_torn_checkpoint_is_not_resumed(run: Recover, tmp_path: Path) -> None:
    folder = tmp_path / "torn"
    folder.mkdir()
    (folder / CHECKPOINT).write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}")
    report, _, _ = run("torn")
    assert report.resumed_at_step is None
    assert report.steps == 4


def test_a_checkpoint_of_other_data_is_not_resumed(run: Recover) -> None:
    settings = {"checkpoint_every_steps": 2, "rungs": (0.5,)}

    def kill(*_: Any) -> None:
        raise Killed

    with pytest.raises(Killed):
        run("cut", on_rung=kill, content="old pictures", **settings)
    report, folder, _ = run("cut", content="new pictures", **settings)
    assert report.resumed_at_step is None
    _, whole, _ = run("whole", content="new pictures", **settings)
    assert_same(folder, whole)


@pytest.mark.parametrize(("stage", "micro_batch"), [(1, 1), (3, 4)])  # ZeRO-3 is slow on a CPU
def test_accumulation_and_zero_stage_do_not_change_the_result(
    run: Recover, stage: int, micro_batch: int
) -> None:
    _, a, _ = run("whole", loss=MIXTURE)
    report, b, _ = run("parts", loss=MIXTURE, micro_batch_size=micro_batch, zero_stage=stage)
    assert_close(a, b)
    assert report.steps == 4


def test_passes_bounded_by_tokens_do_not_change_the_result(run: Recover) -> None:
    _, a, _ = run("whole", loss=MIXTURE)
    report, b, _ = run("bounded", loss=MIXTURE, max_tokens_per_step=60)
    assert_close(a, b)
    assert report.samples == 32


def test_images_decoded_ahead_do_not_change_the_result(run: Recover) -> None:
    _, a, _ = run("here", loss=MIXTURE)
    _, b, _ = run("ahead", loss=MIXTURE, workers=2)
    assert_same(a, b)


def test_length_groups_resume_within_an_epoch(run: Recover) -> None:
    settings = {"length_groups": 3, "budget": Budget(steps=7), "checkpoint_every_steps": 4}
    _, a, _ = run("whole", **settings)
    report, b, _ = cut_and_resumed(run, 5 / 7, **settings)
    assert report.resumed_at_step == 4
    assert_same(a, b)


def test_the_projector_alone(run: Recover, dense: Any) -> None:
    report, folder, student = run("projector", scope="projector")
    assert all("multi_modal_projector" in name for name in trained(folder))
    assert report.trained_params == sum(
        p.numel() for p in dense.model.multi_modal_projector.parameters()
    )
    for name, parameter in student.named_parameters():
        same = torch.equal(parameter, dense.get_parameter(name))
        assert same != ("multi_modal_projector" in name), name


def test_saved_tensors_rebuild_the_trained_student(
    run: Recover, dense: Any, processor: Any, conversations: ConversationData
) -> None:
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


def test_a_stale_attempt_may_not_write(run: Recover, tmp_path: Path) -> None:
    folder = tmp_path / "claimed"

    def claim(*_: Any) -> None:
        attempts.claim(folder, "newer")

    with pytest.raises(RuntimeError, match="stale"):
        run("claimed", on_rung=claim, rungs=(0.5,))
    assert not (folder / TRAINED).exists()


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
    rebuilt = copy.deepcopy(dense)
    apply_recovered(rebuilt, folder / TRAINED)
    for name, parameter in rebuilt.named_parameters():
        assert torch.equal(parameter, student.get_parameter(name)), name


def test_gradient_checkpointing_changes_nothing(run: Recover) -> None:
    _, a, _ = run("kept", loss=MIXTURE)
    report, b, _ = run("again", loss=MIXTURE, gradient_checkpointing="on")
    assert report.gradient_checkpointing
    assert_close(a, b)


def test_dropout_is_seeded_by_the_step(run: Recover) -> None:
    settings = {"lora_dropout": 0.3, "checkpoint_every_steps": 2, "learning_rate": 1e-2}
    whole, a, _ = run("whole", **settings)
    interrupted, b, _ = cut_and_resumed(run, 0.5, **settings)
    assert interrupted.resumed_at_step == 2
    assert_same(a, b)
    without, c, _ = run("without", learning_rate=1e-2)
    assert without.last_terms != whole.last_terms
    assert trained(c).keys() == trained(a).keys()


def test_lora_goes_where_it_is_asked(run: Recover) -> None:
    _, folder, _ = run("targets", lora_targets=("q_proj", "down_proj"))
    modules = {name.split(".")[-3] for name in trained(folder) if "lora_" in name}
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
