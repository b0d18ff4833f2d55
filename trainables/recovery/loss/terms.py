"""The terms of the recovery loss: one row of `TERMS` each.

A term is the sum over the covered tokens of a micro-batch divided by the number of covered tokens
of the *global* batch (`objective`), so that a coefficient means the same at any batch size, number
of workers and accumulation (or by its samples, see `LossSpec.logits_per`). A new one needs its row
here and its name in `specs.losses`.

Shapes: N covered tokens of a micro-batch, H hidden size, V vocabulary, K kept log-probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from trainables.common.names import unknown
from trainables.models.collation import IGNORE
from trainables.specs import Covered, LossSpec

TINY = 1e-6  # least probability of what is outside the top k, so that its logarithm exists


@dataclass(frozen=True)
class TopK:
    """The largest log-probabilities at the needs' temperature, and their token ids; [N, K] each."""

    log_probs: Tensor
    ids: Tensor

    def __getitem__(self, rows: slice) -> TopK:
        return TopK(self.log_probs[rows], self.ids[rows])


@dataclass(frozen=True)
class Term:
    """One term of the loss.

    Attributes:
        name: as in `LossSpec.weights`.
        kind: which weight and which sum it belongs to: cross-entropy, divergence of the softened
            distributions, or distance of hidden states.
        needs: what it needs of the teacher: nothing, the final state (or its top k
            log-probabilities), or the states that the layer map names.
        covers: the tokens that it covers.
        sum: of kind `ce`: (logits [N, V], labels [N], smoothing); of kind `logits`: (student's and
            teacher's log-probabilities, w of Jensen-Shannon); of kind `hidden`: (student's and
            teacher's state [N, H], divisor). Scalar, over the N tokens.
    """

    name: str
    kind: Literal["ce", "logits", "hidden"]
    needs: Literal["nothing", "final", "states"]
    covers: Callable[[LossSpec], Covered]
    sum: Callable[..., Tensor]


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


def _kl(first: Tensor, second: Tensor) -> Tensor:
    return (first.exp() * (first - second)).sum()


def _js(q: Tensor, p: Tensor, w: float) -> Tensor:
    shares = torch.tensor([w, 1 - w], dtype=p.dtype, device=p.device).log()
    mixed = torch.logaddexp(p + shares[0], q + shares[1])
    return w * _kl(p, mixed) + (1 - w) * _kl(q, mixed)


def _relative(s: Tensor, t: Tensor, divisor: float) -> Tensor:
    squares = t.square().sum(-1).clamp_min(torch.finfo(t.dtype).tiny)
    return ((s - t).square().sum(-1) / squares).sum()


def _cosine(s: Tensor, t: Tensor, divisor: float) -> Tensor:
    return (1 - functional.cosine_similarity(s, t, dim=-1)).sum()


def _logits(name: str, divergence: Callable[[Tensor, Tensor, float], Tensor]) -> Term:
    return Term(name, "logits", "final", lambda loss: loss.logits_tokens, divergence)


def _hidden(name: str, distance: Callable[[Tensor, Tensor, float], Tensor]) -> Term:
    return Term(name, "hidden", "states", lambda loss: loss.hidden_tokens, distance)


TERMS = {
    term.name: term
    for term in (
        Term("ce", "ce", "nothing", lambda loss: "response", cross_entropy_sum),
        _logits("kl", lambda q, p, w: _kl(p, q)),
        _logits("reverse_kl", lambda q, p, w: _kl(q, p)),
        _logits("js", _js),
        _hidden("l2", lambda s, t, divisor: (s - t).square().mean(-1).sum() / divisor),
        _hidden("relative_l2", _relative),
        _hidden("cosine", _cosine),
    )
}


def term(name: str) -> Term:
    """The row of a term.

    Raises:
        ValueError: there is none; names those that there are.
    """
    if name not in TERMS:
        raise ValueError(unknown("loss term", name, TERMS))
    return TERMS[name]


def divergence_sum(
    student: Tensor, teacher: Tensor | TopK, name: str, temperature: float, js_weight: float = 0.5
) -> Tensor:
    """Sum over tokens of the divergence of softened distributions, times temperature squared.

    Of a `TopK` it is that of K + 1 events: the teacher's top k tokens, and all others together.
    Merging tokens can only lower a divergence, so this is a lower bound of the whole one.

    Args:
        student: logits [N, V].
        teacher: logits [N, V], or its top k at this temperature.
        name: of a term of kind `logits`.
        temperature: tau; both sides are softened by it (Hinton et al., arXiv 1503.02531).
        js_weight: w of Jensen-Shannon.

    Returns:
        Scalar in float32.
    """
    q = functional.log_softmax(_precise(student) / temperature, dim=-1)
    if isinstance(teacher, TopK):
        q = _with_rest(q.gather(-1, teacher.ids.long()))
        p = _with_rest(teacher.log_probs.to(q))
    else:
        p = functional.log_softmax(_precise(teacher) / temperature, dim=-1)
    return term(name).sum(q, p, js_weight) * temperature**2


def hidden_sum(
    student: Sequence[Tensor], teacher: Sequence[Tensor], name: str, scale: Sequence[float]
) -> Tensor:
    """Sum over tokens of the distance of hidden states [N, H], averaged over the k states; float32.

    `name` is of a term of kind `hidden`; `scale` has one divisor per state for `l2` (the teacher's
    mean square, or 1).
    """
    pairs = zip(map(_precise, student), map(_precise, teacher), scale, strict=True)
    return torch.stack([term(name).sum(s, t, divisor) for s, t, divisor in pairs]).mean()


def total_loss(terms: dict[str, Tensor], loss: LossSpec) -> Tensor:
    """The weighted sum of the terms."""
    return torch.stack([loss.weights[name] * value for name, value in terms.items()]).sum()


def _with_rest(log_probs: Tensor) -> Tensor:
    """[N, K + 1]: the log-probability of everything else beside those of the top k."""
    rest = (1 - log_probs.exp().sum(-1, keepdim=True)).clamp_min(TINY)
    return torch.cat([log_probs, rest.log()], dim=-1)


def _precise(values: Tensor) -> Tensor:
    """At least float32: sums over many tokens lose their low digits in half precision."""
    return values if values.dtype == torch.float64 else values.float()
