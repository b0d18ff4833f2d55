"""Named search spaces: functions from (Optuna trial, cell, base spec) to a trial spec."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from search_spaces import factors
from search_spaces.factors import Cell
from search_spaces.suggesters import Offering, PointTrial, Suggester
from trainables.specs import PruningSpec, RecoverySpec, TrialSpec
from trainables.specs.presets import study_loss


@dataclass(frozen=True)
class Space:
    """A search space: its build function, and the factors that a sweep may change.

    Attributes:
        summary: one line for `prunesweep list`.
        build: (who answers, cell, base) -> trial.
        stratifiable: categorical factors.
        numbers: factors from an interval.
    """

    summary: str
    build: Callable[[Suggester, Cell, TrialSpec], TrialSpec]
    stratifiable: tuple[str, ...]
    numbers: tuple[str, ...] = ()

    def restricted(
        self,
        choices: Mapping[str, Sequence[Any]],
        ranges: Mapping[str, tuple[float, float]] = MappingProxyType({}),
    ) -> Space:
        """The same space with a sweep's own choices and ranges for some factors."""
        return self._offering(lambda name, offered: choices.get(name, offered), ranges)

    def lessened(self, without: Mapping[str, Collection[Any]]) -> Space:
        """The same space without some choices of its categorical factors.

        Where none would remain, a factor keeps all of them.
        """

        def left(name: str, offered: Sequence[Any]) -> Sequence[Any]:
            return tuple(c for c in offered if c not in without.get(name, ())) or offered

        return self._offering(left) if without else self

    def branches(self, cell: Cell, base: TrialSpec) -> Iterator[tuple[PointTrial, TrialSpec]]:
        """Every combination of choices that a cell offers, once, with numbers in the middle."""
        from optuna.distributions import CategoricalDistribution

        open_: list[dict[str, Any]] = [{}]
        while open_:
            answers = open_.pop()
            trial = PointTrial(answers)
            spec = self.build(trial, cell, base)
            for name, distribution in trial.distributions.items():
                if name not in answers and isinstance(distribution, CategoricalDistribution):
                    open_ += [{**answers, name: choice} for choice in distribution.choices]
                    break
            else:
                yield trial, spec

    def _offering(
        self,
        offered: Callable[[str, Sequence[Any]], Sequence[Any]],
        ranges: Mapping[str, tuple[float, float]] = MappingProxyType({}),
    ) -> Space:
        def build(trial: Suggester, cell: Cell, base: TrialSpec) -> TrialSpec:
            return self.build(Offering(trial, offered, ranges), cell, base)

        return replace(self, build=build)


def frontier(trial: Suggester, cell: Cell, base: TrialSpec) -> TrialSpec:
    """Ratio x method, then scope, loss mixture, data fraction and learning rate."""
    pruning = _pruning(trial, cell, base)
    scope = factors.scope(trial, cell)
    update: dict[str, Any] = {"scope": scope}
    if scope != "none":
        update["loss"] = factors.loss(trial, cell, base.recovery.loss)
        update["data_fraction"] = factors.data_fraction(trial, cell)
        update |= factors.learning_rate(trial, base.recovery)
    if scope == "joint":
        update["lora_rank"] = factors.lora_rank(trial, cell)
    return _with(base, pruning, update)


def pruning_x_quantization(trial: Suggester, cell: Cell, base: TrialSpec) -> TrialSpec:
    """The `frontier` space, and how the recovered student is quantized."""
    spec = frontier(trial, cell, base)
    return spec.model_copy(update={"quantization": factors.quantization(trial, cell)})


def loss_coefficients(trial: Suggester, cell: Cell, base: TrialSpec) -> TrialSpec:
    """Only the loss mixture; ratio, method, scope, data and budget are the base's or the cell's."""
    loss = factors.loss(trial, cell, base.recovery.loss)
    return _with(base, _pruning_of_base(cell, base), {"loss": loss})


def calibration(trial: Suggester, cell: Cell, base: TrialSpec) -> TrialSpec:
    """How many samples importance is scored on, and which: the rest is the base's or the cell's."""
    samples = factors.calibration_samples(trial, cell)
    seed = factors.calibration_seed(trial, cell)
    pruning = _pruning_of_base(cell, base)
    importance = pruning.importance.model_copy(update={"samples": samples})
    pruning = pruning.model_copy(update={"importance": importance})
    seeds = base.seeds.model_copy(update={"calibration": seed})
    return base.model_copy(update={"pruning": pruning, "seeds": seeds})


def sensitivity(trial: Suggester, cell: Cell, base: TrialSpec) -> TrialSpec:
    """The study's recipe for the ratio, and around it: rate, rank, loss weights, budget, seeds.

    Method, scope and loss terms follow from the ratio (`decision_flow`); every factor's default is
    the base's own setting, so a point that names one factor changes that one alone.
    """
    ratio = factors.ratio(trial, cell)
    recipe = decision_flow(ratio)
    pruning = _pruning_of_base({**cell, **recipe}, base)
    own = base.recovery
    update: dict[str, Any] = {
        "scope": recipe["scope"],
        "loss": factors.loss(trial, recipe, own.loss),
        **factors.learning_rate(trial, own),
        "budget": factors.budget(trial, own.budget),
    }
    if recipe["scope"] == "joint":
        rank, spread = own.lora_rank, factors.SPREAD
        ranks = (rank, max(1, rank // spread), rank * spread)
        update["lora_rank"] = factors.lora_rank(trial, cell, ranks)
    spec = _with(base, pruning, update)
    return spec.model_copy(update={"seeds": factors.seeds(trial, cell, base.seeds)})


def published_grid(trial: Suggester, cell: Cell, base: TrialSpec) -> TrialSpec:
    """The study's grid by its own rules: ratio x method x scope x terms x share of the data.

    LoRA and learning rate are the base's, whose recovery may have the preset `study`.
    """
    pruning = _pruning(trial, cell, base).model_copy(update={"preset": "study"})
    update: dict[str, Any] = {"scope": factors.scope(trial, cell)}
    if update["scope"] != "none":
        own = base.recovery.loss
        mixture = factors.loss(trial, cell, own, factors.STUDY_TERMS, equal_weights=True)
        update["loss"] = study_loss(mixture)
        update["data_fraction"] = factors.data_fraction(trial, cell)
    return _with(base, pruning, update)


def decision_flow(ratio: float, data: bool = True) -> dict[str, Any]:
    """The study's advice (arXiv 2507.20749, section 5) as a point of the `frontier` space.

    Args:
        ratio: fraction of the language model removed, in (0, 1).
        data: whether any data for recovery is at hand.
    """
    if not data:
        return {"method": "widthwise", "ratio": ratio, "scope": "none"}
    if ratio <= 0.20:
        return {"method": "layerwise", "ratio": ratio, "scope": "projector", "terms": "ce"}
    method = "layerwise" if ratio <= 0.40 else "widthwise"
    return {"method": method, "ratio": ratio, "scope": "joint", "terms": "ce+l2"}


def warm_starts(cells: list[Cell]) -> list[dict[str, Any]]:
    """One point per ratio among the cells whose advice lies in one of the cells."""
    points = []
    for ratio in sorted({cell["ratio"] for cell in cells if cell.get("ratio")}):
        point = decision_flow(ratio)
        if any(all(point.get(k, v) == v for k, v in cell.items()) for cell in cells):
            points.append(point)
    return points


WEIGHTS = tuple(factors.LOG_RATIO_OF.values())
SPACES: dict[str, Space] = {
    "frontier": Space(
        "scope, loss mixture, data fraction, learning rate and LoRA rank within ratio x method",
        frontier,
        ("method", "ratio", *factors.SIZES, "scope", "terms", "data_fraction", "lora_rank"),
        (*WEIGHTS, "lr_scale"),
    ),
    "pruning_x_quantization": Space(
        "the frontier space x quantization of the recovered student",
        pruning_x_quantization,
        (
            "method",
            "ratio",
            *factors.SIZES,
            "quantization",
            "scope",
            "terms",
            "data_fraction",
            "lora_rank",
        ),
        (*WEIGHTS, "lr_scale"),
    ),
    "loss_coefficients": Space(
        "active loss terms and their log ratios at one fixed pruning, scope, data and budget",
        loss_coefficients,
        ("method", "ratio", *factors.SIZES, "terms"),
        WEIGHTS,
    ),
    "calibration": Space(
        "number and draw of the calibration samples at one fixed pruning and recovery",
        calibration,
        ("method", "ratio", *factors.SIZES, "calibration_samples", "calibration_seed"),
    ),
    "sensitivity": Space(
        "learning rate, LoRA rank, loss weights, budget and seed around the recipe for each ratio",
        sensitivity,
        ("ratio", "lora_rank", "seed"),
        (*WEIGHTS, "lr_scale", "budget_scale"),
    ),
    "published_grid": Space(
        "the study's grid of ratio x method x scope x loss terms x data, by its own rules",
        published_grid,
        ("method", "ratio", "scope", "terms", "data_fraction"),
    ),
}


def _pruning(trial: Suggester, cell: Cell, base: TrialSpec) -> PruningSpec:
    chosen: dict[str, Any] = {"method": factors.method(trial, cell)}
    size = _size(cell)
    if base.pruning.size is None and not size:  # which takes the place of the ratio
        chosen["ratio"] = factors.ratio(trial, cell)
    return _pruning_of_base({**chosen, **size}, base)


def _pruning_of_base(cell: Cell, base: TrialSpec) -> PruningSpec:
    chosen: dict[str, Any] = {k: v for k, v in cell.items() if k in ("method", "ratio")}
    if size := _size(cell):
        chosen |= {"ratio": 0.0, "size": size}
    return PruningSpec.model_validate({**base.pruning.model_dump(), **chosen})


def _size(cell: Cell) -> dict[str, Any]:
    """The size of the whole model that the cell fixes, by its name; empty where it fixes none."""
    return {name: cell[name] for name in factors.SIZES if name in cell}


def _with(base: TrialSpec, pruning: PruningSpec, changes: dict[str, Any]) -> TrialSpec:
    """The base, pruned in this way, with these settings of its recovery changed."""
    recovery = RecoverySpec.model_validate({**dict(base.recovery), **changes})
    return base.model_copy(update={"pruning": pruning, "recovery": recovery})
