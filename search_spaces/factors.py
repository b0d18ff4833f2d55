"""One small function per factor: what it may be, and how it enters a spec.

A *cell* fixes the stratified factors of a sweep (ratio and method, mostly); a factor that stands in
the cell is not searched. Names are those of the study's tables and of MLflow's params.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from search_spaces.points import Suggester
from trainables.specs import DEFAULT_LEARNING_RATE, LossSpec

Cell = Mapping[str, Any]

METHODS = ("layerwise", "widthwise")
RATIOS = (0.15, 0.30, 0.45, 0.60)
SCOPES = ("joint", "projector", "none")
TERMS = ("ce", "ce+l2", "ce+reverse_kl", "ce+kl", "reverse_kl", "l2", "ce+reverse_kl+l2")
DATA_FRACTIONS = (0.05, 0.1, 0.2, 0.5, 1.0)
CALIBRATION_SAMPLES = (64, 10, 32, 128, 256)
CALIBRATION_SEEDS = (0, 1, 2, 3, 4)


def level(trial: Suggester, cell: Cell, name: str, choices: Sequence[Any]) -> Any:
    """The cell's value of a factor, or a searched one of `choices`."""
    if name in cell:
        return cell[name]
    return trial.suggest_categorical(name, choices)


def method(trial: Suggester, cell: Cell) -> str:
    """Layerwise (block influence) or widthwise (Taylor)."""
    return str(level(trial, cell, "method", METHODS))


def ratio(trial: Suggester, cell: Cell, levels: Sequence[float] = RATIOS) -> float:
    """Fraction of the language model's parameters to remove."""
    return float(level(trial, cell, "ratio", levels))


def calibration_samples(
    trial: Suggester, cell: Cell, choices: Sequence[int] = CALIBRATION_SAMPLES
) -> int:
    """Conversations that importance is scored on."""
    return int(level(trial, cell, "calibration_samples", choices))


def calibration_seed(
    trial: Suggester, cell: Cell, choices: Sequence[int] = CALIBRATION_SEEDS
) -> int:
    """Seed of the draw of those conversations: the spread over seeds is that over draws."""
    return int(level(trial, cell, "calibration_seed", choices))


def scope(trial: Suggester, cell: Cell, choices: Sequence[str] = SCOPES) -> str:
    """What recovery trains."""
    return str(level(trial, cell, "scope", choices))


def data_fraction(trial: Suggester, cell: Cell, choices: Sequence[float] = DATA_FRACTIONS) -> float:
    """Share of the training conversations; subsets are nested."""
    return float(level(trial, cell, "data_fraction", choices))


def learning_rate(
    trial: Suggester, scope: str, base: float | None = None, spread: float = 4.0
) -> float:
    """The base or the scope's default rate times `lr_scale`, log-uniform in [1/spread, spread]."""
    scale = trial.suggest_float("lr_scale", 1 / spread, spread, log=True)
    return (base or DEFAULT_LEARNING_RATE[scope]) * scale


def lora_rank(trial: Suggester, cell: Cell, choices: Sequence[int] = (16, 64, 4)) -> int:
    """Rank of the LoRA update (scope `joint`)."""
    return int(level(trial, cell, "lora_rank", choices))


def loss(
    trial: Suggester, cell: Cell, choices: Sequence[str] = TERMS, base: LossSpec | None = None
) -> LossSpec:
    """Active terms as a categorical factor; their log2 weight ratios searched within.

    AdamW does not see the overall scale of the loss, so the weights are normalised to sum to 1:
    what is searched is `log2_logits` and `log2_hidden`, the weight of a distillation term relative
    to the first active term. 0 for a pair is the study's 0.5 / 0.5.
    """
    base = base or LossSpec()
    active = str(level(trial, cell, "terms", choices)).split("+")
    if strange := set(active) - {"ce", "kl", "reverse_kl", "l2"}:
        raise ValueError(
            f"terms={'+'.join(active)!r} names {', '.join(sorted(strange))}; loss terms are ce, "
            "kl, reverse_kl and l2, joined by '+'"
        )
    weights: dict[str, float] = {}
    for term in active:
        kind = {"ce": "alpha", "l2": "gamma"}.get(term, "beta")
        name = {"gamma": "log2_hidden", "beta": "log2_logits"}.get(kind)
        free = bool(weights) and name is not None
        weights[kind] = 2.0 ** trial.suggest_float(str(name), -4.0, 4.0) if free else 1.0
    total = sum(weights.values())
    logits = next((t for t in active if t in ("kl", "reverse_kl")), base.logits)
    update = {k: weights.get(k, 0.0) / total for k in ("alpha", "beta", "gamma")}
    return LossSpec.model_validate({**base.model_dump(), **update, "logits": logits})
