"""Which trial to ship within given limits."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import Field

from analysis.axes import AXES, check_axis
from analysis.frontier import ranking_split
from analysis.latencies import Latencies
from analysis.load import Trial, load_sweep
from analysis.points import Point, is_guessing, point_of
from analysis.tables import number, percent, with_interval
from trainables.specs import Frozen, Split

UNSCORED = "have no score on the report split"


class Broken(Frozen):
    """A limit that a trial does not keep; `value` is None where nothing was measured."""

    axis: str
    limit: float
    value: float | None
    excess: float | None


class Recommendation(Frozen):
    """The trial to ship, or the one that comes nearest to the limits.

    Attributes:
        trial: the best trial within the limits; None when nothing fits.
        nearest: the trial that comes nearest when nothing fits.
        broken: the limits that `nearest` breaks.
        split: the split of the scores.
        considered: how many trials were looked at.
        left_out: how many others of the sweep's own were not, by why.
        dense_fits: whether the dense base itself keeps every limit.
        message: the answer in one or two sentences.
    """

    trial: Point | None
    nearest: Point | None
    broken: tuple[Broken, ...]
    split: Split
    considered: int
    left_out: dict[str, int] = Field(default_factory=dict)
    dense_fits: bool
    message: str


def with_own_limits(
    folder: Path, max: Mapping[str, float], min: Mapping[str, float]
) -> tuple[dict[str, float], dict[str, float]]:
    """These limits, and those of the sweep in the folder on axes and tasks that they do not name.

    Returns:
        (upper limits, lower limits).
    """
    most, least = dict(max), dict(min)
    for axis, limit in load_sweep(folder).get("limits", {}).items():
        if axis not in most and axis not in least:  # what is no axis is a task
            lower = axis in AXES and AXES[axis].better == "lower"
            (most if lower else least)[axis] = limit
    return most, least


def recommend(
    trials: Sequence[Trial],
    max: Mapping[str, float] | None = None,
    min: Mapping[str, float] | None = None,
) -> Recommendation:
    """The best of the sweep's own completed trials within the limits.

    Best is the highest retention when a cost is limited (or nothing is), and the smallest weight
    memory when only retention is. A lower limit on retention must be kept by the lower end of its
    95 % interval (`Point.retention_low`), which allows for the choice (`choice.py`). Scores are
    those of the report split as soon as one trial has them; a trial without them is then not
    considered.

    Args:
        trials: trials of one sweep.
        max: upper limits by axis or task, e.g. `{"weights_mib": 9500}`.
        min: lower limits by axis or task, e.g. `{"retention": 0.95}`, `{"pope": 80}`.

    Raises:
        ValueError: an unknown axis, or a limit that is not a number which the axis can have.
    """
    limits, split = _limits(trials, max, min), ranking_split(trials)
    from analysis.choice import quoted  # brings numpy; there is a test on that

    latencies, quotes = Latencies.of(trials), quoted(trials, split)
    scored = [
        (trial, point.model_copy(update=dict(quotes.get(trial.trial_id, {}))))
        for trial in trials
        if trial.record.status == "completed"
        and (point := point_of(trial, split, latencies)) is not None
    ]
    own = [
        (trial, point)
        for trial, point in scored
        if not trial.is_reference and not trial.is_confirmation and not _guesses(trial, split)
    ]
    broken = {point.trial_id: _broken(t, point, limits) for t, point in own}
    fits = [point for _, point in own if not broken[point.trial_id]]
    dense_fits = any(t.is_dense and not _broken(t, point, limits) for t, point in scored)
    smallest = {axis for axis, _, _ in limits} == {"retention"} and "retention" in (min or {})

    def rank(point: Point) -> tuple[float, float, float, str]:
        size = math.inf if point.weights_mib is None else point.weights_mib
        first, second = (size, -point.retention) if smallest else (-point.retention, size)
        return first, second, point.recovery_tflops or 0.0, point.trial_id

    def distance(point: Point) -> tuple[float, float, str]:
        shares = [
            math.inf if b.excess is None else b.excess / (abs(b.limit) or 1.0)
            for b in broken[point.trial_id]
        ]
        return sum(shares), -point.retention, point.trial_id

    best = next(iter(sorted(fits, key=rank)), None)
    near = None if best else next(iter(sorted((p for _, p in own), key=distance)), None)
    found = Recommendation(
        trial=best,
        nearest=near,
        broken=tuple(broken[near.trial_id]) if near else (),
        split=split,
        considered=len(own),
        left_out=_left_out(trials, frozenset(broken), split),
        dense_fits=dense_fits,
        message="",
    )
    why = "smallest weight memory" if smallest else "highest retention"
    return found.model_copy(update={"message": _message(found, why)})


def within(
    trials: Sequence[Trial],
    max: Mapping[str, float] | None = None,
    min: Mapping[str, float] | None = None,
) -> list[Trial]:
    """The trials that keep the limits, as far as they have a retention; all without limits.

    Raises:
        ValueError: as `recommend` does.
    """
    if not max and not min:
        return list(trials)
    limits, split = _limits(trials, max, min), ranking_split(trials)
    latencies = Latencies.of(trials)
    found = ((t, point_of(t, t.split or split, latencies)) for t in trials)
    return [t for t, point in found if point is not None and not _broken(t, point, limits)]


def _limits(
    trials: Sequence[Trial], most: Mapping[str, float] | None, least: Mapping[str, float] | None
) -> list[tuple[str, float, bool]]:
    """(axis or task, limit, whether it is an upper one), checked."""
    limits = [(axis, value, True) for axis, value in (most or {}).items()]
    limits += [(axis, value, False) for axis, value in (least or {}).items()]
    split = ranking_split(trials)
    tasks = {name for t in trials if (e := t.evaluation(split)) is not None for name in e.tasks}
    for axis, value, _ in limits:
        _check(axis, value, sorted(tasks))
    return limits


def _check(axis: str, value: float, tasks: Sequence[str]) -> None:
    if axis not in tasks:
        check_axis(axis, [*AXES, *tasks])
    if not math.isfinite(value):
        raise ValueError(f"the limit {axis}={value} is not a finite number")
    if value < 0:
        raise ValueError(f"the limit {axis}={value:g} is negative, which {axis} never is")
    if axis == "retention" and value > 1:
        raise ValueError(
            f"the limit retention={value:g} is above 1, which stands for the dense model; for "
            f"{value:g} % write retention={value / 100:g}"
        )


def _guesses(trial: Trial, split: Split) -> bool:
    scores = trial.evaluation(split)
    return scores is not None and is_guessing(scores)


def _left_out(trials: Sequence[Trial], own: frozenset[str], split: Split) -> dict[str, int]:
    """The sweep's other trials by why they are no candidates."""
    why = {"failed": "failed", "early_stopped": "were stopped early"}
    others = (
        "repeat another with other seeds"
        if trial.is_confirmation
        else "score no better than guessing"
        if trial.record.status == "completed" and _guesses(trial, split)
        else why.get(trial.record.status, UNSCORED if split == "report" else "have no score")
        for trial in trials
        if not trial.is_reference and trial.trial_id not in own
    )
    return dict(Counter(others))


def _broken(trial: Trial, point: Point, limits: Sequence[tuple[str, float, bool]]) -> list[Broken]:
    faults = []
    for axis, limit, upper in limits:
        value = _value(trial, point, axis, upper)
        excess = None if value is None else (value - limit if upper else limit - value)
        if excess is None or excess > 0:
            faults.append(Broken(axis=axis, limit=limit, value=value, excess=excess))
    return faults


def _value(trial: Trial, point: Point, axis: str, upper: bool) -> float | None:
    """The point's place on the axis, or its score on the task."""
    if axis == "retention" and not upper:
        return point.retention_low
    if axis in AXES:
        return point.value(axis)
    scores = trial.evaluation(point.split)
    task = scores.tasks.get(axis) if scores else None
    return task.score if task else None


def _message(found: Recommendation, why: str) -> str:
    note = " The dense model itself keeps every limit." if found.dense_fits else ""
    if found.left_out:
        others = ", ".join(f"{count} {why}" for why, count in found.left_out.items())
        note += f" Not considered: {others}."
    if found.trial is not None:
        return f"{_facts(found.trial)}: the {why} within the limits.{note}"
    if found.nearest is None:
        return f"No completed trial has a score on the {found.split} split yet.{note}"
    reasons = "; ".join(
        f"{fault.axis} was not measured"
        if fault.value is None
        else f"{_name(fault)}={fault.value:.4g}, but the limit is {fault.limit:.4g}"
        for fault in found.broken
    )
    return (
        f"None of {found.considered} trials keeps every limit. Nearest: {_facts(found.nearest)}; "
        f"it breaks: {reasons}.{note}"
    )


def _name(fault: Broken) -> str:
    """The broken quantity; `excess` tells a lower limit on retention from an upper one."""
    low = fault.axis == "retention" and fault.value is not None and fault.value < fault.limit
    return "lower end of the 95% interval of retention" if low else fault.axis


def _facts(point: Point) -> str:
    sure = " (corrected for the choice; 95 % interval over questions)"
    return (
        f"{point.trial_id} ({point.label}), {number(point.weights_mib)} MiB, "
        f"{percent(point.ratio)} removed, retention {with_interval(point)} % on the {point.split} "
        "split" + (sure if point.retention_low < point.retention_high else "")
    )
