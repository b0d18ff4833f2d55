"""One small function per factor: what it may be, and how it enters a spec.

A *cell* fixes the stratified factors of a sweep (ratio and method, mostly); a factor that stands in
the cell is not searched. Names are those of the study's tables and of MLflow's params.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from search_spaces.suggesters import Suggester
from trainables.specs import (
    HIDDEN_LOSSES,
    LOGITS_LOSSES,
    Budget,
    LossSpec,
    Quantization,
    RecoverySpec,
    Seeds,
    SizeTarget,
)

Cell = Mapping[str, Any]

METHODS = ("layerwise", "widthwise")
RATIOS = (0.15, 0.30, 0.45, 0.60)
SCOPES = ("joint", "projector", "none")
TERMS = ("ce", "ce+l2", "ce+reverse_kl", "ce+kl", "reverse_kl", "l2", "ce+reverse_kl+l2")
STUDY_TERMS = (
    "ce", "ce+l2", "ce+reverse_kl", "l2", "reverse_kl", "kl", "ce+kl",
    "kl+l2", "ce+kl+l2", "reverse_kl+l2", "ce+reverse_kl+l2",
)  # fmt: skip
DATA_FRACTIONS = (0.05, 0.1, 0.2, 0.5, 1.0)
SIZES = tuple(SizeTarget.model_fields)  # strata that take the place of the ratio
QUANTIZATIONS: tuple[Quantization, ...] = ("none", "llm_int8", "nf4", "int8_weight_only")
CALIBRATION_SAMPLES = (64, 10, 32, 128, 256)
CALIBRATION_SEEDS = (0, 1, 2, 3, 4)
SEEDS = (0, 1, 2, 3, 4, 5, 6, 7)
SPREAD = 4  # times less or more than the base

# Which of the three weights a loss term has.
WEIGHT_OF: dict[str, str] = {
    "ce": "alpha",
    **dict.fromkeys(LOGITS_LOSSES, "beta"),
    **dict.fromkeys(HIDDEN_LOSSES, "gamma"),
}

LOG_RATIOS = (-4.0, 4.0)  # what the embedded model is searched and measured over
LOG_RATIO_OF = {"beta": "log2_logits", "gamma": "log2_hidden"}


def level(trial: Suggester, cell: Cell, name: str, choices: Sequence[Any]) -> Any:
    """The cell's value of a factor, or a searched one of `choices`."""
    if name in cell:
        return cell[name]
    return trial.suggest_categorical(name, choices)


def method(trial: Suggester, cell: Cell) -> str:
    """Layerwise (block influence) or widthwise (Taylor)."""
    return str(level(trial, cell, "method", METHODS))


def ratio(trial: Suggester, cell: Cell) -> float:
    """Fraction of the language model's parameters to remove."""
    return float(level(trial, cell, "ratio", RATIOS))


def calibration_samples(trial: Suggester, cell: Cell) -> int:
    """Conversations that importance is scored on."""
    return int(level(trial, cell, "calibration_samples", CALIBRATION_SAMPLES))


def calibration_seed(trial: Suggester, cell: Cell) -> int:
    """Seed of the draw of those conversations: the spread over seeds is that over draws."""
    return int(level(trial, cell, "calibration_seed", CALIBRATION_SEEDS))


def scope(trial: Suggester, cell: Cell) -> str:
    """What recovery trains."""
    return str(level(trial, cell, "scope", SCOPES))


def data_fraction(trial: Suggester, cell: Cell) -> float:
    """Share of the training conversations; subsets are nested."""
    return float(level(trial, cell, "data_fraction", DATA_FRACTIONS))


def learning_rate(trial: Suggester, base: RecoverySpec) -> dict[str, float]:
    """The base's rate, or the scope's default, times `lr_scale`, log-uniform in [1/SPREAD, SPREAD].

    Returned is the setting of the recovery that says so: a default depends on the steps as well.
    """
    scale = trial.suggest_float("lr_scale", 1 / SPREAD, SPREAD, log=True)
    if base.learning_rate is None:
        return {"learning_rate_scale": base.learning_rate_scale * scale}
    return {"learning_rate": base.learning_rate * scale}


def lora_rank(trial: Suggester, cell: Cell, choices: Sequence[int] = (16, 64, 4)) -> int:
    """Rank of the LoRA update (scope `joint`)."""
    return int(level(trial, cell, "lora_rank", choices))


def quantization(trial: Suggester, cell: Cell) -> Quantization:
    """How the recovered student is quantized before it is scored and measured."""
    chosen: Quantization = level(trial, cell, "quantization", QUANTIZATIONS)
    if chosen not in QUANTIZATIONS:
        raise ValueError(f"quantization={chosen!r}, but must be one of {', '.join(QUANTIZATIONS)}")
    return chosen


def seeds(trial: Suggester, cell: Cell, base: Seeds) -> Seeds:
    """The base's seeds, all three shifted by `seed`, whose spread is the noise of a result."""
    return base.shifted(int(level(trial, cell, "seed", SEEDS)))


def budget(trial: Suggester, base: Budget) -> Budget:
    """The base's budget, in its own unit, times `budget_scale`, log-uniform in [1/SPREAD, SPREAD].

    Steps and tokens are rounded to at least 1.
    """
    scale = trial.suggest_float("budget_scale", 1 / SPREAD, SPREAD, log=True)
    ((unit, value),) = base.model_dump(exclude_none=True).items()
    whole = unit in ("steps", "tokens")
    return Budget(**{unit: max(1, round(value * scale)) if whole else value * scale})


def loss(
    trial: Suggester,
    cell: Cell,
    base: LossSpec,
    choices: Sequence[str] = TERMS,
    *,
    equal_weights: bool = False,
) -> LossSpec:
    """Active terms as a categorical factor; their log2 weight ratios searched within.

    AdamW does not see the overall scale of the loss, so the weights are normalised to sum to 1:
    what is searched is `log2_logits` and `log2_hidden`, the weight of a distillation term relative
    to the first active term; 0, equal weights, is what `equal_weights` takes without a search. What
    equal weights mean depends on the units of the base's terms (`LossSpec.logits_per`,
    `normalize`): per token, the study's 0.5 / 0.5 of cross-entropy and KL is a `log2_logits` of the
    log2 of a sample's length, 9 to 10 for LLaVA-1.5 (see `presets.study_loss`).

    Raises:
        ValueError: an unknown term, or two of one kind, which would share one weight.
    """
    active = _active(str(level(trial, cell, "terms", choices)))
    weights: dict[str, float] = {}
    for term in active:
        kind = WEIGHT_OF[term]
        name = LOG_RATIO_OF.get(kind)
        free = weights and name and not equal_weights
        weights[kind] = 2.0 ** trial.suggest_float(str(name), *LOG_RATIOS) if free else 1.0
    total = sum(weights.values())
    update: dict[str, Any] = {k: weights.get(k, 0.0) / total for k in ("alpha", "beta", "gamma")}
    update["logits"] = next((t for t in active if t in LOGITS_LOSSES), base.logits)
    update["hidden"] = next((t for t in active if t in HIDDEN_LOSSES), base.hidden)
    return LossSpec.model_validate({**base.model_dump(), **update})


def _active(terms: str) -> list[str]:
    """The terms of a mixture, at most one of each kind."""
    active = terms.split("+")
    if strange := set(active) - set(WEIGHT_OF):
        raise ValueError(
            f"terms={terms!r} names {', '.join(sorted(strange))}; loss terms are "
            f"{', '.join(WEIGHT_OF)}, joined by '+'"
        )
    if len({WEIGHT_OF[term] for term in active}) < len(active):
        raise ValueError(
            f"terms={terms!r} names two terms of one kind, but there is one weight for each kind; "
            f"take at most one of {', '.join(LOGITS_LOSSES)} and one of {', '.join(HIDDEN_LOSSES)}"
        )
    if active != sorted(active, key=list(WEIGHT_OF).index):
        raise ValueError(
            f"terms={terms!r} is out of order; write cross-entropy, then the logits term, then the "
            "hidden term, so that one mixture has one name"
        )
    return active
