"""The terms of the recovery loss, each as a sum over its covered tokens.

Shapes: N covered tokens of a micro-batch, H hidden size, V vocabulary, K kept log-probabilities.

A term is the sum over the covered tokens of a micro-batch divided by the number of covered tokens
of the *global* batch (`objective`), so that a coefficient means the same at any batch size, number
of workers and accumulation.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from trainables.models.collation import IGNORE
from trainables.recovery.loss.targets import TopK
from trainables.specs import HiddenLoss, LogitsLoss, LossSpec

TINY = 1e-6  # least probability of what is outside the top k, so that its logarithm exists


def cross_entropy_sum(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Sum of -log p(label) in float32; `logits` [N, V], `labels` [N], where IGNORE counts nothing.

    With smoothing s the target is 1 - s on the label plus s / V on every token (Szegedy et al.,
    arXiv 1512.00567).
    """
    return functional.cross_entropy(
        _precise(logits),
        labels,
        ignore_index=IGNORE,
        reduction="sum",
        label_smoothing=label_smoothing,
    )


def divergence_sum(
    student: Tensor,
    teacher: Tensor,
    kind: LogitsLoss,
    temperature: float,
    js_weight: float = 0.5,
) -> Tensor:
    """Sum over tokens of the divergence of softened distributions, times temperature squared.

    Args:
        student: logits [N, V].
        teacher: logits [N, V].
        kind: see `LossSpec.logits`.
        temperature: tau; both sides are softened by it (Hinton et al., arXiv 1503.02531).
        js_weight: w of Jensen-Shannon.

    Returns:
        Scalar in float32.
    """
    q = functional.log_softmax(_precise(student) / temperature, dim=-1)
    p = functional.log_softmax(_precise(teacher) / temperature, dim=-1)
    return _divergence(q, p, kind, js_weight) * temperature**2


def top_k_divergence_sum(
    student: Tensor, teacher: TopK, kind: LogitsLoss, temperature: float, js_weight: float = 0.5
) -> Tensor:
    """`divergence_sum` over K + 1 events: the teacher's top k tokens, and all others together.

    Merging tokens can only lower a divergence, so this is a lower bound of the whole one.

    Args:
        student: logits [N, V].
        teacher: log-probabilities at this temperature and their token ids, [N, K] each.
        kind: see `LossSpec.logits`.
        temperature: tau.
        js_weight: w of Jensen-Shannon.
    """
    q = functional.log_softmax(_precise(student) / temperature, dim=-1)
    own = _with_rest(q.gather(-1, teacher.ids.long()))
    return _divergence(own, _with_rest(teacher.log_probs.to(q)), kind, js_weight) * temperature**2


def hidden_sum(
    student: Sequence[Tensor], teacher: Sequence[Tensor], kind: HiddenLoss, scale: Sequence[float]
) -> Tensor:
    """Sum over tokens of the distance of hidden states, averaged over the k states.

    Args:
        student: k states [N, H].
        teacher: k states [N, H].
        kind: `l2` is the mean squared error over H, divided by `scale`; `relative_l2` is
            |s - t|^2 / |t|^2; `cosine` is 1 - cos(s, t).
        scale: one divisor per state for `l2` (the teacher's mean square, or 1).

    Returns:
        Scalar in float32.
    """
    terms = []
    for s, t, divisor in zip(map(_precise, student), map(_precise, teacher), scale, strict=True):
        if kind == "l2":
            terms.append((s - t).square().mean(-1).sum() / divisor)
        elif kind == "relative_l2":
            squares = t.square().sum(-1).clamp_min(torch.finfo(t.dtype).tiny)
            terms.append(((s - t).square().sum(-1) / squares).sum())
        else:
            terms.append((1 - functional.cosine_similarity(s, t, dim=-1)).sum())
    return torch.stack(terms).mean()


def total_loss(terms: dict[str, Tensor], loss: LossSpec) -> Tensor:
    """The weighted sum of the terms."""
    return torch.stack([loss.weights[name] * value for name, value in terms.items()]).sum()


def _divergence(q: Tensor, p: Tensor, kind: LogitsLoss, weight: float) -> Tensor:
    """Sum of the divergence of log-probabilities: q of the student, p of the teacher."""
    if kind == "kl":
        return _kl(p, q)
    if kind == "reverse_kl":
        return _kl(q, p)
    shares = torch.tensor([weight, 1 - weight], dtype=p.dtype, device=p.device).log()
    mixed = torch.logaddexp(p + shares[0], q + shares[1])
    return weight * _kl(p, mixed) + (1 - weight) * _kl(q, mixed)


def _kl(first: Tensor, second: Tensor) -> Tensor:
    return (first.exp() * (first - second)).sum()


def _with_rest(log_probs: Tensor) -> Tensor:
    """[N, K + 1]: the log-probability of everything else beside those of the top k."""
    rest = (1 - log_probs.exp().sum(-1, keepdim=True)).clamp_min(TINY)
    return torch.cat([log_probs, rest.log()], dim=-1)


def _precise(values: Tensor) -> Tensor:
    """At least float32: sums over many tokens lose their low digits in half precision."""
    return values if values.dtype == torch.float64 else values.float()
