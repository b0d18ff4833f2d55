"""The student with its loss, as the module whose forward pass a DeepSpeed engine runs.

Shapes: B samples, T tokens, H hidden size, V vocabulary, N tokens that the hidden term covers, M
positions that the logits term covers.

Logits exist on covered positions alone, and of those only a chunk at a time: where they need more
than one chunk, each is computed again in the backward pass instead of being kept, so that peak
memory depends neither on the length nor on the vocabulary.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from trainables.models.collation import IGNORE, Batch
from trainables.models.families.adapter import VLMAdapter
from trainables.recovery.loss.coverage import (
    Coverage,
    answer_positions,
    hidden_positions,
    logits_positions,
)
from trainables.recovery.loss.targets import Targets
from trainables.recovery.loss.terms import TopK, cross_entropy_sum, divergence_sum, hidden_sum, term
from trainables.specs import LossSpec

CHUNK_ELEMENTS = 2**25  # of logits; a float32 copy of them is 128 MiB


def hidden_states(
    model: nn.Module, batch: Batch, earlier: Sequence[int], adapter: VLMAdapter
) -> tuple[Tensor, ...]:
    """Run a vision-language model up to its final norm; no logits.

    Returns:
        The raw states numbered `earlier` (see `layer_maps`), then the one after the final norm;
        each [B, T, H]. What stands at padding means nothing.
    """
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    if adapter.replays_vision and _pads_right(inputs["attention_mask"]):
        # In causal attention no token sees what follows it, so padding at the end needs no mask;
        # and without one, attention takes its faster causal kernel.
        del inputs["attention_mask"]
    backbone = model.model
    assert isinstance(backbone, nn.Module)
    output = backbone(**inputs, use_cache=False, output_hidden_states=bool(earlier))
    return (*(output.hidden_states[state] for state in earlier), output.last_hidden_state)


def image_token_of(model: nn.Module, adapter: VLMAdapter) -> int:
    """Id of a loaded model's image token.

    Not from `config.to_dict()`, a copy that takes 1 to 6 ms and would be made in every step.
    """
    return int(getattr(model.config, adapter.image_token[0]))


def _pads_right(mask: Tensor) -> bool:
    """Whether no row [B, T] has padding in front of a token."""
    return bool((mask[:, 1:] <= mask[:, :-1]).all())


class RecoveryObjective(nn.Module):
    """The student with its loss.

    The teacher is not a submodule: its targets come in as tensors and its head as an argument.

    Args:
        student: the pruned model.
        loss: the mixture.
        states: the student's states of the hidden term (see `layer_maps`).
        adapter: table of its family.
        width_map: maps the student's states to the teacher's width, where they differ.
        chunk_elements: most elements of the logits that exist at once.
    """

    def __init__(
        self,
        student: nn.Module,
        loss: LossSpec,
        states: Sequence[int],
        adapter: VLMAdapter,
        width_map: nn.Linear | None = None,
        chunk_elements: int = CHUNK_ELEMENTS,
    ) -> None:
        super().__init__()
        self.student = student
        self.loss = loss
        self.states = tuple(states)
        self.adapter = adapter
        self.image_token_id = image_token_of(student, adapter)
        self.width_map = width_map
        self.chunk_elements = chunk_elements

    def forward(
        self,
        batch: Batch,
        total: Coverage,
        targets: Targets,
        teacher_head: nn.Module | None,
        scale: Sequence[float],
    ) -> dict[str, Tensor]:
        """Unweighted terms of one micro-batch, each divided by the global coverage `total`.

        `teacher_head` leads from the teacher's final state to its logits; `scale` holds the
        divisors of the hidden term, one per state.

        Returns:
            Scalars by term name, as in `LossSpec.weights`.
        """
        loss = self.loss
        *earlier, final = hidden_states(
            self.student, batch, self.states[:-1] if loss.gamma else (), self.adapter
        )
        terms: dict[str, Tensor] = {}
        if loss.alpha or loss.beta:
            answer, logits = self._head_sums(final, batch, targets, teacher_head)
            if loss.alpha:
                terms["ce"] = answer / max(1, total.answer)
            if loss.beta:
                terms[loss.logits] = logits / max(1, total.logits)
        if loss.gamma:
            tokens = term(loss.hidden).covers(loss)
            covered = hidden_positions(batch, tokens, self.image_token_id)
            rows = [state[covered] for state in (*earlier, final)]
            if self.width_map is not None:
                rows = [self.width_map(row) for row in rows]
            value = hidden_sum(rows, targets.hidden, loss.hidden, scale)
            terms[loss.hidden] = value / max(1, total.hidden)
        if any(term.requires_grad for term in terms.values()):
            return terms
        # Text alone does not pass through a projector: its gradient is 0 rather than none.
        trained = [p.sum() for p in self.parameters() if p.requires_grad]
        nothing = 0.0 * sum(trained, torch.zeros((), device=final.device))
        return {name: term + nothing for name, term in terms.items()}

    def _head_sums(
        self, final: Tensor, batch: Batch, targets: Targets, teacher_head: nn.Module | None
    ) -> Tensor:
        """[2]: the sums of cross-entropy and logits divergence over the covered positions."""
        labels = functional.pad(batch["labels"][:, 1:], (0, 1), value=IGNORE)
        covered = answer_positions(batch["labels"])
        chosen = None
        tokens = term(self.loss.logits).covers(self.loss)
        if self.loss.beta and tokens != "response":
            distilled = logits_positions(batch, tokens, self.image_token_id)
            covered = distilled | covered if self.loss.alpha else distilled
            chosen = distilled[covered]
        rows, labels = final[covered], labels[covered]
        head = self.student.lm_head
        assert isinstance(head, nn.Module)
        size = max(1, self.chunk_elements // int(head.out_features))  # type: ignore[arg-type]
        chunk: Callable[..., Tensor] = self._chunk
        if len(rows) > size:
            chunk = partial(checkpoint, chunk, use_reentrant=False, preserve_rng_state=False)
        reference = targets.top_k or targets.final if self.loss.beta else None
        sums, start = [], 0
        for at in range(0, max(1, len(rows)), size):
            own = rows[at : at + size], labels[at : at + size]
            mask = None if chosen is None else chosen[at : at + size]
            count = len(own[0]) if mask is None else int(mask.sum())
            answers = None if reference is None else reference[start : start + count]
            start += count
            sums.append(chunk(*own, mask, answers, teacher_head))
        return torch.stack(sums).sum(0)

    def _chunk(
        self,
        rows: Tensor,
        labels: Tensor,
        chosen: Tensor | None,
        teacher: Tensor | TopK | None,
        teacher_head: nn.Module | None,
    ) -> Tensor:
        loss = self.loss
        logits: Tensor = self.student.lm_head(rows)  # type: ignore[operator]
        zero = logits.new_zeros((), dtype=torch.float32)
        answer = divergence = zero
        if loss.alpha:
            answer = cross_entropy_sum(logits, labels, loss.label_smoothing)
        if loss.beta:
            own = logits if chosen is None else logits[chosen]
            if not isinstance(teacher, TopK):
                assert teacher_head is not None
                with torch.no_grad():
                    teacher = teacher_head(teacher)
            how = (loss.logits, loss.temperature, loss.js_weight)
            divergence = divergence_sum(own, teacher, *how)
        return torch.stack([answer, divergence])
