"""The loss terms against plain torch in float64, gradients included, and by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from trainables.recovery.loss.terms import (
    TERMS,
    TopK,
    cross_entropy_sum,
    divergence_sum,
    hidden_sum,
    term,
    total_loss,
)
from trainables.specs import HIDDEN_LOSSES, LOGITS_LOSSES, LossSpec

KINDS = ("ce", "logits", "hidden")


def kl(first: Tensor, second: Tensor, tau: float) -> Tensor:
    """KL(first || second) of softened logits, by torch."""
    p, q = (functional.log_softmax(x / tau, -1) for x in (first, second))
    return functional.kl_div(q, p, reduction="sum", log_target=True)


def js(student: Tensor, teacher: Tensor, tau: float, w: float) -> Tensor:
    """Jensen-Shannon by its definition over probabilities."""
    p, q = (functional.softmax(x / tau, -1) for x in (teacher, student))
    m = w * p + (1 - w) * q
    return (w * p * (p / m).log() + (1 - w) * q * (q / m).log()).sum()


@pytest.fixture
def logits() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    student = torch.randn(7, 11, generator=generator, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(7, 11, generator=generator, dtype=torch.float64)
    return student, teacher


def assert_same(got: Tensor, expected: Tensor, student: Tensor) -> None:
    assert got.item() == pytest.approx(expected.item(), rel=1e-12)
    ours, theirs = (torch.autograd.grad(x, student, retain_graph=True)[0] for x in (got, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("tau", [1.0, 2.0, 5.0])
@pytest.mark.parametrize("weight", [0.1, 0.5, 0.8])
def test_divergences_equal_torch(logits: tuple[Tensor, Tensor], tau: float, weight: float) -> None:
    student, teacher = logits
    assert_same(
        divergence_sum(student, teacher, "kl", tau), kl(teacher, student, tau) * tau**2, student
    )
    assert_same(
        divergence_sum(student, teacher, "reverse_kl", tau),
        kl(student, teacher, tau) * tau**2,
        student,
    )
    assert_same(
        divergence_sum(student, teacher, "js", tau, weight),
        js(student, teacher, tau, weight) * tau**2,
        student,
    )


def test_divergence_of_equal_distributions_is_zero() -> None:
    logits = torch.randn(3, 5)
    for kind in ("kl", "reverse_kl", "js"):
        assert float(divergence_sum(logits, logits + 4.0, kind, 2.0)) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("kind", ["kl", "reverse_kl", "js"])
def test_top_k_of_all_tokens_is_the_whole_divergence(
    logits: tuple[Tensor, Tensor], kind: str
) -> None:
    student, teacher = logits
    log_p = functional.log_softmax(teacher / 2.0, -1)
    whole = divergence_sum(student, teacher, kind, 2.0)
    values, ids = log_p.topk(11, dim=-1)
    all_of_them = divergence_sum(student, TopK(values, ids), kind, 2.0)
    assert all_of_them.item() == pytest.approx(whole.item(), rel=1e-4)
    values, ids = log_p.topk(3, dim=-1)
    merged = divergence_sum(student, TopK(values, ids), kind, 2.0)
    assert 0 < merged.item() < whole.item()


def test_top_k_by_hand() -> None:
    student = torch.tensor([[0.5, 0.3, 0.2]]).log()
    teacher = TopK(torch.tensor([[0.6]]).log(), torch.tensor([[0]]))
    expected = 0.6 * math.log(0.6 / 0.5) + 0.4 * math.log(0.4 / 0.5)
    assert float(divergence_sum(student, teacher, "kl", 1.0)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_by_hand(smoothing: float) -> None:
    logits = torch.tensor([[0.0, math.log(3.0)], [math.log(4.0), 0.0], [5.0, 1.0]])
    value = cross_entropy_sum(logits, torch.tensor([1, 1, -100]), smoothing)
    half = smoothing / 2
    first = (1 - half) * -math.log(3 / 4) + half * -math.log(1 / 4)
    second = (1 - half) * -math.log(1 / 5) + half * -math.log(4 / 5)
    assert float(value) == pytest.approx(first + second, rel=1e-6)


def test_hidden_distances_by_hand() -> None:
    student, teacher = torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 1.0]])
    one = hidden_sum([student], [teacher], "l2", [1.0])
    assert float(one) == pytest.approx((1 + 4) / 2)
    two = hidden_sum([student, student], [teacher, student], "l2", [0.5, 1.0])
    assert float(two) == pytest.approx(((1 + 4) / 2 / 0.5 + 0) / 2)
    assert float(hidden_sum([student], [teacher], "relative_l2", [9.0])) == pytest.approx(5.0)
    cosine = hidden_sum([student], [teacher], "cosine", [9.0])
    assert float(cosine) == pytest.approx(1 - 3 / math.sqrt(10))


@pytest.mark.parametrize(
    ("kind", "plain"),
    [
        ("l2", lambda s, t: functional.mse_loss(s, t, reduction="none").mean(-1).sum() / 0.7),
        ("relative_l2", lambda s, t: ((s - t).norm(dim=-1) / t.norm(dim=-1)).square().sum()),
        (
            "cosine",
            lambda s, t: functional.cosine_embedding_loss(s, t, torch.ones(5), reduction="sum"),
        ),
    ],
)
def test_hidden_gradients_equal_torch(kind: str, plain: Callable[[Tensor, Tensor], Tensor]) -> None:
    generator = torch.Generator().manual_seed(1)
    student = torch.randn(5, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(5, 8, generator=generator, dtype=torch.float64)
    assert_same(hidden_sum([student], [teacher], kind, [0.7]), plain(student, teacher), student)


def test_half_precision_is_summed_in_float32() -> None:
    student = torch.full((4096, 4), 1.0, dtype=torch.bfloat16)
    teacher = torch.zeros(4096, 4, dtype=torch.bfloat16)
    value = hidden_sum([student], [teacher], "l2", [1.0])
    assert value.dtype == torch.float32
    assert float(value) == 4096.0


def test_total_is_the_weighted_sum() -> None:
    terms = {"ce": torch.tensor(2.0), "kl": torch.tensor(3.0), "cosine": torch.tensor(5.0)}
    loss = LossSpec(alpha=0.5, beta=0.25, gamma=2.0, logits="kl", hidden="cosine")
    assert float(total_loss(terms, loss)) == pytest.approx(0.5 * 2 + 0.25 * 3 + 2 * 5)


def test_every_name_of_the_spec_has_its_row() -> None:
    kinds = {kind: tuple(n for n, t in TERMS.items() if t.kind == kind) for kind in KINDS}
    assert kinds == {"ce": ("ce",), "logits": LOGITS_LOSSES, "hidden": HIDDEN_LOSSES}
    loss = LossSpec(beta=1, gamma=1, logits_tokens="text", hidden_tokens="all")
    assert [term(name).covers(loss) for name in loss.weights] == ["response", "text", "all"]
    assert [term(name).needs for name in loss.weights] == ["nothing", "final", "states"]


def test_an_unknown_term_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'klx' is not a known loss term.*'kl'.*ce, kl, reverse"):
        divergence_sum(torch.zeros(1, 2), torch.zeros(1, 2), "klx", 1.0)
