"""How long a sweep takes, stage by stage: the work that is left, at the best rates that are known.

What finished trials took is added as it was. Sampled trials are counted as random points of the
space, none of them stopped early; of candidates for the report split, as many as there may be.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from analysis.load import Trial
from sweeps.engine.plan.ahead import (
    Work,
    blank_questions,
    importance_sets,
    left_to_close,
    questions,
    works,
)
from sweeps.engine.plan.comparisons import compared_samples, shared_comparisons
from sweeps.engine.plan.estimates import kept_share, taught_samples, trained_samples
from sweeps.engine.plan.rates import (
    STAGE_RATES,
    Known,
    Rates,
    cached_of,
    first_known,
    rates_of,
    recovery_seconds,
    spent_by_stage,
)
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.spent import interval
from trainables.models.families.shape import LanguageShape
from trainables.specs import Frozen, Split, TrialSpec

ENOUGH = 3  # completed trials that say more than a probe


class StageRow(Frozen):
    """Device-seconds of one stage of a sweep, and what they follow from.

    `seconds` is all of it, `spent` the part that is over.
    """

    stage: str
    seconds: float
    spent: float
    basis: str


class Forecast(Frozen):
    """A sweep's stages, and its wall-clock time with so many slots."""

    stages: tuple[StageRow, ...]
    slots: int

    @property
    def device_seconds(self) -> float:
        """Of all stages."""
        return sum(row.seconds for row in self.stages)

    @property
    def spent_seconds(self) -> float:
        """Of what is over."""
        return sum(row.spent for row in self.stages)

    def wall_seconds(self, devices: int = 1) -> float:
        """With every slot busy until latency is measured, which nothing else runs beside."""
        alone = sum(row.seconds for row in self.stages if row.stage == "latency")
        return (self.device_seconds - alone) / (self.slots * devices) + alone


def forecast(
    sweep: SweepSpec,
    shape: LanguageShape,
    trials: Sequence[Trial],
    *,
    conversations: int,
    teacher_cached: bool,
    slots: int,
    sources: Sequence[Known],
) -> Forecast:
    """The time of the whole sweep by stage.

    Args:
        sweep: the sweep.
        shape: of its dense model.
        trials: those of it that are over.
        conversations: in the data.
        teacher_cached: whether the teacher's answers are kept; else it runs in every step.
        slots: trials at a time.
        sources: what is known before its trials tell, best first (`known_before`).
    """
    rates, basis = first_known((measured_rates(trials, shape), *sources))
    spent = _spent(trials)
    ahead = works(sweep, trials)
    left = _trial_seconds(ahead, rates, shape, conversations, teacher_cached, trials)
    scored = importance_sets(trial.record.spec for trial in trials)
    for method, samples, *_ in importance_sets(w.spec for w in ahead) - scored:
        assert rates.importance is not None
        each = rates.importance.get(method) or max(rates.importance.values(), default=0.0)
        left["importance"] += samples * each
    if teacher_cached:
        kept = cached_of(trial.record for trial in trials)
        more = taught_samples([w.spec for w in ahead], sweep.seed_sets, conversations) - kept
        left["teacher cache"] = max(0.0, more) * (rates.cache or 0.0)
    if ahead and rates.start and (sweep.trial.isolate or not trials):
        starts = sum(w.times for w in ahead) if sweep.trial.isolate else slots
        for stage, seconds in rates.start.items():
            left[stage] += starts * seconds
    shared = shared_comparisons(ahead, trials, conversations, shape)
    left["comparison"] += shared.conversations * (rates.comparison or 0.0)
    left["comparison"] += _scoring(
        sweep.trial, rates, "search", trials, shared.students, shared.size
    )
    closing = left_to_close(sweep, trials, ahead)
    size = closing * _mean_share(ahead, trials, shape)
    left["report split"] = _scoring(sweep.trial, rates, "report", trials, closing, size)
    left["latency"] = closing * (rates.latency or 0.0)
    rows = [
        StageRow(stage=stage, seconds=left[stage] + spent[stage], spent=spent[stage],
                 basis=basis[STAGE_RATES.get(stage, "preparing")])
        for stage in dict.fromkeys((*STAGE_RATES, *spent))
        if left[stage] + spent[stage] > 0
    ]  # fmt: skip
    return Forecast(stages=tuple(rows), slots=slots)


def _scoring(
    spec: TrialSpec, rates: Rates, split: Split, trials: Sequence[Trial], times: float, size: float
) -> float:
    """Device-seconds of the answers of so many students, those to blank images left out.

    Together they cost what `size` dense models do.
    """
    assert rates.evaluation is not None
    each, sample = rates.evaluation
    return times * each + size * sample * questions(spec, split, trials)


def _mean_share(ahead: Sequence[Work], trials: Sequence[Trial], shape: LanguageShape) -> float:
    """Of what the dense model costs, over all trials."""
    every = [*ahead, *(Work(trial.record.spec, 1.0) for trial in trials)]
    times = sum(work.times for work in every)
    return sum(work.times * kept_share(work.spec, shape) for work in every) / max(times, 1.0)


def measured_rates(trials: Sequence[Trial], shape: LanguageShape) -> Known | None:
    """What the finished trials of the sweep show; None for fewer than `ENOUGH` completed ones."""
    done = [t.record for t in trials if t.record.status == "completed" and t.record.cost]
    if len(done) < ENOUGH:
        return None
    closed = [s for t in trials if (s := closing_seconds(t)) is not None]
    latency = sum(closed) / len(closed) if closed else None
    return Known(rates_of(done, shape, latency), f"{len(done)} finished trials of this sweep")


def closing_seconds(trial: Trial) -> float | None:
    """How long the latency of a trial took; None for one that is not closed."""
    found = interval(trial.report.provenance) if trial.report else None
    return None if found is None else found[1] - found[0]


def trial_seconds(
    spec: TrialSpec,
    rates: Rates,
    shape: LanguageShape,
    conversations: int,
    teacher_cached: bool,
    trials: Sequence[Trial] = (),
) -> dict[str, float]:
    """Device-seconds of one trial by stage, in a process that runs already."""
    assert rates.recovery is not None
    assert rates.evaluation is not None
    samples = trained_samples(spec, shape, conversations)
    each, sample = rates.evaluation
    training = recovery_seconds(spec, shape, samples, rates.recovery)
    if not teacher_cached and samples and spec.recovery.loss.needs_teacher:
        training += samples * (rates.cache or 0.0)
    rungs = len(spec.rungs) if samples else 0
    asked = questions(spec, "search", trials)
    share = kept_share(spec, shape)
    compared = compared_samples(spec, conversations)
    return {
        "prune and measure": rates.preparing or 0.0,
        "recovery": training,
        "comparison": share * compared * (rates.comparison or 0.0),
        "search split": each + share * sample * (asked + blank_questions(spec, asked)),
        "rungs": rungs * (each + share * sample * questions(spec, "search", trials, rung=True)),
    }


def _trial_seconds(
    ahead: Iterable[Work],
    rates: Rates,
    shape: LanguageShape,
    conversations: int,
    teacher_cached: bool,
    trials: Sequence[Trial],
) -> defaultdict[str, float]:
    left: defaultdict[str, float] = defaultdict(float)
    for spec, times in ahead:
        one = trial_seconds(spec, rates, shape, conversations, teacher_cached, trials)
        for stage, seconds in one.items():
            left[stage] += times * seconds
    return left


def _spent(trials: Sequence[Trial]) -> defaultdict[str, float]:
    """What is over, by stage; the evaluation is shared out by the questions that were asked."""
    spent: defaultdict[str, float] = defaultdict(float)
    for trial in trials:
        by_stage = spent_by_stage(trial.record)
        scoring = by_stage.pop("evaluation")
        search = questions(trial.record.spec, "search", [trial])
        rungs = len(trial.record.rungs) * questions(trial.record.spec, "search", [trial], rung=True)
        by_stage["rungs"] = scoring * rungs / max(rungs + search, 1)
        by_stage["search split"] = scoring - by_stage["rungs"]
        if trial.report is not None:
            asked = sum(t.samples for t in trial.report.evaluation.tasks.values())
            by_stage["report split"] = asked / (trial.report.evaluation.samples_per_second or asked)
            by_stage["latency"] = closing_seconds(trial) or 0.0
        for stage, seconds in by_stage.items():
            spent[stage] += seconds
    return spent
