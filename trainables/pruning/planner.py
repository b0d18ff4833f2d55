"""From a ratio to what is kept: pure functions of sizes and scores, without a model or torch.

`resolve_target` says how much is kept and needs no scores; `plan_pruning` says which layers, heads
and neurons. Ratio is the fraction of language-model parameters removed, embeddings and head in the
denominator (tied ones once).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from trainables.models.adapter import LanguageShape
from trainables.pruning.scores import ImportanceScores
from trainables.specs import Frozen, Method, PruningSpec, digest

Indices = tuple[int, ...]


class Target(Frozen):
    """How much of every layer is kept, and the ratio that this achieves.

    Two specs with the same target prune equally much, whatever ratio they named.
    """

    layers: int
    kv_groups: int
    neurons: int
    ratio: float
    lm_params: int


class PrunePlan(Frozen):
    """Which layers, KV groups and neurons are kept (dense indices, rising).

    `kv_groups` and `neurons` hold one tuple per kept layer; None keeps all in every layer.
    """

    method: Method
    target_ratio: float
    ratio: float
    weights_digest: str
    shape: LanguageShape
    layers: Indices
    kv_groups: tuple[Indices, ...] | None = None
    neurons: tuple[Indices, ...] | None = None
    lm_params_dense: int
    lm_params: int

    @cached_property
    def digest(self) -> str:
        """Content key of what is kept of which weights; the ratio that was asked is not in it."""
        kept = {"layers": self.layers, "kv_groups": self.kv_groups, "neurons": self.neurons}
        return digest({"weights": self.weights_digest, "kept": kept})

    @property
    def kept_counts(self) -> tuple[tuple[int, int], ...]:
        """(KV groups, neurons) of every kept layer."""
        groups = [len(kept) for kept in self.kv_groups or ()]
        neurons = [len(kept) for kept in self.neurons or ()]
        count = len(self.layers)
        groups = groups or [self.shape.num_key_value_heads] * count
        neurons = neurons or [self.shape.intermediate_size] * count
        return tuple(zip(groups, neurons, strict=True))


def resolve_target(shape: LanguageShape, method: Method, ratio: float) -> Target:
    """What `ratio` keeps; needs no scores.

    Layerwise: the number of layers nearest to the ratio. Widthwise: every layer alike; heads and
    neurons lose the same fraction, heads rounded to the nearest KV group, neurons close the gap.

    Args:
        shape: sizes of the language model.
        method: what is removed.
        ratio: fraction of the language model's parameters to remove, in [0, 1); 0 keeps everything.

    Raises:
        ValueError: if the ratio removes nothing, or more than the method can.
    """
    if not 0 <= ratio < 1:
        raise ValueError(f"ratio={ratio}, but a ratio is at least 0 and less than 1")
    if ratio == 0:
        return _target(shape, shape.num_hidden_layers, *_dense_width(shape))
    resolve = _layerwise if method == "layerwise" else _widthwise
    return resolve(shape, ratio)


def plan_pruning(
    scores: ImportanceScores | None,
    shape: LanguageShape,
    spec: PruningSpec,
    weights_digest: str = "",
) -> PrunePlan:
    """The plan that keeps the most important parts within the spec's ratio.

    Ranking is within each layer for heads and neurons, over all layers for layers. Of equal scores
    the lower index is kept.

    Args:
        scores: of the spec's method; may be None at ratio 0.
        shape: sizes of the dense language model.
        spec: method and ratio.
        weights_digest: of the dense model; must equal the scores' where both are known.

    Raises:
        ValueError: if the ratio cannot be met, or the scores belong to another method or model.
    """
    target = resolve_target(shape, spec.method, spec.ratio)
    layers: Indices = tuple(range(shape.num_hidden_layers))
    kv_groups = neurons = None
    if spec.ratio > 0:
        _check_scores(scores, shape, spec, weights_digest)
        assert scores is not None
        if spec.method == "layerwise":
            assert scores.block is not None
            layers = _highest(scores.block, target.layers)
        else:
            assert scores.heads is not None
            assert scores.neurons is not None
            if target.kv_groups < shape.num_key_value_heads:
                kv_groups = tuple(_highest(row, target.kv_groups) for row in scores.heads)
            if target.neurons < shape.intermediate_size:
                neurons = tuple(_highest(row, target.neurons) for row in scores.neurons)
    return PrunePlan(
        method=spec.method,
        target_ratio=spec.ratio,
        ratio=target.ratio,
        weights_digest=weights_digest or (scores.metadata.weights_digest if scores else ""),
        shape=shape,
        layers=layers,
        kv_groups=kv_groups,
        neurons=neurons,
        lm_params_dense=shape.lm_params(),
        lm_params=target.lm_params,
    )


def _check_scores(
    scores: ImportanceScores | None, shape: LanguageShape, spec: PruningSpec, weights_digest: str
) -> None:
    if scores is None:
        raise ValueError(f"ratio={spec.ratio} needs importance scores; only ratio 0 needs none")
    if scores.metadata.method != spec.method:
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


def _highest(scores: NDArray[np.float32], count: int) -> Indices:
    """Rising indices of the `count` highest scores; of equal ones the lowest indices."""
    order = np.argsort(-scores, kind="stable")[:count]
    return tuple(int(index) for index in np.sort(order))


def _dense_width(shape: LanguageShape) -> tuple[int, int]:
    return shape.num_key_value_heads, shape.intermediate_size


def _target(shape: LanguageShape, layers: int, kv_groups: int, neurons: int) -> Target:
    params = shape.lm_params([(kv_groups, neurons)] * layers)
    return Target(
        layers=layers,
        kv_groups=kv_groups,
        neurons=neurons,
        ratio=1 - params / shape.lm_params(),
        lm_params=params,
    )


def _nearest(value: float) -> int:
    """Nearest integer; halves go down, so that less is removed."""
    return math.ceil(value - 0.5)


def _up(value: float) -> str:
    """Four digits, rounded up, so that the named ratio is accepted."""
    return f"{math.ceil(value * 1e4) / 1e4:.4f}"


def _down(value: float) -> str:
    return f"{math.floor(value * 1e4) / 1e4:.4f}"


def _layerwise(shape: LanguageShape, ratio: float) -> Target:
    total = shape.num_hidden_layers
    one = shape.layer_params(*_dense_width(shape)) / shape.lm_params()
    removed = _nearest(ratio / one)
    if removed < 1:
        raise ValueError(
            f"ratio={ratio:g} removes 0 of {total} layers; one layer is {one:.4f} of the language "
            f"model. Raise ratio to at least {_up(one / 2)}, or use method='widthwise'"
        )
    if removed > total - 1:
        raise ValueError(
            f"ratio={ratio:g} removes {removed} of {total} layers, but one must stay; lower ratio "
            f"to at most {_down((total - 1) * one)} (embeddings and head are never removed)"
        )
    return _target(shape, total - removed, *_dense_width(shape))


def _widthwise(shape: LanguageShape, ratio: float) -> Target:
    layers, (groups, neurons) = shape.num_hidden_layers, _dense_width(shape)
    dense, layer = shape.lm_params(), shape.layer_params(groups, neurons)
    group_params = layer - shape.layer_params(groups - 1, neurons)
    neuron_params = layer - shape.layer_params(groups, neurons - 1)
    goal = ratio * dense / layers  # parameters that every layer loses
    most = (groups - 1) * group_params + (neurons - 1) * neuron_params
    if goal > most:
        raise ValueError(
            f"ratio={ratio:g} cannot be reached widthwise, because one KV group and one neuron per "
            f"layer stay; lower ratio to at most {_down(most * layers / dense)} "
            "(embeddings, head and norms are never removed)"
        )
    fraction = goal / (groups * group_params + neurons * neuron_params)
    best: tuple[float, int, int] | None = None
    for kept_groups in _by_distance(groups * (1 - fraction), groups):
        rest = goal - (groups - kept_groups) * group_params
        kept = min(max(neurons - _nearest(rest / neuron_params), 1), neurons)
        gap = abs(rest - (neurons - kept) * neuron_params)
        if best is None or gap < best[0]:
            best = gap, kept_groups, kept
        if gap <= neuron_params / 2:  # neurons could close the gap: no further from the fraction
            break
    assert best is not None
    if best[1:] == (groups, neurons):
        least = min(neuron_params, group_params) * layers / dense
        raise ValueError(
            f"ratio={ratio:g} removes 0 of {groups} KV groups and 0 of {neurons} neurons per "
            f"layer, because one neuron in every layer is {least:.6f} of the language model. "
            f"Raise ratio to at least {_up(least)}"
        )
    return _target(shape, layers, *best[1:])


def _by_distance(ideal: float, count: int) -> Iterator[int]:
    """1..count, nearest to `ideal` first; of two equally near ones the larger."""
    yield from sorted(range(1, count + 1), key=lambda kept: (abs(kept - ideal), -kept))
