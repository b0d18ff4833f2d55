"""The pruning methods, one row each: what they take away, and so which criteria they plan from.

A criterion is scored in one pass of its own, and what it does not read is not in its settings: so
layer scores are shared by all trials that differ in a Taylor setting only. Torch-free.
"""

from dataclasses import dataclass
from typing import Any

from trainables.common.names import unknown
from trainables.specs import Criterion, ImportanceSpec, Method, PruningSpec
from trainables.specs.presets import effective_pruning


@dataclass(frozen=True)
class PruningMethod:
    """What a method does; everything in this folder asks the row and never the name.

    Attributes:
        layers: whole layers go, the least important ones by `block` scores.
        width: KV groups and neurons of the layers that stay go, by `heads` and `neurons` scores.
    """

    layers: bool = False
    width: bool = False

    @property
    def arrays(self) -> tuple[str, ...]:
        """The arrays of `ImportanceScores` that a plan is made from."""
        return ("block",) * self.layers + ("heads", "neurons") * self.width


METHODS: dict[Method, PruningMethod] = {
    "layerwise": PruningMethod(layers=True),
    "widthwise": PruningMethod(width=True),
    "hybrid": PruningMethod(layers=True, width=True),  # layers go first, then heads and neurons
}

# What each criterion reads of `ImportanceSpec`.
_READS: dict[Criterion, tuple[str, ...]] = {
    "block_influence": ("tokens", "distance", "last_output"),
    "taylor": ("taylor", "reduction", "biases"),
    "magnitude": ("reduction", "biases"),
    "activation": ("tokens",),
    "random": (),
}
WITHOUT_DATA: frozenset[Criterion] = frozenset({"magnitude", "random"})


def method_named(name: Method) -> PruningMethod:
    """The row of a method.

    Raises:
        ValueError: there is none of that name; lists the known ones.
    """
    if name not in METHODS:
        raise ValueError(unknown("pruning method", name, METHODS))
    return METHODS[name]


def effective_importance(pruning: PruningSpec) -> ImportanceSpec:
    """The importance settings in force: the preset's where there is one."""
    return effective_pruning(pruning).importance


def criteria(pruning: PruningSpec) -> tuple[Criterion, ...]:
    """The distinct criteria of the spec's method, that for layers first."""
    importance, method = effective_importance(pruning), method_named(pruning.method)
    asked = (importance.layers,) * method.layers + (importance.groups,) * method.width
    return tuple(dict.fromkeys(asked))


def criterion_settings(criterion: Criterion, importance: ImportanceSpec) -> dict[str, Any]:
    """What a criterion reads of the settings, as plain JSON values."""
    read = importance.model_dump(mode="json", include=set(_READS[criterion]))
    return {"criterion": criterion, **read}


def canonical_importance(pruning: PruningSpec) -> dict[str, Any]:
    """What decides the scores of a spec on given weights and data: idle settings are left out."""
    importance, asked = effective_importance(pruning), criteria(pruning)
    settings: dict[str, Any] = {c: criterion_settings(c, importance) for c in asked}
    if set(asked) - WITHOUT_DATA:
        settings |= {"samples": importance.samples, "batch_size": importance.batch_size}
    return settings
