"""The recovery loss: alpha * CE + beta * logits distillation + gamma * hidden-state distillation.

Shapes: B samples, T tokens, H hidden size, V vocabulary, N covered tokens of the micro-batch.

Every term is computed as a *sum* over the covered tokens of a micro-batch and divided by the number
of covered tokens of the *global* batch, so that a coefficient means the same at any batch size,
number of workers and accumulation. Logits exist on covered positions only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.models.collation import IGNORE, Batch
from trainables.specs import LogitsLoss, LossSpec


@dataclass(frozen=True)
class HiddenStates:
    """The last k hidden states, oldest first, each [B, T, H]; the last one is after the norm."""

    states: tuple[Tensor, ...]

    @property
    def final(self) -> Tensor:
        """The state that feeds the head."""
        return self.states[-1]


def hidden_states(model: nn.Module, batch: Batch, k: int) -> HiddenStates:
    """Run a vision-language model up to its final norm; no logits."""
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    backbone = model.model
    assert isinstance(backbone, nn.Module)
    output = backbone(**inputs, use_cache=False, output_hidden_states=k > 1)
    if k == 1:
        return HiddenStates((output.last_hidden_state,))
    return HiddenStates((*output.hidden_states[-k:-1], output.last_hidden_state))


def answer_positions(labels: Tensor) -> Tensor:
    """Bool [B, T]: positions whose *next* token is part of an answer."""
    covered = torch.zeros_like(labels, dtype=torch.bool)
    covered[:, :-1] = labels[:, 1:] != IGNORE
    return covered


def hidden_positions(batch: Batch, tokens: str, image_token_id: int) -> Tensor:
    """Bool [B, T]: the tokens that the hidden term covers; padding never counts."""
    present = batch["attention_mask"].bool()
    if tokens == "all":
        return present
    if tokens == "text":
        return present & (batch["input_ids"] != image_token_id)
    return answer_positions(batch["labels"])


def cross_entropy_sum(logits: Tensor, targets: Tensor) -> Tensor:
    """Sum of -log p(target) in float32; `logits` [N, V], `targets` [N]."""
    return functional.cross_entropy(logits.float(), targets, reduction="sum")


def divergence_sum(
    student: Tensor, teacher: Tensor, kind: LogitsLoss, temperature: float
) -> Tensor:
    """Sum over tokens of the divergence of softened distributions, times temperature squared.

    Args:
        student: logits [N, V].
        teacher: logits [N, V].
        kind: `kl` is KL(teacher || student), `reverse_kl` is KL(student || teacher).
        temperature: tau; both sides are softened by it (Hinton et al., arXiv 1503.02531).

    Returns:
        Scalar in float32.
    """
    q = functional.log_softmax(student.float() / temperature, dim=-1)
    p = functional.log_softmax(teacher.float() / temperature, dim=-1)
    first, second = (p, q) if kind == "kl" else (q, p)
    return (first.exp() * (first - second)).sum() * temperature**2


def squared_error_sum(
    student: Sequence[Tensor], teacher: Sequence[Tensor], covered: Tensor, scale: Sequence[float]
) -> Tensor:
    """Sum over covered tokens of the mean squared error over H, averaged over the k states.

    Args:
        student: k states [B, T, H].
        teacher: k states [B, T, H].
        covered: bool [B, T].
        scale: one divisor per state (the teacher's mean square, or 1).
    """
    terms = [
        (s[covered].float() - t[covered].float()).square().mean(-1).sum() / c
        for s, t, c in zip(student, teacher, scale, strict=True)
    ]
    return torch.stack(terms).mean()


@dataclass(frozen=True)
class Coverage:
    """Covered tokens of a global batch: of the two answer terms, and of the hidden term."""

    answer: int
    hidden: int


def coverage(
    samples: Iterable[tuple[list[int], list[int]]], loss: LossSpec, image_token_id: int
) -> Coverage:
    """Covered tokens of the global batch, from (input_ids, labels) of its samples; no padding."""
    answer = hidden = 0
    for ids, labels in samples:
        answers = sum(label != IGNORE for label in labels[1:])
        answer += answers
        if loss.hidden_tokens == "all":
            hidden += len(ids)
        elif loss.hidden_tokens == "text":
            hidden += sum(token != image_token_id for token in ids)
        else:
            hidden += answers
    return Coverage(answer, hidden)


class RecoveryObjective(nn.Module):
    """The student with its loss, so that the DeepSpeed engine's forward returns the terms.

    The teacher is not a submodule: its hidden states come in as tensors and its head as a weight.
    """

    def __init__(self, student: nn.Module, loss: LossSpec, image_token_id: int) -> None:
        super().__init__()
        self.student = student
        self.loss = loss
        self.image_token_id = image_token_id

    def forward(
        self,
        batch: Batch,
        total: Coverage,
        teacher: HiddenStates | None,
        teacher_logits: Tensor | None,
        scale: Sequence[float],
    ) -> dict[str, Tensor]:
        """Unweighted terms of one micro-batch, each divided by the global coverage.

        Args:
            batch: the micro-batch.
            total: covered tokens of the global batch.
            teacher: the teacher's last k hidden states on this micro-batch, if a term needs them.
            teacher_logits: the teacher's logits [N, V] on the covered answer positions.
            scale: divisors of the hidden term, one per state.

        Returns:
            Scalars by term name; the weighted sum is `total_loss`.
        """
        loss = self.loss
        states = hidden_states(self.student, batch, loss.hidden_layers if loss.gamma else 1)
        terms: dict[str, Tensor] = {}
        if loss.alpha or loss.beta:
            covered = answer_positions(batch["labels"])
            logits = self.student.lm_head(states.final[covered])  # type: ignore[operator]
            targets = batch["labels"][:, 1:][covered[:, :-1]]
            if loss.alpha:
                terms["ce"] = cross_entropy_sum(logits, targets) / total.answer
            if loss.beta:
                assert teacher_logits is not None
                value = divergence_sum(logits, teacher_logits, loss.logits, loss.temperature)
                terms[loss.logits] = value / total.answer
        if loss.gamma:
            assert teacher is not None
            covered = hidden_positions(batch, loss.hidden_tokens, self.image_token_id)
            value = squared_error_sum(states.states, teacher.states, covered, scale)
            terms["l2"] = value / total.hidden
        if any(term.requires_grad for term in terms.values()):
            return terms
        # Text alone does not pass through a projector: its gradient is 0 rather than none.
        trained = [p.sum() for p in self.parameters() if p.requires_grad]
        nothing = 0.0 * sum(trained, torch.zeros((), device=states.final.device))
        return {name: term + nothing for name, term in terms.items()}


def total_loss(terms: dict[str, Tensor], loss: LossSpec) -> Tensor:
    """The weighted sum of the terms."""
    weights = {"ce": loss.alpha, loss.logits: loss.beta, "l2": loss.gamma}
    return torch.stack([weights[name] * value for name, value in terms.items()]).sum()
