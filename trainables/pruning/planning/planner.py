"""From scores to what is kept: a pure function, without a model or torch.

`resolve_target` (`pruning_target`) says how much is kept and needs no scores; `plan_pruning` says
which layers, heads and neurons. Ratio is the fraction of language-model parameters removed,
embeddings and head in the denominator (tied ones once).
"""

from collections.abc import Sequence
from functools import cached_property

from trainables.models.families.shape import LanguageShape
from trainables.models.unpruned import Unpruned
from trainables.pruning.planning.methods import method_named
from trainables.pruning.planning.pruning_target import Target, resolve_target
from trainables.pruning.planning.scores import Array, ImportanceScores
from trainables.pruning.planning.selection import (
    Indices,
    highest,
    highest_over_layers,
    without_block,
)
from trainables.pruning.planning.sizes import achieved_size, goal
from trainables.pruning.planning.widths import prunable
from trainables.specs import Frozen, Method, PruningSpec, SizeTarget, digest
from trainables.specs.presets import effective_pruning


class PrunePlan(Frozen):
    """Which layers, KV groups and neurons are kept (dense indices, rising).

    `sources` holds one tuple per layer of the student: the dense layers that it is made of, one
    where layers are only removed, the mean of several where they are merged. `kv_groups` and
    `neurons` hold one tuple per kept layer; None keeps all in every layer. `size` is the size that
    was asked for instead of a ratio, `size_achieved` what the student has of it, in the same unit.
    """

    method: Method
    target_ratio: float
    ratio: float
    weights_digest: str
    shape: LanguageShape
    sources: tuple[Indices, ...]
    kv_groups: tuple[Indices, ...] | None = None
    neurons: tuple[Indices, ...] | None = None
    lm_params_dense: int
    lm_params: int
    size: SizeTarget | None = None
    size_achieved: float | None = None

    @property
    def layers(self) -> Indices:
        """The dense layer whose output each layer of the student stands for: its last source."""
        return tuple(source[-1] for source in self.sources)

    @cached_property
    def digest(self) -> str:
        """Content key of what is kept of which weights; the ratio that was asked is not in it."""
        merged = any(len(source) > 1 for source in self.sources)
        layers = self.sources if merged else self.layers
        kept = {"layers": layers, "kv_groups": self.kv_groups, "neurons": self.neurons}
        return digest({"weights": self.weights_digest, "kept": kept})

    @property
    def kept_counts(self) -> tuple[tuple[int, int], ...]:
        """(KV groups, neurons) of every kept layer."""
        return _counts(self.shape, len(self.layers), self.kv_groups, self.neurons)

    @property
    def uniform(self) -> bool:
        """Whether all kept layers have the same width."""
        return len(set(self.kept_counts)) == 1


def plan_pruning(
    scores: ImportanceScores | None,
    shape: LanguageShape,
    spec: PruningSpec,
    weights_digest: str = "",
    unpruned: Unpruned | None = None,
) -> PrunePlan:
    """The plan that keeps the most important parts within the spec's target.

    Heads and neurons are ranked within each layer or over all of them, layers one by one or as a
    block. Of equal scores the lower index is kept.

    Args:
        scores: of what the method removes; may be None when nothing is.
        shape: sizes of the dense language model.
        spec: method, target and rules.
        weights_digest: of the dense model; must equal the scores' where both are known.
        unpruned: the rest of the model, for a size target.

    Raises:
        ValueError: if the target cannot be met, or the scores belong to another method or model.
    """
    spec, unpruned = effective_pruning(spec), unpruned or Unpruned()
    target = resolve_target(shape, spec, unpruned)
    layers: Indices = tuple(range(shape.num_hidden_layers))
    kv_groups = neurons = None
    if spec.prunes:
        _check_scores(scores, shape, spec, weights_digest)
        assert scores is not None
        method = method_named(spec.method)
        if method.layers:
            assert scores.block is not None
            layers = _kept_layers(scores.block, shape, spec, target.layers)
        if method.width:
            kv_groups, neurons = _kept_units(scores, shape, spec, unpruned, target, layers)
    counts = _counts(shape, len(layers), kv_groups, neurons)
    params = shape.lm_params(counts)
    ratio = 1 - params / shape.lm_params()
    return PrunePlan(
        method=spec.method,
        target_ratio=spec.ratio if spec.size is None else ratio,
        ratio=ratio,
        weights_digest=weights_digest or (scores.metadata.weights_digest if scores else ""),
        shape=shape,
        sources=tuple((layer,) for layer in layers),
        kv_groups=kv_groups,
        neurons=neurons,
        lm_params_dense=shape.lm_params(),
        lm_params=params,
        size=spec.size,
        size_achieved=achieved_size(shape, spec, unpruned, counts),
    )


def _kept_layers(scores: Array, shape: LanguageShape, spec: PruningSpec, count: int) -> Indices:
    """Kept layers; those that vision features enter are not up for removal."""
    first = shape.anchored_layers
    choose = without_block if spec.depth == "contiguous" else highest
    rest = choose(scores[first:], count - first)
    return (*range(first), *(first + layer for layer in rest))


def _kept_units(
    scores: ImportanceScores,
    shape: LanguageShape,
    spec: PruningSpec,
    unpruned: Unpruned,
    target: Target,
    layers: Indices,
) -> tuple[tuple[Indices, ...] | None, tuple[Indices, ...] | None]:
    """Kept KV groups and neurons of the kept layers; None where every layer keeps all."""
    assert scores.heads is not None
    assert scores.neurons is not None
    heads, neurons = scores.heads[list(layers)], scores.neurons[list(layers)]
    if target.removed is not None:
        room, wanted = prunable(shape, spec, len(layers)), goal(shape, spec, unpruned)
        kept = highest_over_layers(
            heads, neurons, shape, room, wanted.cost, target.removed, wanted.limit is not None
        )
    else:
        groups_kept, neurons_kept = zip(*target.widths, strict=True)
        kept = (
            tuple(highest(row, count) for row, count in zip(heads, groups_kept, strict=True)),
            tuple(highest(row, count) for row, count in zip(neurons, neurons_kept, strict=True)),
        )
    return (
        _unless_all(kept[0], shape.num_key_value_heads),
        _unless_all(kept[1], shape.intermediate_size),
    )


def _unless_all(kept: tuple[Indices, ...], count: int) -> tuple[Indices, ...] | None:
    return None if all(len(units) == count for units in kept) else kept


def _counts(
    shape: LanguageShape,
    layers: int,
    kv_groups: Sequence[Indices] | None,
    neurons: Sequence[Indices] | None,
) -> tuple[tuple[int, int], ...]:
    groups = [len(kept) for kept in kv_groups or ()] or [shape.num_key_value_heads] * layers
    widths = [len(kept) for kept in neurons or ()] or [shape.intermediate_size] * layers
    return tuple(zip(groups, widths, strict=True))


def _check_scores(
    scores: ImportanceScores | None, shape: LanguageShape, spec: PruningSpec, weights_digest: str
) -> None:
    if scores is None:
        raise ValueError("pruning needs importance scores; only ratio 0 without a size needs none")
    if scores.metadata.method not in (spec.method, "hybrid"):
        raise ValueError(
            f"the scores are for method={scores.metadata.method!r}, but the spec says "
            f"{spec.method!r}; score with the spec's method"
        )
    scored = scores.metadata.weights_digest
    if scored and weights_digest and scored != weights_digest:
        raise ValueError(
            f"the scores belong to weights {scored[:12]}, but the model has weights "
            f"{weights_digest[:12]}; score this model anew"
        )
    scores.require(shape)
