"""What the reference study keeps for its "15, 30, 45 and 60 %" (FACTS of its code, not its paper).

Layerwise 5, 10, 15 and 21 of 32 layers go. Widthwise the layers that are not protected lose 0.2,
0.4, 0.6 and 0.8 of their heads (rounded down) and neurons (rounded up), so that the achieved ratio
differs from the one that is named.
"""

from dataclasses import dataclass

from trainables.models.families.shape import LanguageShape
from trainables.pruning.planning.widths import Widths, prunable
from trainables.specs import PruningSpec

DEPTH = 32


@dataclass(frozen=True)
class _Level:
    """What one of the study's ratios stands for."""

    layers: int
    tenths: int


LEVELS = {0.15: _Level(5, 2), 0.30: _Level(10, 4), 0.45: _Level(15, 6), 0.60: _Level(21, 8)}


def study_widths(shape: LanguageShape, pruning: PruningSpec) -> Widths:
    """(KV groups, neurons) of every layer that the study keeps.

    Raises:
        ValueError: if the study has no such method, ratio or depth.
    """
    level = next((v for ratio, v in LEVELS.items() if abs(ratio - pruning.ratio) < 1e-9), None)
    if level is None or pruning.size is not None or pruning.method == "hybrid":
        given = "a size" if pruning.size is not None else f"ratio={pruning.ratio:g}"
        raise ValueError(
            f"preset='study' with method={pruning.method!r} and {given}, but the study prunes "
            f"layerwise or widthwise at ratios {', '.join(map(str, LEVELS))}; take one of these, "
            "or leave the preset out"
        )
    if shape.num_hidden_layers != DEPTH:
        raise ValueError(
            f"preset='study' is for {DEPTH} layers, but the model has {shape.num_hidden_layers}; "
            "leave the preset out"
        )
    groups, neurons = shape.num_key_value_heads, shape.intermediate_size
    if pruning.method == "layerwise":
        return ((groups, neurons),) * (DEPTH - level.layers)
    # Removed heads are rounded down and removed neurons up; whole numbers, since 0.8 * 10240 as
    # floats would round one neuron further.
    kept_groups = groups - groups * level.tenths // 10
    kept_neurons = neurons - -(-neurons * level.tenths // 10)
    return prunable(shape, pruning, DEPTH).widths(max(kept_groups, 1), max(kept_neurons, 1))
