"""A sweep as a frozen value: the question, the base trial, what is stratified and what searched."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from analysis.goals import DEFAULT_OBJECTIVES, Goals
from search_spaces.factors import SIZES, Cell
from search_spaces.spaces import SPACES, Space
from sweeps.engine.spec.budget_spec import BudgetSpec
from sweeps.engine.spec.own_space import find_space, space_name
from sweeps.engine.spec.sampler_names import check_sampler_name
from sweeps.engine.spec.trial_fields import (
    check_field,
    check_levels,
    value_of,
    with_field_factors,
)
from trainables.common.names import unknown
from trainables.evaluation.catalog import reported_tasks, with_own_tasks
from trainables.models.families.registry import adapter_for, model_config
from trainables.specs import Frozen, ModelSpec, TrialSpec
from trainables.specs.presets import study_recovery

# What else lies in the storage folder.
TAKEN = ("store", "mlartifacts", "mlflow.db", "mlruns", "probes.json", "evaluate.log")


class RungSpec(Frozen):
    """Early stopping: trials are scored on their tasks after these shares of their budget.

    One that the sampler chose is stopped when another trial of its cell and size will end with a
    higher retention at no higher cost of the whole recovery. How scores at a rung foretell the end
    is learned from the sweep's finished trials.

    Attributes:
        fractions: rising shares of the recovery budget.
        margin: standard errors of the foretold difference that a trial must be behind by.
        min_trials: finished trials of the sweep with a score at a rung, before any is stopped
            there.
        stop: False keeps the score of every rung in the record and stops nothing.
    """

    fractions: tuple[float, ...] = (0.25, 0.5)
    margin: float = Field(5.0, ge=0)
    min_trials: int = Field(10, ge=3)
    stop: bool = True


class ConfirmSpec(Frozen):
    """When the search is over: the best configurations and the baselines again, with other seeds.

    The best of many noisy results is partly lucky, so what is quoted of it are runs that it was not
    chosen by: other seeds (all three shifted, as replicates are), scored on the report split.

    Attributes:
        top: configurations with the best retention on the search split.
        seeds: sets of seeds that each of them runs with; the search's own does not count.
        baselines: points that are run as designed points, and confirmed whatever they score.
    """

    top: int = Field(5, ge=1)
    seeds: int = Field(3, ge=2)
    baselines: tuple[dict[str, Any], ...] = ()


class Resources(Frozen):
    """What one trial holds.

    Attributes:
        slots: trials at a time, at most; None is what there is room for: one per GPU, or per CPU
            without GPUs.
        cpus_per_slot: CPUs of one worker of a trial.
        gpus_per_slot: GPUs of one worker; None is one where there are GPUs. With `measured` trials
            of one worker share a GPU, once trials like them have shown how much of it they need.
        memory_gib_per_slot: memory of one worker, apart from a GPU's: a trial starts on a node that
            has as much left. With `measured` it is what trials like it have needed, None asks for
            none.
    """

    slots: int | None = Field(None, ge=1)
    cpus_per_slot: float = Field(1.0, gt=0)
    gpus_per_slot: Annotated[float, Field(ge=0)] | Literal["measured"] | None = None
    memory_gib_per_slot: Annotated[float, Field(gt=0)] | Literal["measured"] | None = None


class SweepSpec(Frozen):
    """One sweep.

    Attributes:
        name: folder of the sweep below the storage.
        question: what the sweep is to answer, one sentence.
        trial: the base of every trial.
        space: name of the search space; or a function of (trial, cell, base) that returns a trial,
            or fields of the base by dotted path, or `file.py:function`.
        choices: the sweep's own choices for categorical factors of the space, which are searched.
            Here, in `ranges` and in `strata`, any other field of the trial may be a factor, too, by
            its dotted path: `recovery.weight_decay`.
        ranges: the sweep's own (lowest, highest) of numeric factors of the space. What a designed
            point does not name stays at a log ratio of 0 or a scale of 1 where that lies within;
            another field at the base's own value. The interval of such a field is searched on a
            log scale where it spans a factor of ten.
        objectives: what the search makes better: axes that a trial's record has, or tasks, whose
            scores on the search split count.
        limits: by such an axis or task the most of it, or the least where more is better. Sampled
            trials and priors that are known in advance to break one do not run.
        strata: levels of the stratified factors; their combinations are the cells of the sweep,
            each of which gets its equal share of the sampled trials. A size of the whole model
            (`params`, `weights_mib`, `tflops` or `memory_mib`, at most) may take the place of
            `ratio`.
        designed: points (factor -> value) that always run, first; methods are compared on these.
        references: other unpruned models that stand beside the frontier.
        priors: add the study's decision flow as warm-start points.
        learn_from: earlier sweeps, by name below the storage or by folder, whose finished trials
            the sampler is told beside its own, the fewer the less their ranks agree.
        samples: trials that the sampler chooses.
        sampler: who chooses them: `auto` (which is `ehvi`: expected hypervolume improvement by
            Gaussian processes that know the cell), Optuna's `gp`, `nsga2`, `random` and `tpe`, or
            `file.py:function`, a function of a seed that returns an Optuna sampler. One is made
            for each proposal and is told the trials of the sweep, so it must keep nothing to
            itself.
        replicates: every designed point is repeated with this many sets of seeds.
        startup_samples: finished trials of the sweep, designed points and priors among them,
            before the sampler leaves random search; None is four for each cell, 10 at least, and
            not more than half of the samples (`startup`).
        confirm: runs with other seeds at the end; None ends with the search.
        rungs: early stopping on task scores; None runs every trial to its end.
        budget: what the sweep may cost; None is as much as it takes.
        report_candidates: at most this many candidates of the frontier are scored on the report
            split, besides the dense base.
        gallery: samples of the report split that are shown with their picture and the answer of
            every model side by side; 0 shows none.
        report_designed: score every designed point on the report split and measure its latency,
            whether it is a candidate or not; they do not count among the candidates.
        resources: what a trial holds.
        seed: seed of the sampler (with the trial's index).
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)
    question: str
    trial: TrialSpec = TrialSpec()
    space: str = "frontier"
    choices: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
    ranges: dict[str, tuple[float, float]] = Field(default_factory=dict)
    objectives: tuple[str, ...] = DEFAULT_OBJECTIVES
    limits: dict[str, float] = Field(default_factory=dict)
    strata: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
    designed: tuple[dict[str, Any], ...] = ()
    references: tuple[ModelSpec, ...] = ()
    priors: bool = True
    learn_from: tuple[str, ...] = ()
    samples: int = Field(0, ge=0)
    sampler: str = "auto"
    replicates: int = Field(1, ge=1)
    startup_samples: int | None = Field(None, ge=1)
    confirm: ConfirmSpec | None = None
    rungs: RungSpec | None = None
    budget: BudgetSpec | None = None
    report_candidates: int = Field(12, ge=1)
    gallery: int = Field(8, ge=0)
    report_designed: bool = False
    resources: Resources = Resources()
    seed: int = 0

    @field_validator("name")
    @classmethod
    def _free_name(cls, name: str) -> str:
        if name.lower() in TAKEN:
            raise ValueError(
                f"the storage keeps something else under that name; names that are taken: "
                f"{', '.join(TAKEN)}"
            )
        return name

    @field_validator("trial")
    @classmethod
    def _own_tasks(cls, trial: TrialSpec) -> TrialSpec:
        evaluation = with_own_tasks(trial.evaluation, trial.model.path)
        return trial.model_copy(update={"evaluation": evaluation})

    @field_validator("space", mode="before")
    @classmethod
    def _named_space(cls, space: Any) -> Any:
        return space_name(space)

    @field_validator("sampler")
    @classmethod
    def _known_sampler(cls, sampler: str) -> str:
        return check_sampler_name(sampler)

    @model_validator(mode="after")
    def _strata_fit(self) -> SweepSpec:
        shipped = SPACES.get(self.space)  # the user's own is asked when the sweep is checked
        allowed = shipped.stratifiable if shipped else ()
        for factor, levels in (*self.strata.items(), *self.choices.items()):
            if factor in self.fields:
                check_field(factor, shipped)
                check_levels(self.trial, factor, levels)
            elif shipped and factor not in allowed:
                raise ValueError(unknown(f"categorical factor of {self.space!r}", factor, allowed))
            if not levels:
                raise ValueError(f"{factor} has no level; give at least one, or drop it")
        if sizes := [name for name in SIZES if name in self.choices]:
            raise ValueError(
                f"choices name {sizes[0]}, but a size is not searched; give its levels as strata"
            )
        if len(amounts := [name for name in ("ratio", *SIZES) if name in self.strata]) > 1:
            raise ValueError(
                f"strata name {' and '.join(amounts)}, but a trial has one target; keep one of "
                "them, and make another sweep for the other"
            )
        if both := set(self.strata) & set(self.choices):
            raise ValueError(f"{', '.join(sorted(both))} is both stratified and searched; drop one")
        return self

    @model_validator(mode="after")
    def _ranges_are_intervals(self) -> SweepSpec:
        shipped = SPACES.get(self.space)
        allowed = shipped.numbers if shipped else ()
        for factor, (low, high) in self.ranges.items():
            if factor in self.fields:
                check_field(factor, shipped)
                if isinstance(value_of(self.trial, factor), str | bool):
                    raise ValueError(f"{factor} is no number; give its levels as choices")
                check_levels(self.trial, factor, (low, high))
            elif shipped and factor not in allowed:
                raise ValueError(unknown(f"numeric factor of {self.space!r}", factor, allowed))
            scale = shipped and factor in allowed and not factor.startswith("log2_")
            least = 0.0 if scale else -math.inf
            if not least < low < high:
                raise ValueError(
                    f"ranges.{factor}=({low:g}, {high:g}), but must be rising"
                    + (", and a scale above 0" if least == 0 else "")
                )
        return self

    @model_validator(mode="after")
    def _goals_are_axes(self) -> SweepSpec:
        _ = self.goals  # raises where there is no such axis
        return self

    @model_validator(mode="after")
    def _rungs_can_be_scored(self) -> SweepSpec:
        if self.rungs and self.trial.workers > 1 and self.trial.recovery.zero_stage == 3:
            raise ValueError(
                f"rungs with zero_stage=3 and workers={self.trial.workers}: one worker scores the "
                "student at a rung, but here none holds all of its weights; set "
                "trial.recovery.zero_stage=2, trial.workers=1, or take off the rungs"
            )
        return self

    @property
    def goals(self) -> Goals:
        """Objectives and limits as axes."""
        tasks = reported_tasks(self.trial.evaluation)
        return Goals.named(self.objectives, self.limits, tasks)

    @property
    def fields(self) -> tuple[str, ...]:
        """The factors that are fields of the trial, by dotted path."""
        shipped = SPACES.get(self.space)
        known = (*shipped.stratifiable, *shipped.numbers) if shipped else ()
        names = dict.fromkeys((*self.strata, *self.choices, *self.ranges))
        field = set(TrialSpec.model_fields) if shipped else set[str]()
        return tuple(n for n in names if n not in known and ("." in n or n in field))

    @property
    def search_space(self) -> Space:
        """The space, with the sweep's choices and ranges and the fields that are factors.

        Raises:
            BadInputError: the user's own does not load.
        """
        return self.space_with(None)

    def space_with(self, seen: Callable[[str], None] | None) -> Space:
        """The same; `seen` is told every factor of the cell that the user's own asks for."""
        space = find_space(self.space, seen).restricted(self.choices, self.ranges)
        if not self.fields:
            return space
        return with_field_factors(space, self.fields, self.choices, self.ranges)

    @property
    def shares_recoveries(self) -> bool:
        """Whether trials may differ in nothing that the recovery sees, so that one may serve them.

        What is trained is then kept in the store besides, which takes disk.
        """
        known = SPACES[self.space].stratifiable if self.space in SPACES else ()
        return "quantization" in (*known, *self.strata, *self.choices)

    @property
    def data_folder(self) -> str | None:
        """Where the benchmarks' copies lie now, for workers that start in any folder.

        Not where they lay when a trial was asked for: moved copies make no other trial.
        """
        folder = self.trial.evaluation.data_folder
        return None if folder is None else str(Path(folder).resolve())

    @property
    def seed_sets(self) -> int:
        """Sets of seeds that the search and its confirmations use."""
        return 1 + (self.confirm.seeds if self.confirm else 0)

    @property
    def cells(self) -> list[Cell]:
        """Every combination of levels of the stratified factors; one empty cell without any."""
        names = list(self.strata)
        return [
            dict(zip(names, levels, strict=True))
            for levels in itertools.product(*self.strata.values())
        ]

    @property
    def startup(self) -> int:
        """Finished trials before the sampler leaves random search.

        With fewer for each cell it is too sure of the first ones: `tests/benchmarks/search.py`.
        """
        return self.startup_samples or max(min(4 * len(self.cells), self.samples // 2), 10)

    @property
    def points(self) -> tuple[dict[str, Any], ...]:
        """The points that always run: the designed ones, then the baselines to be confirmed."""
        return self.designed + (self.confirm.baselines if self.confirm else ())

    @property
    def base_trial(self) -> TrialSpec:
        """The base of every trial, with the rungs of the sweep, and a recovery preset resolved.

        Raises:
            ValueError: there is no such preset for the model, or no such model.
        """
        fractions = self.rungs.fractions if self.rungs else ()
        recovery = self.trial.recovery
        if recovery.preset is not None:
            recovery = study_recovery(recovery, adapter_for(model_config(self.trial.model)).name)
        return TrialSpec.model_validate(
            {**dict(self.trial), "recovery": recovery, "rungs": fractions}
        )
