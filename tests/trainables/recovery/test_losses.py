"""The loss terms against plain torch in float64, and their independence of batching."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional

from trainables.recovery.losses import (
    Coverage,
    RecoveryObjective,
    answer_positions,
    cross_entropy_sum,
    divergence_sum,
    hidden_positions,
    hidden_states,
    squared_error_sum,
    total_loss,
)
from trainables.recovery.teacher import Teacher, mean_square
from trainables.specs import LossSpec

IMAGE_TOKEN = 63


@pytest.fixture
def logits() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    student = torch.randn(7, 11, generator=generator, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(7, 11, generator=generator, dtype=torch.float64)
    return student, teacher


@pytest.mark.parametrize("tau", [1.0, 2.0, 5.0])
def test_kl_equals_torch(logits: tuple[torch.Tensor, torch.Tensor], tau: float) -> None:
    student, teacher = logits
    expected = functional.kl_div(
        functional.log_softmax(student / tau, -1),
        functional.log_softmax(teacher / tau, -1),
        reduction="sum",
        log_target=True,
    )
    got = divergence_sum(student, teacher, "kl", tau)
    assert float(got) == pytest.approx(float(expected) * tau**2, rel=1e-5)
    ours, theirs = (torch.autograd.grad(x, student, retain_graph=True)[0] for x in (got, expected))
    torch.testing.assert_close(ours, theirs * tau**2, rtol=1e-4, atol=1e-6)


def test_reverse_kl_swaps_the_sides(logits: tuple[torch.Tensor, torch.Tensor]) -> None:
    student, teacher = logits
    expected = functional.kl_div(
        functional.log_softmax(teacher, -1),
        functional.log_softmax(student, -1),
        reduction="sum",
        log_target=True,
    )
    got = divergence_sum(student, teacher, "reverse_kl", 1.0)
    assert float(got) == pytest.approx(float(expected), rel=1e-5)
    other = divergence_sum(student, 3 * teacher, "kl", 1.0)
    assert float(divergence_sum(student, 3 * teacher, "reverse_kl", 1.0)) > 1.1 * float(other)


def test_divergence_of_equal_distributions_is_zero() -> None:
    logits = torch.randn(3, 5)
    for kind in ("kl", "reverse_kl"):
        assert float(divergence_sum(logits, logits + 4.0, kind, 2.0)) == pytest.approx(0, abs=1e-5)


def test_cross_entropy_by_hand() -> None:
    logits = torch.tensor([[0.0, math.log(3.0)], [math.log(4.0), 0.0]])
    value = cross_entropy_sum(logits, torch.tensor([1, 1]))
    assert float(value) == pytest.approx(-math.log(3 / 4) - math.log(1 / 5), rel=1e-6)


def test_squared_error_by_hand() -> None:
    student = torch.tensor([[[1.0, 3.0], [9.0, 9.0]]])
    teacher = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    covered = torch.tensor([[True, False]])
    one = squared_error_sum([student], [teacher], covered, [1.0])
    assert float(one) == pytest.approx((1 + 4) / 2)
    two = squared_error_sum([student, student], [teacher, student], covered, [0.5, 1.0])
    assert float(two) == pytest.approx(((1 + 4) / 2 / 0.5 + 0) / 2)


def test_positions(batch: dict[str, Any]) -> None:
    labels, mask, ids = batch["labels"], batch["attention_mask"], batch["input_ids"]
    covered = answer_positions(labels)
    assert int(covered.sum()) == int((labels[:, 1:] != -100).sum())
    assert not bool(covered[:, -1].any())
    assert torch.equal(hidden_positions(batch, "all", IMAGE_TOKEN), mask.bool())
    text = hidden_positions(batch, "text", IMAGE_TOKEN)
    assert int(text.sum()) == int(((ids != IMAGE_TOKEN) & (mask == 1)).sum())
    assert torch.equal(hidden_positions(batch, "response", IMAGE_TOKEN), covered)


def _terms(model: Any, teacher: Any, batch: dict[str, Any], loss: LossSpec, total: Coverage) -> Any:
    objective = RecoveryObjective(model, loss, IMAGE_TOKEN)
    return objective(batch, total, *Teacher(teacher, loss)(batch), (1.0,) * loss.hidden_layers)


def _coverage(batch: dict[str, Any], loss: LossSpec) -> Coverage:
    return Coverage(
        int(answer_positions(batch["labels"]).sum()),
        int(hidden_positions(batch, loss.hidden_tokens, IMAGE_TOKEN).sum()),
    )


@pytest.mark.parametrize("tokens", ["all", "response", "text"])
def test_terms_do_not_depend_on_micro_batches_or_padding(
    make_llava: Callable[..., Any], batch: dict[str, Any], tokens: str
) -> None:
    student, teacher = make_llava(seed=0), make_llava(seed=5)
    loss = LossSpec(alpha=1, beta=1, gamma=1, hidden_layers=2, hidden_tokens=tokens)
    total = _coverage(batch, loss)
    whole = _terms(student, teacher, batch, loss, total)
    assert set(whole) == {"ce", "reverse_kl", "l2"}
    parts = [{k: v[i : i + 1] for k, v in batch.items()} for i in range(3)]
    sums = [_terms(student, teacher, part, loss, total) for part in parts]
    padded = {
        k: functional.pad(v, (0, 5), value={"labels": -100}.get(k, 0)) if v.ndim == 2 else v
        for k, v in batch.items()
    }
    wider = _terms(student, teacher, padded, loss, total)
    for name, value in whole.items():
        assert float(sum(s[name] for s in sums)) == pytest.approx(float(value), rel=1e-4)
        assert float(wider[name]) == pytest.approx(float(value), rel=1e-4)


def test_cross_entropy_term_equals_the_model_own_loss(llava: Any, batch: dict[str, Any]) -> None:
    loss = LossSpec()
    terms = _terms(llava, llava, batch, loss, _coverage(batch, loss))
    assert list(terms) == ["ce"]
    assert float(terms["ce"]) == pytest.approx(float(llava(**batch).loss), rel=1e-5)


def test_a_student_equal_to_its_teacher_has_nothing_to_distil(
    llava: Any, batch: dict[str, Any]
) -> None:
    loss = LossSpec(alpha=0, beta=1, gamma=1, hidden_layers=3)
    terms = _terms(llava, llava, batch, loss, _coverage(batch, loss))
    assert all(float(value) == pytest.approx(0.0, abs=1e-5) for value in terms.values())


def test_total_is_the_weighted_sum() -> None:
    terms = {"ce": torch.tensor(2.0), "kl": torch.tensor(3.0), "l2": torch.tensor(5.0)}
    loss = LossSpec(alpha=0.5, beta=0.25, gamma=2.0, logits="kl")
    assert float(total_loss(terms, loss)) == pytest.approx(0.5 * 2 + 0.25 * 3 + 2 * 5)


def test_last_k_hidden_states_end_after_the_final_norm(llava: Any, batch: dict[str, Any]) -> None:
    inputs = {k: v for k, v in batch.items() if k != "labels"}
    with torch.no_grad():
        reference = llava.model(**inputs, output_hidden_states=True)
        states = hidden_states(llava, batch, 3).states
    torch.testing.assert_close(states[-1], reference.last_hidden_state)
    torch.testing.assert_close(states[0], reference.hidden_states[-3])
    torch.testing.assert_close(states[1], reference.hidden_states[-2])


def test_mean_square_counts_no_padding(llava: Any, batch: dict[str, Any]) -> None:
    scale = mean_square(llava, [batch], 1, "all", IMAGE_TOKEN)
    with torch.no_grad():
        state = hidden_states(llava, batch, 1).final
    kept = state[batch["attention_mask"].bool()].double()
    assert scale == pytest.approx([float(kept.square().mean())], rel=1e-6)


def test_the_teacher_runs_in_eval_mode_and_gives_no_gradient(
    make_llava: Callable[..., Any], batch: dict[str, Any]
) -> None:
    model = make_llava().train()
    states, logits = Teacher(model, LossSpec(beta=1, gamma=1))(batch)
    assert not model.training
    assert states is not None
    assert logits is not None
    assert not states.final.requires_grad
    assert Teacher(model, LossSpec())(batch) == (None, None)


@pytest.mark.parametrize("loss", [LossSpec(), LossSpec(alpha=0.5, beta=0.3, gamma=0.2)])
def test_text_alone_gives_a_projector_a_gradient_of_zero(
    make_llava: Callable[..., Any], batch: dict[str, Any], loss: LossSpec
) -> None:
    student = make_llava(seed=0)
    projector = student.model.multi_modal_projector.requires_grad_(True)
    text = {k: v for k, v in batch.items() if k != "pixel_values"}
    text["input_ids"] = text["input_ids"].clamp(max=IMAGE_TOKEN - 1)
    terms = _terms(student, make_llava(seed=5), text, loss, _coverage(text, loss))
    total_loss(terms, loss).backward()
    assert all(torch.count_nonzero(p.grad) == 0 for p in projector.parameters())
