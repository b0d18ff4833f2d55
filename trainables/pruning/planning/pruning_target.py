"""How much is kept: pure arithmetic on sizes, which needs no scores. Torch-free.

Layerwise: the nearest number of layers; under a size the largest that keeps it. Widthwise: uniform
widths (`widths`). Hybrid: layers for their share of the target, then width for the rest. Ranking
over all layers (`ranking="global"`) leaves the widths to the scores; only what they add up to is
known here.
"""

import math

from trainables.models.families.shape import LanguageShape
from trainables.models.unpruned import Unpruned, Widths
from trainables.pruning.planning.methods import method_named
from trainables.pruning.planning.sizes import Goal, goal, part_of
from trainables.pruning.planning.widths import (
    Prunable,
    beyond_width,
    nearest_widths,
    prunable,
    study_widths,
    uniform_widths,
)
from trainables.specs import Frozen, PruningSpec
from trainables.specs.presets import effective_pruning


class Target(Frozen):
    """How much of every layer is kept, and the ratio that this achieves.

    Two specs with the same target prune equally much, whatever ratio or size they named.

    Attributes:
        widths: (KV groups, neurons) of every kept layer. Where heads and neurons are ranked over
            all layers the scores decide, and these are the uniform widths of about the same size.
        ratio: fraction of the language model's parameters removed.
        lm_params: parameters of the pruned language model.
        removed: global ranking only: how much heads and neurons lose of what the target counts
            (parameters or FLOPs); for a size the least, for a ratio about so much, in whole steps
            of one neuron multiple.
    """

    widths: Widths
    ratio: float
    lm_params: int
    removed: float | None = None

    @property
    def layers(self) -> int:
        """Decoder layers that stay."""
        return len(self.widths)

    @property
    def kv_groups(self) -> int:
        """KV groups of the narrowest layer."""
        return min(groups for groups, _ in self.widths)

    @property
    def neurons(self) -> int:
        """MLP neurons of the narrowest layer."""
        return min(neurons for _, neurons in self.widths)


def resolve_target(
    shape: LanguageShape, pruning: PruningSpec, unpruned: Unpruned | None = None
) -> Target:
    """How much the spec keeps; needs no scores.

    Args:
        shape: sizes of the language model.
        pruning: method, ratio or size, and rules; a ratio of 0 keeps everything.
        unpruned: the rest of the model, for a size target.

    Raises:
        ValueError: if the target removes nothing, or more than the method can; says what it can.
    """
    pruning = effective_pruning(pruning)
    dense, layers = (shape.num_key_value_heads, shape.intermediate_size), shape.num_hidden_layers
    if not pruning.prunes:
        return _target(shape, (dense,) * layers)
    if pruning.preset == "study":
        return _target(shape, study_widths(shape, pruning))
    unpruned = unpruned or Unpruned()
    _check_steps(shape, pruning, unpruned)
    wanted = goal(shape, pruning, unpruned)
    method = method_named(pruning.method)
    if not method.width:
        return _target(shape, (dense,) * _kept_layers(shape, pruning, wanted))
    gone = 0.0
    if method.layers:
        kept = _kept_layers(shape, pruning, wanted)
        gone, layers = (layers - kept) * _layer_share(shape, wanted), kept
    room = prunable(shape, pruning, layers)
    if not wanted.reached_by(room.narrowest):
        by_width = wanted.cost.removed_share(room.narrowest)
        most = _most_by_both(shape, pruning, wanted) if method.layers else by_width
        raise beyond_width(pruning, wanted, most)
    if pruning.ranking == "global":
        return _global_target(wanted, gone, room)
    return _target(shape, uniform_widths(wanted, gone, room))


def _check_steps(shape: LanguageShape, pruning: PruningSpec, unpruned: Unpruned) -> None:
    """Refuse steps so small that one of them cannot be taken."""
    for step in range(1, pruning.steps):
        try:
            resolve_target(shape, part_of(shape, pruning, unpruned, step / pruning.steps), unpruned)
        except ValueError as error:
            raise ValueError(
                f"steps={pruning.steps} cannot be taken, because of step {step} {error}; or take "
                "fewer steps"
            ) from None


def _target(shape: LanguageShape, widths: Widths, removed: float | None = None) -> Target:
    params = shape.lm_params(widths)
    ratio = 1 - params / shape.lm_params()
    return Target(widths=widths, ratio=ratio, lm_params=params, removed=removed)


def _layer_share(shape: LanguageShape, wanted: Goal) -> float:
    """One whole layer as a fraction of what the goal counts."""
    return _layer_cost(shape, wanted) / wanted.cost.dense


def _layer_cost(shape: LanguageShape, wanted: Goal) -> float:
    whole = ((shape.num_key_value_heads, shape.intermediate_size),)
    return wanted.cost.total(whole) - wanted.cost.fixed


def _nearest(value: float) -> int:
    """Nearest integer; halves go down, so that less is removed."""
    return math.ceil(value - 0.5)


def _kept_layers(shape: LanguageShape, pruning: PruningSpec, wanted: Goal) -> int:
    """Layers that stay; where width is pruned as well, layers are `depth_share` of the goal."""
    total, one = shape.num_hidden_layers, _layer_share(shape, wanted)
    hybrid = method_named(pruning.method).width
    share = pruning.depth_share if hybrid else 1.0
    removed = _nearest(wanted.share * share / one)
    if wanted.limit is not None and not hybrid:
        removed = math.ceil((wanted.cost.dense - wanted.limit) / _layer_cost(shape, wanted))
    given = wanted.asked + (f" with depth_share={share:g}" if hybrid else "")
    if removed < 1:
        more = wanted.more(one / 2 / share)
        raise ValueError(
            f"{given} removes 0 of {total} layers; one layer is {one:.4f} of the {wanted.whole}. "
            f"{f'Raise depth_share, {more}' if hybrid else more.capitalize()}, or use "
            "method='widthwise'"
        )
    stay = max(shape.anchored_layers, 1)
    if removed > total - stay:
        most = _most_by_both(shape, pruning, wanted) if hybrid else (total - stay) * one
        less = wanted.less(most)
        # Vision features enter the first layers of a DeepStack model.
        why = "one must stay" if stay == 1 else f"the first {stay} take vision features and stay"
        raise ValueError(
            f"{given} removes {removed} of {total} layers, but {why}; "
            + (
                f"lower depth_share, or {less}"
                if hybrid
                else f"{less} (embeddings and head are never removed)"
            )
        )
    if hybrid and removed * one >= wanted.share:
        raise ValueError(
            f"{given} removes {removed} layers, {removed * one:.4f} of the {wanted.whole}, which "
            "leaves nothing for width; lower depth_share, or use method='layerwise'"
        )
    return total - removed


def _most_by_both(shape: LanguageShape, pruning: PruningSpec, wanted: Goal) -> float:
    """The largest share that layers and then width can remove.

    The share decides how many layers go, and they what width can add; so each number of layers is
    looked at with the shares that round to it.
    """
    one, most = _layer_share(shape, wanted), 0.0
    for removed in range(1, shape.num_hidden_layers - max(shape.anchored_layers, 1) + 1):
        try:
            room = prunable(shape, pruning, shape.num_hidden_layers - removed)
        except ValueError:  # too few layers are left for those that are protected
            break
        low, high = ((removed + half) * one / pruning.depth_share for half in (-0.5, 0.5))
        share = min(wanted.cost.removed_share(room.narrowest), high)
        if share > max(low, removed * one):
            most = max(most, share)
    return most


def _global_target(wanted: Goal, gone: float, room: Prunable) -> Target:
    cost, shape = wanted.cost, room.shape
    uniform = room.widths(*nearest_widths(wanted, gone, room))
    if wanted.limit is not None:
        whole = room.widths(shape.num_key_value_heads, shape.intermediate_size)
        return _target(shape, uniform, cost.total(whole) - wanted.limit)
    step = room.multiple * cost.neuron if room.neurons else cost.kv_group
    steps = _nearest((wanted.share - gone) * cost.dense / step)
    if steps < 1:
        raise ValueError(
            f"{wanted.asked} removes no head and no neuron of any layer; the smallest step is "
            f"{step / cost.dense:.2e} of the {wanted.whole}; ask for more"
        )
    return _target(shape, uniform, steps * step)
