"""Trial specs as rows of numbers, and every setting that a cell of a sweep can have."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces.factors import Cell
from sweeps.engine.spec import SweepSpec
from trainables.specs import DEFAULT_LEARNING_RATE, TrialSpec

Rows = NDArray[np.float64]  # [trials, len(FACTORS)]

# Of a trial that does not recover only the first three count; the others are 0.
FACTORS = (
    "widthwise", "ratio", "recovers", "joint", "ce", "kl", "reverse_kl", "l2", "other_term",
    "log2_logits", "log2_hidden", "log2_data_fraction", "log2_lr_scale", "log2_lora_rank",
)  # fmt: skip
AT = {name: column for column, name in enumerate(FACTORS)}
# The searched factors that are continuous, and their columns.
CONTINUOUS = {
    "log2_logits": AT["log2_logits"],
    "log2_hidden": AT["log2_hidden"],
    "lr_scale": AT["log2_lr_scale"],
}


@dataclass(frozen=True)
class Leaf:
    """All settings of a cell that differ in continuous factors only.

    Attributes:
        spec: one of them.
        row: the same as numbers.
        free: columns of the continuous factors, and (lowest, highest) of each on its log2 scale.
    """

    spec: TrialSpec
    row: tuple[float, ...]
    free: Mapping[int, tuple[float, float]]


def row_of(spec: TrialSpec, base: TrialSpec) -> tuple[float, ...]:
    """The trial as numbers; its learning rate counts relative to the one that `base` stands for."""
    pruning, recovery = spec.pruning, spec.recovery
    found: dict[str, float] = dict.fromkeys(FACTORS, 0.0)
    found |= {"widthwise": float(pruning.method == "widthwise"), "ratio": pruning.ratio}
    if recovery.scope == "none":
        return tuple(found.values())
    loss = recovery.loss
    terms = loss.terms.split("+")
    found |= {term if term in found else "other_term": 1.0 for term in terms}
    weights = [weight for weight in (loss.alpha, loss.beta, loss.gamma) if weight]
    for name, weight in (("log2_logits", loss.beta), ("log2_hidden", loss.gamma)):
        found[name] = float(np.log2(weight / weights[0])) if weight else 0.0
    rate = base.recovery.learning_rate or DEFAULT_LEARNING_RATE[recovery.scope]
    found |= {
        "recovers": 1.0,
        "joint": float(recovery.scope == "joint"),
        "log2_data_fraction": float(np.log2(recovery.data_fraction)),
        "log2_lr_scale": float(np.log2((recovery.resolved_learning_rate or rate) / rate)),
        "log2_lora_rank": float(np.log2(recovery.lora_rank)) if recovery.scope == "joint" else 0.0,
    }
    return tuple(found.values())


def leaves(sweep: SweepSpec, cell: Cell) -> Iterator[Leaf]:
    """Every combination of the categorical factors of a cell, each once."""
    base = sweep.base_trial
    for trial, spec in sweep.search_space.branches(cell, base):
        asked = trial.distributions.items()
        free = {CONTINUOUS[name]: _ends(d) for name, d in asked if name in CONTINUOUS}
        yield Leaf(spec, row_of(spec, base), free)


def _ends(distribution: Any) -> tuple[float, float]:
    """Ends of a log ratio, or of a scale on the log2 scale."""
    low, high = distribution.low, distribution.high
    return (float(np.log2(low)), float(np.log2(high))) if distribution.log else (low, high)
