"""Uniform widths: how many KV groups and neurons every layer keeps. Pure arithmetic, torch-free.

Heads and neurons lose the same fraction; heads round to the nearest KV group, and neurons close the
gap that rounding leaves: as nearly as can be for a ratio, from below for a size. The study's own
widths stand besides (`study_widths`).
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from trainables.models.families.shape import LanguageShape
from trainables.models.unpruned import Widths
from trainables.pruning.planning.sizes import Cost, Goal
from trainables.specs import PruningSpec

STUDY_LAYERS = 32
# Of each of the study's ratios: layers that go, and the fraction of the channels.
STUDY_LEVELS = {0.15: (5, 0.2), 0.30: (10, 0.4), 0.45: (15, 0.6), 0.60: (21, 0.8)}


@dataclass(frozen=True)
class Prunable:
    """Which layers may lose heads and neurons, by their position in the student."""

    shape: LanguageShape
    layers: int
    heads: range
    neurons: range
    multiple: int

    def widths(self, groups: int, neurons: int) -> Widths:
        """Uniform widths of the layers that may be pruned; the others stay whole."""
        return tuple(
            (
                groups if index in self.heads else self.shape.num_key_value_heads,
                neurons if index in self.neurons else self.shape.intermediate_size,
            )
            for index in range(self.layers)
        )

    @property
    def narrowest(self) -> Widths:
        """The widths that can be reached: one KV group, one multiple of neurons."""
        return self.widths(1, self.multiple)

    def steps(self, wanted: Goal) -> tuple[float, ...]:
        """Costs of the smallest uniform removals: one KV group, one multiple of neurons."""
        groups, neurons = self.shape.num_key_value_heads, self.shape.intermediate_size
        first = neurons % self.multiple or self.multiple
        steps = []
        if self.neurons and neurons > self.multiple:
            steps.append(first * wanted.cost.neuron * len(self.neurons))
        if self.heads and groups > 1:
            steps.append(wanted.cost.kv_group * len(self.heads))
        return tuple(steps)


def prunable(shape: LanguageShape, pruning: PruningSpec, layers: int) -> Prunable:
    """Where a student of `layers` layers may lose width.

    Raises:
        ValueError: if everything is protected, or the neuron multiple exceeds the neurons.
    """
    units = pruning.units
    if units == "auto":
        units = "neurons" if shape.fixed_heads else "all"
    heads = _span(layers, *pruning.protect_heads) if units != "neurons" else range(0)
    neurons = _span(layers, *pruning.protect_neurons) if units != "heads" else range(0)
    if not heads and not neurons:
        raise ValueError(
            f"protect_heads={pruning.protect_heads} and protect_neurons={pruning.protect_neurons} "
            f"leave nothing to prune in {layers} layers (units={pruning.units!r}); protect fewer"
        )
    if pruning.neuron_multiple > shape.intermediate_size:
        raise ValueError(
            f"neuron_multiple={pruning.neuron_multiple}, but a layer has only "
            f"{shape.intermediate_size} neurons; lower it"
        )
    return Prunable(shape, layers, heads, neurons, pruning.neuron_multiple)


def study_widths(shape: LanguageShape, pruning: PruningSpec) -> Widths:
    """(KV groups, neurons) of every layer that the study keeps (facts of its code, not its paper).

    Widthwise the layers that are not protected lose their fraction of the channels: neurons, and
    the whole heads among it. Channels that stay are rounded down, in floats, which keeps 2047 of
    10240 neurons at 0.60. So the achieved ratio differs from the one that is named.

    Raises:
        ValueError: if the study has no such method, ratio or depth.
    """
    levels = (v for ratio, v in STUDY_LEVELS.items() if abs(ratio - pruning.ratio) < 1e-9)
    level = next(levels, None)
    if level is None or pruning.size is not None or pruning.method == "hybrid":
        given = "a size" if pruning.size is not None else f"ratio={pruning.ratio:g}"
        raise ValueError(
            f"preset='study' with method={pruning.method!r} and {given}, but the study prunes "
            f"layerwise or widthwise at ratios {', '.join(map(str, STUDY_LEVELS))}; take one of "
            "these, or leave the preset out"
        )
    if shape.num_hidden_layers != STUDY_LAYERS:
        raise ValueError(
            f"preset='study' is for {STUDY_LAYERS} layers, but the model has "
            f"{shape.num_hidden_layers}; leave the preset out"
        )
    removed, fraction = level
    groups, neurons = shape.num_key_value_heads, shape.intermediate_size
    if pruning.method == "layerwise":
        return ((groups, neurons),) * (STUDY_LAYERS - removed)
    channels = groups * shape.head_dim
    kept_groups = groups - (channels - int(channels * (1 - fraction))) // shape.head_dim
    kept_neurons = int(neurons * (1 - fraction))
    return prunable(shape, pruning, STUDY_LAYERS).widths(max(kept_groups, 1), max(kept_neurons, 1))


def beyond_width(pruning: PruningSpec, wanted: Goal, reachable: float) -> ValueError:
    """The error of a goal beyond what width can remove; `reachable` is the largest share."""
    multiple = pruning.neuron_multiple
    least = "one neuron" if multiple == 1 else f"{multiple} neurons"
    return ValueError(
        f"{wanted.asked} cannot be reached {pruning.method}, because one KV group and {least} per "
        f"layer stay; {wanted.less(reachable)} (units={pruning.units!r}; embeddings, head, norms "
        "and protected layers are never removed)"
    )


def uniform_widths(wanted: Goal, gone: float, room: Prunable) -> Widths:
    """Uniform widths that remove the goal, `gone` of it (a share) by layers.

    Raises:
        ValueError: if that is nothing.
    """
    groups, neurons = room.shape.num_key_value_heads, room.shape.intermediate_size
    widths = nearest_widths(wanted, gone, room)
    if widths == (groups, neurons):
        step = min(room.steps(wanted)) / wanted.cost.dense
        raise ValueError(
            f"{wanted.asked} removes 0 of {groups} KV groups and 0 of {neurons} neurons per "
            f"layer, because the smallest step, the same in every layer, is {step:.6f} of the "
            f"{wanted.whole}. {wanted.more(gone + step).capitalize()}"
        )
    return room.widths(*widths)


def nearest_widths(wanted: Goal, gone: float, room: Prunable) -> tuple[int, int]:
    """(KV groups, neurons) that every prunable layer keeps."""
    groups, neurons = room.shape.num_key_value_heads, room.shape.intermediate_size
    layers, cost = room.layers, wanted.cost
    # Means over all layers, so that protected ones count into what the others have to lose.
    group_cost = cost.kv_group * (len(room.heads) / layers)
    neuron_cost = cost.neuron * (len(room.neurons) / layers)
    loss = (wanted.share - gone) * cost.dense / layers
    fraction = loss / (groups * group_cost + neurons * neuron_cost)
    choices = _by_distance(groups * (1 - fraction), groups) if room.heads else [groups]
    if wanted.limit is not None:
        return _largest_widths(wanted.cost, wanted.limit, choices, room)
    best: tuple[float, int, int] | None = None
    for kept_groups in choices:
        rest = loss - (groups - kept_groups) * group_cost
        kept = neurons
        if room.neurons:
            kept = _nearest_multiple(neurons - rest / neuron_cost, neurons, room.multiple)
        gap = abs(rest - (neurons - kept) * neuron_cost)
        if best is None or gap < best[0]:
            best = gap, kept_groups, kept
        # Neurons could close the gap, and no other head count is nearer to the fraction.
        if room.neurons and gap <= room.multiple * neuron_cost / 2:
            break
    assert best is not None
    return best[1:]


def _largest_widths(
    cost: Cost, limit: float, choices: Sequence[int], room: Prunable
) -> tuple[int, int]:
    """(KV groups, neurons) of the first of `choices` (KV groups) with which neurons reach `limit`.

    Nothing more fits: neither one KV group nor one multiple of neurons in every prunable layer.
    """
    groups, neurons = room.shape.num_key_value_heads, room.shape.intermediate_size
    widths = [*range(room.multiple, neurons, room.multiple), neurons] if room.neurons else [neurons]
    best: tuple[float, int, int] | None = None
    for kept_groups in choices:

        def total(kept: int, groups: int = kept_groups) -> float:
            return cost.total(room.widths(groups, kept))

        fitting = bisect_right(widths, limit, key=total)
        if not fitting:
            continue
        kept = widths[fitting - 1]
        gap = limit - total(kept)
        if best is None or gap < best[0]:
            best = gap, kept_groups, kept
        if fitting < len(widths):  # no other head count is nearer to the fraction
            break
    assert best is not None, "the narrowest fit"
    _, kept_groups, kept = best
    # Where a multiple of neurons is more than a group, a group may fit yet.
    more = range(kept_groups, groups + 1) if room.heads else [groups]
    return max(g for g in more if cost.total(room.widths(g, kept)) <= limit), kept


def _span(layers: int, first: int, last: int) -> range:
    """Positions of the layers that are neither among the first nor the last."""
    return range(min(first, layers), max(layers - last, min(first, layers)))


def _nearest_multiple(exact: float, neurons: int, multiple: int) -> int:
    """Kept neurons nearest to `exact`: a multiple, or all; of two equally near ones the larger."""
    low = math.floor(exact / multiple) * multiple
    choices = {multiple, low, low + multiple, neurons}
    allowed = [kept for kept in choices if multiple <= kept <= neurons]
    return min(allowed, key=lambda kept: (abs(kept - exact), -kept))


def _by_distance(ideal: float, count: int) -> list[int]:
    """1..count, nearest to `ideal` first; of two equally near ones the larger."""
    return sorted(range(1, count + 1), key=lambda kept: (abs(kept - ideal), -kept))
