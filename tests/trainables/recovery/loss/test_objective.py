"""The student with its loss: independent of batching, chunking and padding; text alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from trainables.models.families.llava import LLAVA_LLAMA
from trainables.recovery.loss.coverage import (
    Coverage,
    answer_positions,
    coverage,
    hidden_positions,
    logits_positions,
)
from trainables.recovery.loss.layer_maps import student_states, teacher_states
from trainables.recovery.loss.objective import RecoveryObjective, hidden_states
from trainables.recovery.loss.targets import teacher_needs
from trainables.recovery.loss.terms import total_loss
from trainables.recovery.teacher.online import OnlineTeacher, mean_square
from trainables.specs import LossSpec
from trainables.specs.presets import study_loss

IMAGE_TOKEN = 63
Make = Callable[..., Any]
MIXTURE = LossSpec(alpha=1, beta=1, gamma=1, hidden_layers=2)


def _layers(model: Any) -> int:
    return int(model.config.text_config.num_hidden_layers)


def _terms(
    model: Any, teacher: Any, batch: dict[str, Any], loss: LossSpec, total: Coverage, **more: Any
) -> dict[str, torch.Tensor]:
    states = student_states(loss, _layers(model))
    objective = RecoveryObjective(model, loss, states, LLAVA_LLAMA, **more)
    needs = teacher_needs(loss, teacher_states(loss, range(len(states)), _layers(teacher)))
    asked = OnlineTeacher(teacher, needs, LLAVA_LLAMA)
    return objective(batch, total, asked([], batch), asked.head, (1.0,) * loss.hidden_layers)


def _coverage(batch: dict[str, Any], loss: LossSpec) -> Coverage:
    return Coverage(
        int(answer_positions(batch["labels"]).sum()),
        int(logits_positions(batch, loss.logits_tokens, IMAGE_TOKEN).sum()),
        int(hidden_positions(batch, loss.hidden_tokens, IMAGE_TOKEN).sum()),
    )


@pytest.mark.parametrize("tokens", ["all", "response", "text"])
def test_terms_do_not_depend_on_micro_batches_or_padding(
    make_llava: Make, batch: dict[str, Any], tokens: str
) -> None:
    student, teacher = make_llava(seed=0), make_llava(seed=5)
    loss = MIXTURE.model_copy(update={"hidden_tokens": tokens, "logits_tokens": tokens})
    total = _coverage(batch, loss)
    whole = _terms(student, teacher, batch, loss, total)
    assert set(whole) == {"ce", "reverse_kl", "l2"}
    parts = [{k: v[i : i + 1] for k, v in batch.items()} for i in range(3)]
    sums = [_terms(student, teacher, part, loss, total) for part in parts]
    wider = {
        side: _terms(student, teacher, _padded(batch, side), loss, total)
        for side in ("left", "right")
    }
    for name, value in whole.items():
        assert float(sum(s[name] for s in sums)) == pytest.approx(float(value), rel=1e-4)
        for side in ("left", "right"):
            assert float(wider[side][name]) == pytest.approx(float(value), rel=1e-4), side


def _padded(batch: dict[str, Any], side: str) -> dict[str, Any]:
    more = (5, 0) if side == "left" else (0, 5)
    return {
        k: functional.pad(v, more, value={"labels": -100}.get(k, 0)) if v.ndim == 2 else v
        for k, v in batch.items()
    }


@pytest.mark.parametrize("tokens", ["response", "text", "all"])
@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_chunks_change_neither_terms_nor_gradients(
    make_llava: Make, batch: dict[str, Any], tokens: str, alpha: float
) -> None:
    loss = MIXTURE.model_copy(update={"alpha": alpha, "logits_tokens": tokens})
    teacher = make_llava(seed=5)
    values, grads = [], []
    for elements in (2**25, 3 * 64):
        student = make_llava(seed=0)
        trained = [p.requires_grad_(True) for p in student.model.language_model.parameters()]
        terms = _terms(
            student, teacher, batch, loss, _coverage(batch, loss), chunk_elements=elements
        )
        value = total_loss(terms, loss)
        values.append(float(value))
        grads.append(torch.autograd.grad(value, trained, allow_unused=True))
    assert values[1] == pytest.approx(values[0], rel=1e-5)
    for one, two in zip(*grads, strict=True):
        if one is not None:
            torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-6)


class _Largest(TorchDispatchMode):
    """Remembers the most rows of any logits, that is [rows, 64]; the head's weight is [64, 32]."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else (result,):
            if not isinstance(value, torch.Tensor) or value.shape == (32, 64):
                continue
            if value.shape[-1:] == (64,):
                self.rows = max(self.rows, value.numel() // 64)
        return result


def test_logits_exist_a_chunk_at_a_time(make_llava: Make, batch: dict[str, Any]) -> None:
    loss = LossSpec(alpha=1, beta=1, logits_tokens="all")
    student, teacher = make_llava(seed=0), make_llava(seed=5)
    student.model.multi_modal_projector.requires_grad_(True)
    with _Largest() as largest:
        terms = _terms(student, teacher, batch, loss, _coverage(batch, loss), chunk_elements=4 * 64)
        total_loss(terms, loss).backward()
    assert int(batch["attention_mask"].sum()) > 8
    assert 0 < largest.rows <= 4


def test_cross_entropy_term_equals_the_model_own_loss(llava: Any, batch: dict[str, Any]) -> None:
    loss = LossSpec()
    terms = _terms(llava, llava, batch, loss, _coverage(batch, loss))
    assert list(terms) == ["ce"]
    assert float(terms["ce"]) == pytest.approx(float(llava(**batch).loss), rel=1e-5)


@pytest.mark.parametrize("logits", ["kl", "reverse_kl"])
def test_the_studys_loss_by_its_formula(
    make_llava: Make, batch: dict[str, Any], logits: str
) -> None:
    """Sums over all positions over the samples, a mean over all values, half and half; no padding.

    What counts is `coverage`, from the samples as the trainer counts them.
    """
    short = int(batch["attention_mask"].sum(1).min())
    batch = {k: v[:, :short] if v.shape[1:] == batch["labels"].shape[1:] else v
             for k, v in batch.items()}  # fmt: skip
    loss = study_loss(LossSpec(beta=1, gamma=1, logits=logits))
    samples = zip(batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True)
    total = coverage(samples, loss, IMAGE_TOKEN)
    student, teacher = make_llava(seed=0), make_llava(seed=5)
    found = _terms(student, teacher, batch, loss, total)
    inputs = {k: v for k, v in batch.items() if k != "labels"}
    with torch.no_grad():
        own, other = (m(**inputs, output_hidden_states=True) for m in (student, teacher))
        q, p = ((o.logits / 2).log_softmax(-1) for o in (own, other))
        of, to = (q, p) if logits == "kl" else (p, q)
        divergence = functional.kl_div(of, to, reduction="sum", log_target=True) * 4 / len(q)
        l2 = functional.mse_loss(own.hidden_states[-1], other.hidden_states[-1])
        expected = 0.5 * student(**batch).loss + 0.5 * divergence + 0.5 * l2
    assert float(total_loss(found, loss)) == pytest.approx(float(expected), rel=1e-5)


def test_a_weight_per_sample_is_that_per_token_times_the_length(
    make_llava: Make, batch: dict[str, Any]
) -> None:
    samples = [
        (ids[: int(mask.sum())].tolist(), labels[: int(mask.sum())].tolist())
        for ids, labels, mask in zip(
            batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True
        )
    ]
    student, teacher = make_llava(seed=0), make_llava(seed=5)
    for tokens in ("all", "text", "response"):
        loss = LossSpec(beta=1, logits_tokens=tokens)
        total = coverage(samples, loss, IMAGE_TOKEN)
        apart = coverage(samples, loss.model_copy(update={"logits_per": "sample"}), IMAGE_TOKEN)
        each, whole = (
            _terms(student, teacher, batch, loss, c)["reverse_kl"] for c in (total, apart)
        )
        assert (apart.logits, apart.answer, apart.hidden) == (3, total.answer, total.hidden)
        assert float(whole) == pytest.approx(float(each) * total.logits / 3, rel=1e-6)


@pytest.mark.parametrize("logits", ["kl", "reverse_kl", "js"])
@pytest.mark.parametrize("hidden", ["l2", "relative_l2", "cosine"])
def test_a_student_equal_to_its_teacher_has_nothing_to_distil(
    llava: Any, batch: dict[str, Any], logits: str, hidden: str
) -> None:
    loss = LossSpec(alpha=0, beta=1, gamma=1, hidden_layers=2, logits=logits, hidden=hidden)
    terms = _terms(llava, llava, batch, loss, _coverage(batch, loss))
    assert set(terms) == {logits, hidden}
    assert all(float(value) == pytest.approx(0.0, abs=1e-5) for value in terms.values())


def test_a_width_map_lets_a_wider_teacher_be_met(make_llava: Make, batch: dict[str, Any]) -> None:
    loss = LossSpec(alpha=0, gamma=1, width_map=True)
    student, teacher = make_llava(seed=0), make_llava(seed=5, width=48)
    generator = torch.Generator().manual_seed(2)
    width = student.config.text_config.hidden_size
    bridge = torch.nn.Linear(width, 48, bias=False)
    bridge.weight.data = torch.randn(48, width, generator=generator)
    total = _coverage(batch, loss)
    terms = _terms(student, teacher, batch, loss, total, width_map=bridge)
    with torch.no_grad():
        (own,), (other,) = (hidden_states(m, batch, (), LLAVA_LLAMA) for m in (student, teacher))
        present = batch["attention_mask"].bool()
        expected = functional.mse_loss(own[present] @ bridge.weight.T, other[present])
    assert float(terms["l2"]) == pytest.approx(float(expected), rel=1e-5)
    terms["l2"].backward()
    assert bridge.weight.grad is not None
    assert float(bridge.weight.grad.abs().sum()) > 0


def test_raw_states_and_the_one_after_the_norm(llava: Any, batch: dict[str, Any]) -> None:
    inputs = {k: v for k, v in batch.items() if k != "labels"}
    with torch.no_grad():
        reference = llava.model(**inputs, output_hidden_states=True)
        first, second, last = hidden_states(llava, batch, (0, 1), LLAVA_LLAMA)
    present = batch["attention_mask"].bool()
    assert not present.all()  # that no token sees the padding does not rest on there being none
    torch.testing.assert_close(last[present], reference.last_hidden_state[present])
    torch.testing.assert_close(first[present], reference.hidden_states[0][present])
    torch.testing.assert_close(second[present], reference.hidden_states[1][present])


def test_mean_square_counts_no_padding(llava: Any, batch: dict[str, Any]) -> None:
    scale = mean_square(llava, [batch], (_layers(llava),), "all", LLAVA_LLAMA)
    with torch.no_grad():
        (state,) = hidden_states(llava, batch, (), LLAVA_LLAMA)
    kept = state[batch["attention_mask"].bool()].double()
    assert scale == pytest.approx([float(kept.square().mean())], rel=1e-6)


def test_the_teacher_runs_in_eval_mode_and_gives_no_gradient(
    make_llava: Make, batch: dict[str, Any]
) -> None:
    model = make_llava().train()
    loss = LossSpec(beta=1, gamma=1)
    states = teacher_states(loss, range(_layers(model)), _layers(model))
    teacher = OnlineTeacher(model, teacher_needs(loss, states), LLAVA_LLAMA)
    targets = teacher([], batch)
    assert not model.training
    assert targets.final is not None
    assert not targets.final.requires_grad
    assert len(targets.final) == int(answer_positions(batch["labels"]).sum())
    assert [len(rows) for rows in targets.hidden] == [int(batch["attention_mask"].sum())]
    hidden_only = OnlineTeacher(model, teacher_needs(LossSpec(gamma=1), states), LLAVA_LLAMA)
    assert hidden_only.head is None
    assert hidden_only([], batch).final is None


@pytest.mark.parametrize("loss", [LossSpec(), LossSpec(alpha=0.5, beta=0.3, gamma=0.2)])
def test_text_alone_gives_a_projector_a_gradient_of_zero(
    make_llava: Make, batch: dict[str, Any], loss: LossSpec
) -> None:
    student = make_llava(seed=0)
    projector = student.model.multi_modal_projector.requires_grad_(True)
    text = {k: v for k, v in batch.items() if k != "pixel_values"}
    text["input_ids"] = text["input_ids"].clamp(max=IMAGE_TOKEN - 1)
    terms = _terms(student, make_llava(seed=5), text, loss, _coverage(text, loss))
    total_loss(terms, loss).backward()
    assert all(torch.count_nonzero(p.grad) == 0 for p in projector.parameters())
