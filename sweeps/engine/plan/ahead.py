"""What of a sweep is ahead: its trials, what they ask and what they share."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from analysis.load import Trial
from sweeps.engine.search.fixed_points import fixed_points, most_confirmations
from sweeps.engine.search.sampler import draw
from sweeps.engine.spec import SweepSpec
from trainables.embedded.sources import SOURCES
from trainables.evaluation.catalog import asked_tasks
from trainables.evaluation.own.preparing import own_counts
from trainables.pruning.planning.methods import effective_importance
from trainables.specs import EvaluationSpec, Method, Split, TrialSpec

DRAWS = 64  # random points that stand for the sampled trials
SPLITS: tuple[Split, ...] = ("search", "report")
WHOLE_SPLIT = 5_000  # questions per task where all are asked and their number is not known yet


class Work(NamedTuple):
    """A trial that is ahead: its spec, and how many trials like it."""

    spec: TrialSpec
    times: float


def works(sweep: SweepSpec, trials: Sequence[Trial]) -> list[Work]:
    """The trials that are ahead: points that have no record, the rest of the samples, repeats."""
    done = [t.record for t in trials]
    over = {_same(record.spec) for record in done}
    fixed = {_same(spec): spec for *_, spec in fixed_points(sweep)}
    ahead = [Work(spec, 1.0) for name, spec in fixed.items() if name not in over]
    samples = sweep.samples - sum(r.origin == "sampler" for r in done)
    drawn = random_points(sweep) if samples > 0 or sweep.confirm else []
    ahead += [Work(spec, samples / len(drawn)) for spec in drawn if samples > 0]
    repeats = most_confirmations(sweep) - sum(r.origin == "confirm" for r in done)
    return ahead + [Work(spec, repeats / len(drawn)) for spec in drawn if repeats > 0]


def random_points(sweep: SweepSpec) -> list[TrialSpec]:
    """Random points, the cells taking turns; the same ones each time."""
    cells, space, base = sweep.cells, sweep.search_space, sweep.base_trial
    return [
        draw(space, cells[i % len(cells)], base, {}, (sweep.seed, i)).spec
        for i in range(max(DRAWS, len(cells)))
    ]


def questions(
    spec: TrialSpec, split: Split, trials: Sequence[Trial] = (), rung: bool = False
) -> float:
    """Questions of all tasks: as finished trials were asked, else by the limits."""
    evaluation = spec.evaluation
    limit = evaluation.limit_at_rungs if rung else evaluation.limit(split)
    for trial in trials:
        if (scores := trial.evaluation(split)) is not None:
            return sum(min(t.samples, limit or t.samples) for t in scores.tasks.values())
    most, own = limit or WHOLE_SPLIT, own_counts(evaluation, split)
    return sum(
        min(most, SOURCES[info.collection].questions[split])
        if info.embedded
        else min(most, own.get(name, most))
        for name, info in asked_tasks(evaluation).items()
    )


def as_far_as_asked(evaluation: EvaluationSpec) -> EvaluationSpec:
    """The settings with no limit above what files of questions hold, where all tasks are such."""
    limits: dict[str, int] = {}
    for split in SPLITS:
        counts = own_counts(evaluation, split)
        if len(counts) < len(asked_tasks(evaluation)):
            return evaluation
        most = round(sum(counts.values()) / len(counts))
        limits[f"{split}_limit"] = min(evaluation.limit(split) or most, most)
    return evaluation.model_copy(update=limits)


def blank_questions(spec: TrialSpec, asked: float) -> float:
    """Of the questions asked on the search split, those that are asked again without an image."""
    limit = spec.evaluation.blank_image_limit
    if limit is None or not spec.pruning.prunes:
        return 0.0
    return min(asked, float(limit * len(asked_tasks(spec.evaluation))))


def importance_sets(specs: Iterable[TrialSpec]) -> set[tuple[Method, int, int, str]]:
    """What is scored once each: (method, samples in all, seed, and the amount if in steps)."""
    found = set()
    for spec in specs:
        pruning = spec.pruning
        if pruning.prunes:
            samples, seed = effective_importance(pruning).samples, spec.seeds.calibration
            amount = pruning.amount if pruning.steps > 1 else ""
            found.add((pruning.method, samples * pruning.steps, seed, amount))
    return found


def left_to_close(sweep: SweepSpec, trials: Sequence[Trial], ahead: Iterable[Work]) -> float:
    """Trials that the closing pass has yet to close; no more than there are or will be."""
    designed = len(sweep.designed) * sweep.replicates if sweep.report_designed else 0
    total = 1 + len(sweep.references) + sweep.report_candidates + designed
    there = len(trials) + sum(work.times for work in ahead)
    most = min(total + most_confirmations(sweep), there)
    return max(0, most - sum(t.report is not None for t in trials))


def _same(spec: TrialSpec) -> str:
    return f"{spec.configuration} {spec.seeds}"
