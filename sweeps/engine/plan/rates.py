"""How fast the stages of a trial are: as finished trials or a probe show, else as is assumed.

Seconds are device-seconds, those of records. The first trial in a process is slower in all it does
(libraries load, caches of pictures fill, kernels are chosen), so it is kept apart: what it took
beyond the rates of the others is the price of starting a slot.
"""

from collections.abc import Iterable, Sequence
from statistics import fmean, median
from typing import NamedTuple

import numpy as np

from sweeps.engine.plan.ahead import blank_questions
from sweeps.engine.plan.comparisons import comparison_rate
from sweeps.engine.plan.estimates import kept_share, student_tflops
from trainables.models.families.shape import LanguageShape
from trainables.pruning.planning.methods import effective_importance
from trainables.records import TrialRecord
from trainables.recovery.teacher.blocks import blocks_of
from trainables.specs import Frozen, TrialSpec

# Stages as they are planned, and the names under which a record's clock counts them.
CLOCK = {
    "load": ("load",),
    "importance": ("score",),
    "prune and measure": ("prune", "measure", "quantize"),
    "teacher cache": ("teacher cache", "vision cache"),
    "recovery": ("recover",),
    "comparison": ("compare", "untrained"),
    "evaluation": ("evaluate",),
}
COLD_SECONDS = 1.0  # a load below comes from a process that holds the model already


class Rates(Frozen):
    """Device-seconds per piece of work; None or empty where they are not known.

    Attributes:
        start: of the first trial of a process, beyond what another one takes, by stage.
        importance: per calibration sample that a method scores, by method.
        cache: per sample of the teacher that is kept, or asked in a step.
        recovery: per recovery, per trained sample, per TFLOP of the student.
        comparison: per held-out conversation whose loss the dense model would be asked for.
        evaluation: per scoring, per sample that the dense model would answer; a student takes its
            `kept_share` of these two.
        preparing: pruning and measuring, per trial.
        latency: per closed trial.
    """

    start: dict[str, float] | None = None
    importance: dict[str, float] | None = None
    cache: float | None = None
    recovery: tuple[float, float, float] | None = None
    comparison: float | None = None
    evaluation: tuple[float, float] | None = None
    preparing: float | None = None
    latency: float | None = None


STAGE_RATES = {
    "load": "start",
    "importance": "importance",
    "prune and measure": "preparing",
    "teacher cache": "cache",
    "recovery": "recovery",
    "comparison": "comparison",
    "search split": "evaluation",
    "rungs": "evaluation",
    "report split": "evaluation",
    "latency": "latency",
}


class Known(NamedTuple):
    """The rates that one source knows, and that source in words."""

    rates: Rates
    basis: str


def first_known(sources: Sequence[Known | None]) -> tuple[Rates, dict[str, str]]:
    """Each rate from the first source that knows it; and which source that is, by rate.

    Args:
        sources: best first, the last one knows all; None is a source that is not there.
    """
    found = {
        name: next(s for s in sources if s and getattr(s.rates, name) is not None)
        for name in Rates.model_fields
    }
    merged = Rates(**{name: getattr(source.rates, name) for name, source in found.items()})
    return merged, {name: source.basis for name, source in found.items()}


def spent_by_stage(record: TrialRecord) -> dict[str, float]:
    """Device-seconds of a trial by stage, as they are planned; `other` is what has no stage."""
    left = dict(record.cost.device_seconds) if record.cost else {}
    spent = {stage: sum(left.pop(name, 0.0) for name in names) for stage, names in CLOCK.items()}
    return {**spent, **({"other": sum(left.values())} if left else {})}


def rates_of(
    records: Iterable[TrialRecord], shape: LanguageShape, latency: float | None = None
) -> Rates:
    """The rates that completed trials show, most of them medians."""
    done = [r for r in records if r.status == "completed" and r.cost and r.evaluation]
    cold = [r for r in done if spent_by_stage(r)["load"] >= COLD_SECONDS]
    warm = [r for r in done if r not in cold] or cold
    rates = Rates(
        importance=_importance(done),
        cache=_cache(done),
        recovery=_recovery(warm, shape) or _recovery(cold, shape),
        comparison=comparison_rate(done, shape),
        evaluation=_evaluation(warm, shape),
        preparing=median(spent_by_stage(r)["prune and measure"] for r in warm) if warm else None,
        latency=latency,
    )
    return rates.model_copy(update={"start": _start(cold, rates, shape)})


def recovery_seconds(
    spec: TrialSpec,
    shape: LanguageShape,
    samples: float,
    rate: tuple[float, float, float],
    tokens: float | None = None,
) -> float:
    """Device-seconds of a recovery without its teacher; `tokens` of a sample if they are known."""
    if spec.recovery.scope == "none":
        return 0.0
    work = student_tflops(spec, shape, samples, tokens)
    return rate[0] + rate[1] * samples + rate[2] * work


def _start(
    cold: Sequence[TrialRecord], rates: Rates, shape: LanguageShape
) -> dict[str, float] | None:
    if not cold:
        return None
    start = {"load": fmean(spent_by_stage(r)["load"] for r in cold)}
    if rates.recovery is not None:
        trained = [r for r in cold if r.recovery and r.recovery.speed]
        over = [_recover(r) - recovery_seconds(
            r.spec, shape, _samples(r), rates.recovery, _tokens(r))
                for r in trained]  # fmt: skip
        start["recovery"] = max(0.0, sum(over) / len(cold))
    if rates.evaluation is not None:
        each, sample = rates.evaluation
        over = [
            spent_by_stage(r)["evaluation"]
            - each * _scorings(r)
            - sample * kept_share(r.spec, shape) * _answered(r)
            for r in cold
        ]
        start["search split"] = max(0.0, fmean(over))
    return start


def _importance(done: Sequence[TrialRecord]) -> dict[str, float] | None:
    """By method; only the trial that scored took longer than it takes to read the scores."""
    found: dict[str, float] = {}
    for record in done:
        if (pruning := record.spec.pruning).prunes:
            samples = effective_importance(pruning).samples
            each = spent_by_stage(record)["importance"] / samples
            found[pruning.method] = max(found.get(pruning.method, 0.0), each)
    return found or None


def cached_of(records: Iterable[TrialRecord]) -> int:
    """Samples whose teacher's answers were kept: fractions of one data seed are nested."""
    most: dict[int, int] = {}
    for record in records:
        if (found := record.recovery) and found.teacher == "cached":
            seed, share = record.spec.seeds.data, record.spec.recovery.data_fraction
            used = max(1, round(found.samples / max(found.epochs, 1.0)))
            _, end = blocks_of(used, round(used / share))[-1]
            most[seed] = max(most.get(seed, 0), end)
    return sum(most.values())


def _cache(done: Sequence[TrialRecord]) -> float | None:
    seconds = sum(spent_by_stage(r)["teacher cache"] for r in done)
    samples = cached_of(done)
    return seconds / samples if samples else None


def _recovery(
    records: Sequence[TrialRecord], shape: LanguageShape
) -> tuple[float, float, float] | None:
    """S = fixed + a n + b f, with n samples and f TFLOPs; a, b >= 0, of the least relative error.

    Small models cost by the sample, large ones by the FLOP.
    """
    trained = [r for r in records if r.recovery and r.recovery.speed and not r.recovery.trained_by]
    if not trained:
        return None
    work, seconds, fixed = [], [], []
    for record in trained:
        assert record.recovery
        assert record.recovery.speed
        speed, devices = record.recovery.speed, record.cost.devices if record.cost else 1
        stepping = speed.seconds * devices
        samples = speed.seconds * speed.samples_per_second
        seconds.append(stepping * (1 - speed.teacher_share))
        work.append((samples, student_tflops(record.spec, shape, samples, _tokens(record))))
        fixed.append(spent_by_stage(record)["recovery"] - stepping)
    relative = np.array(work) / np.array(seconds)[:, None]
    (a, b), *_ = np.linalg.lstsq(relative, np.ones(len(work)), rcond=None)
    if min(a, b) < 0 or len(work) < 2:
        singles = [float(np.median(1 / relative[:, i])) for i in (0, 1)]
        errors = [np.abs(relative[:, i] * singles[i] - 1).sum() for i in (0, 1)]
        a, b = (singles[0], 0.0) if errors[0] <= errors[1] else (0.0, singles[1])
    return max(0.0, median(fixed)), float(a), float(b)


def _evaluation(records: Sequence[TrialRecord], shape: LanguageShape) -> tuple[float, float] | None:
    scored = [r for r in records if r.evaluation and r.evaluation.samples_per_second]
    if not scored:
        return None
    each, sample = [], []
    for record in scored:
        assert record.evaluation
        assert record.evaluation.samples_per_second
        devices = record.cost.devices if record.cost else 1
        own = devices / record.evaluation.samples_per_second
        sample.append(own / kept_share(record.spec, shape))
        rest = spent_by_stage(record)["evaluation"] - own * _answered(record)
        each.append(rest / _scorings(record))
    return max(0.0, median(each)), median(sample)


def _recover(record: TrialRecord) -> float:
    """Seconds of the recovery without its teacher's."""
    assert record.recovery
    assert record.recovery.speed
    speed = record.recovery.speed
    return spent_by_stage(record)["recovery"] - speed.seconds * speed.teacher_share


def _samples(record: TrialRecord) -> float:
    return float(record.recovery.samples) if record.recovery else 0.0


def _tokens(record: TrialRecord) -> float | None:
    """Of a sample that it trained on."""
    found = record.recovery
    return found.tokens / found.samples if found and found.samples else None


def _scorings(record: TrialRecord) -> int:
    return 1 + len(record.rungs)


def _answered(record: TrialRecord) -> float:
    """Questions on the search split, those at rungs and those without an image included."""
    assert record.evaluation
    tasks = [task.samples for task in record.evaluation.tasks.values()]
    limit = record.spec.evaluation.limit_at_rungs
    rung = sum(min(n, limit) if limit else n for n in tasks)
    blank = blank_questions(record.spec, sum(tasks))
    return sum(tasks) + blank + rung * len(record.rungs)
