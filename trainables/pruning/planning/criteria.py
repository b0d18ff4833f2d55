"""Which criteria a pruning spec asks for, and which settings each of them reads; torch-free.

A criterion is scored in one pass of its own, and what it does not read is not in its settings: so
layer scores are shared by all trials that differ in a Taylor setting only.
"""

from typing import Any

from trainables.pruning.planning.methods import method_named
from trainables.specs import Criterion, ImportanceSpec, PruningSpec
from trainables.specs.presets import effective_pruning

_READS: dict[Criterion, tuple[str, ...]] = {
    "block_influence": ("tokens", "distance", "last_output"),
    "taylor": ("taylor", "reduction", "biases"),
    "magnitude": ("reduction", "biases"),
    "activation": ("tokens",),
    "random": (),
}
WITHOUT_DATA: frozenset[Criterion] = frozenset({"magnitude", "random"})


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
