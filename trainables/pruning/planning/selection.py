"""Which layers, heads and neurons are kept: rankings, ties broken the same way each time.

Of equal scores the lower index is kept, within a layer as well as over layers. Torch-free.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainables.models.families.shape import LanguageShape
from trainables.pruning.planning.sizes import Cost
from trainables.pruning.planning.widths import Prunable

Indices = tuple[int, ...]
Array = NDArray[np.float32]


def highest(scores: Array, count: int) -> Indices:
    """Rising indices of the `count` highest scores; of equal ones the lowest indices."""
    order = np.argsort(-scores, kind="stable")[:count]
    return tuple(int(index) for index in np.sort(order))


def without_block(scores: Array, count: int) -> Indices:
    """Rising indices of `count` entries; those left out are neighbours with the lowest sum.

    Of equal sums the block with the higher indices is left out.
    """
    size = len(scores) - count
    if size == 0:
        return tuple(range(count))
    sums = np.convolve(scores.astype(np.float64), np.ones(size), mode="valid")
    start = len(sums) - 1 - int(np.argmin(sums[::-1]))
    return (*range(start), *range(start + size, len(scores)))


class _Step(NamedTuple):
    """The next removal of one kind in one layer; sorts by score, then so that ties stay put."""

    density: float  # mean score per parameter of what goes
    after: tuple[int, int]  # of equal densities later layers go first, heads before neurons
    rank: int  # a layer's own order
    layer: int
    is_head: bool
    units: Indices
    cost: float


def highest_over_layers(
    heads: Array,
    neurons: Array,
    shape: LanguageShape,
    room: Prunable,
    cost: Cost,
    removed: float,
    at_least: bool = False,
) -> tuple[tuple[Indices, ...], tuple[Indices, ...]]:
    """Kept KV groups and neurons of every layer when all layers compete.

    Groups are ranked by score per parameter, so that a head and a neuron compare. From the lowest
    up, whatever still fits goes; a head that would overshoot is passed over, and neurons close the
    gap, so that the goal is met to half a step of the smallest unit (with `at_least` to less than a
    step, from below). In every layer one KV group and one multiple of neurons stay.

    Args:
        heads: scores [kept layers, kv_groups].
        neurons: scores [kept layers, intermediate].
        shape: sizes of the dense language model.
        room: which of the kept layers may lose what.
        cost: what `removed` counts.
        removed: how much is to go.
        at_least: whether no less may go.
    """
    group_params = shape.layer_params(2, 1) - shape.layer_params(1, 1)
    neuron_params = shape.layer_params(1, 2) - shape.layer_params(1, 1)
    size, multiple = shape.intermediate_size, room.multiple
    steps = []
    for layer in room.heads:
        for rank, unit in enumerate(_removal_order(heads[layer])[:-1]):
            density = float(heads[layer, unit]) / group_params
            after = (-layer, 0)
            steps.append(_Step(density, after, rank, layer, True, (unit,), cost.kv_group))
    for layer in room.neurons:
        order = _removal_order(neurons[layer])
        # The first step may be shorter: it brings the kept neurons to a multiple.
        bounds = [0, *range(size % multiple or multiple, size, multiple)]
        sums = np.add.reduceat(neurons[layer][list(order)].astype(np.float64), bounds)
        for rank, (start, end) in enumerate(pairwise(bounds)):
            density = float(sums[rank]) / (end - start) / neuron_params
            units, loss = order[start:end], (end - start) * cost.neuron
            steps.append(_Step(density, (-layer, 1), rank, layer, False, units, loss))
    steps.sort()
    taken = _at_least(steps, removed) if at_least else _nearest(steps, removed)
    kept_heads = [set(range(shape.num_key_value_heads)) for _ in range(room.layers)]
    kept_neurons = [set(range(size)) for _ in range(room.layers)]
    for step in taken:
        (kept_heads if step.is_head else kept_neurons)[step.layer] -= set(step.units)
    return (
        tuple(tuple(sorted(units)) for units in kept_heads),
        tuple(tuple(sorted(units)) for units in kept_neurons),
    )


def _nearest(steps: Sequence[_Step], removed: float) -> list[_Step]:
    """The steps, from the first on, that come to `removed` as nearly as the smallest can."""
    half = min((step.cost for step in steps), default=0.0) / 2
    taken, gone = [], 0.0
    for step in steps:
        if gone + step.cost <= removed + half:
            gone += step.cost
            taken.append(step)
    return taken


def _at_least(steps: Sequence[_Step], removed: float) -> list[_Step]:
    """The steps, from the first on, that come to `removed` or more, none of which could be spared.

    While there are neurons to close the gap, a head that would overshoot by more than one of their
    steps is passed over; what is then left of such heads goes where there are no more neurons.
    """
    neurons = max((step.cost for step in steps if not step.is_head), default=math.inf)
    taken, gone = set[int](), 0.0
    for overshoot in (neurons, math.inf):
        for place, step in enumerate(steps):
            if gone >= removed:
                break
            if place not in taken and gone + step.cost < removed + overshoot:
                gone += step.cost
                taken.add(place)
    stuck = set[tuple[int, bool]]()  # of one layer, only the last that went can come back
    for place in sorted(taken, reverse=True):
        step = steps[place]
        if (step.layer, step.is_head) not in stuck and gone - step.cost >= removed:
            gone -= step.cost
            taken.remove(place)
        else:
            stuck.add((step.layer, step.is_head))
    return [steps[place] for place in sorted(taken)]


def _removal_order(scores: Array) -> Indices:
    """Indices from the first to go to the last: rising scores, of equal ones the highest index."""
    return tuple(int(index) for index in np.argsort(-scores, kind="stable")[::-1])
