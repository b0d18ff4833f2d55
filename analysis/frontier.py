"""The accuracy/efficiency frontier of a sweep, its hypervolume, and its files.

Which scores compete. While a sweep searches, every completed trial has a score on the `search`
split and the frontier is drawn over those. The best of many noisy scores flatters, so when the
search ends the candidates (`report_candidates`) and the dense base are scored on the disjoint
`report` split. As soon as one trial of the sweep has such a score, only trials that have one
compete, and every quoted number is of that split: a search score that was maximised over is never
ranked against a report score that was not. The others stay in the picture as pale marks, and in
`awaiting_report` when the search split would have put them on the frontier (which happens when a
finished sweep is extended).

A student that is not better than guessing (`points.is_guessing`) has no place on the frontier,
however small it is; it stays in the picture, and in `guessing`.

Only records with status `completed` compete, and no repeat with other seeds (origin `confirm`): the
luckiest of several seeds would flatter its configuration. Unpruned models (`origin == "reference"`)
compete too and are flagged, except on `recovery_tflops`: a model that was not pruned has nothing to
recover, and at cost 0 and retention 1 it would dominate every trial. On `kept`, the fraction of the
dense base's language model, only the dense base does: other models have no place on that axis.

Latencies of one architecture are pooled (`latencies.py`), so that no trial wins by a lucky
measurement. The frontier follows the estimates; how sure each place is, given the questions
that were asked and how costs were measured, is the point's `standing` (`standing.py`).
"""

import math
from collections.abc import Mapping, Sequence

from analysis.axes import AXES, DEFAULT_X, check_axis, x_axes
from analysis.hypervolume import ReferencePoint, hypervolume, reference_point
from analysis.latencies import Latencies
from analysis.load import Trial
from analysis.points import Point, Standing, chance_average, is_guessing, point_of
from trainables.specs import Frozen, Split

CANDIDATE_AXES = ("weights_mib", "tflops", "recovery_tflops")  # latency is measured afterwards


class Frontier(Frozen):
    """The non-dominated trials: better on `x`, or of higher retention, than all others.

    Attributes:
        sweep: name of the sweep.
        x: the cost axis.
        split: the split of every ranked score.
        points: the frontier, by rising cost.
        dominated: the trials that competed and lost, by rising cost; those whose standing is
            `within noise` may belong to the frontier.
        unranked: completed trials that did not compete (no report-split score, or shown only).
        guessing: the trials that would have competed, but score no better than guessing.
        awaiting_report: ids that the search split puts on the frontier but that have no report yet.
        device: the device of a latency frontier.
        reference: corner of the hypervolume; None while there is no dense base.
        hypervolume: area between the corner and the sweep's own trials (references do not add to
            it), in units of `x` times retention.
        hypervolume_share: `hypervolume` over the box from 0 to `reference.x` and retention 0 to 1.
        chance_retention: retention of guessing; None without chance levels.
    """

    sweep: str
    x: str
    split: Split
    points: tuple[Point, ...] = ()
    dominated: tuple[Point, ...] = ()
    unranked: tuple[Point, ...] = ()
    guessing: tuple[Point, ...] = ()
    awaiting_report: tuple[str, ...] = ()
    device: str | None = None
    reference: ReferencePoint | None = None
    hypervolume: float | None = None
    hypervolume_share: float | None = None
    chance_retention: float | None = None

    @property
    def trial_ids(self) -> frozenset[str]:
        """Ids on the frontier."""
        return frozenset(p.trial_id for p in self.points)

    @property
    def within_noise(self) -> tuple[Point, ...]:
        """Points below the frontier that are not certainly dominated."""
        return tuple(p for p in self.dominated if p.standing == "within noise")


class Found:
    """What the frontiers of the same trials over several axes share: points, and what to quote."""

    def __init__(self, trials: Sequence[Trial]) -> None:
        self.latencies = Latencies.of(trials)
        self._trials = trials
        self._points: dict[tuple[str, Split], Point | None] = {}
        self._quotes: dict[Split, Mapping[str, Mapping[str, float]]] = {}

    def point(self, trial: Trial, split: Split) -> Point | None:
        """The trial's row, with its share of pooled latencies."""
        key = trial.trial_id, split
        if key not in self._points:
            self._points[key] = point_of(trial, split, self.latencies)
        return self._points[key]

    def quotes(self, split: Split) -> Mapping[str, Mapping[str, float]]:
        """What to quote of each trial (`analysis/choice.py`)."""
        from analysis.choice import quoted  # brings numpy; there is a test on that

        if split not in self._quotes:
            found = quoted(self._trials, split)
            self._quotes[split] = {name: dict(one) for name, one in found.items()}  # type: ignore[arg-type]
        return self._quotes[split]


def find_frontier(
    trials: Sequence[Trial],
    x: str = DEFAULT_X,
    split: Split | None = None,
    standing: bool = True,
    found: Found | None = None,
) -> Frontier:
    """The frontier of `trials` over (`x`, retention).

    Args:
        trials: trials of one sweep.
        x: one of `x_axes()`.
        split: the split to rank on; None follows the rule at the top of this file.
        standing: whether points get one, and latencies are pooled; it needs the samples of all,
            which takes seconds.
        found: of these trials, if they have a frontier over another axis already.

    Raises:
        ValueError: `x` is not an axis, or latencies of several devices would be compared.
    """
    axis = check_axis(x, x_axes())
    split = split or ranking_split(trials)
    if standing and found is None:
        found = Found(trials)
    ranked, shown, guessing = _competitors(trials, x, split, found if standing else None)
    competing = {p.trial_id for p in ranked}
    device = _one_device([t for t in trials if t.trial_id in competing], x)
    kept = frozenset(p.trial_id for p in _non_dominated(ranked, x))
    if standing and found is not None:
        ranked = _with_standing(trials, ranked, kept, x, split, found)
    front = [p for p in ranked if p.trial_id in kept]
    corner = reference_point(trials, x, found.latencies if standing and found else None)
    own = [(p.value(x) or 0.0, p.retention) for p in ranked if p.origin != "reference"]
    volume = hypervolume(own, corner, x)
    boxed = corner is not None and corner.x > 0 and axis.better == "lower"
    share = volume / corner.x if boxed and corner and volume is not None else None
    awaiting: tuple[str, ...] = ()
    if split == "report":
        searched = _non_dominated(_competitors(trials, x, "search", found)[0], x)
        seen = competing | {p.trial_id for p in guessing}
        awaiting = tuple(sorted({p.trial_id for p in searched} - seen))
    dense = next((t.evaluation(split) for t in trials if t.is_dense), None)
    chance = chance_average(dense) if dense else None
    return Frontier(
        sweep=trials[0].record.sweep if trials else "",
        x=x,
        split=split,
        points=tuple(front),
        dominated=tuple(p for p in ranked if p.trial_id not in kept),
        unranked=tuple(shown),
        guessing=tuple(guessing),
        awaiting_report=awaiting,
        device=device,
        reference=corner,
        hypervolume=volume,
        hypervolume_share=share,
        chance_retention=chance / dense.average if dense and chance and dense.average else None,
    )


def ranking_split(trials: Sequence[Trial]) -> Split:
    """`report` once a completed trial of the sweep itself has a closing report, else `search`.

    The dense base's report does not count: the closing pass scores it first, and a frontier of the
    dense base alone would help nobody.
    """
    own = (
        t
        for t in trials
        if t.record.status == "completed" and not t.is_reference and not t.is_confirmation
    )
    return "report" if any(t.report is not None for t in own) else "search"


def report_candidates(trials: Sequence[Trial], slack_se: float = 1.0) -> list[Trial]:
    """The sweep's own trials that the closing pass should score on the report split.

    A trial is left out when, on each of `CANDIDATE_AXES`, another one is at most as costly and
    better on the search split by more than `slack_se` standard errors of their difference (taken as
    independent); `slack_se=0` is exactly the union of the search-split frontiers. The order is that
    of need: the frontiers themselves axis by axis, then the near misses by falling retention.
    """
    firm: dict[str, None] = {}
    near: dict[str, float] = {}
    for x in CANDIDATE_AXES:
        points = [p for p in _competitors(trials, x, "search")[0] if p.origin != "reference"]
        firm |= dict.fromkeys(p.trial_id for p in _non_dominated(points, x))
        rivals = _non_dominated(points, x, with_errors=True)
        for point in points:
            if not any(_dominates(q, point, x, slack_se) for q in rivals):
                near[point.trial_id] = point.retention
    late = sorted(near.keys() - firm.keys(), key=lambda i: (-near[i], i))
    by_id = {t.trial_id: t for t in trials}
    return [by_id[i] for i in (*firm, *late)]


def _competitors(
    trials: Sequence[Trial], x: str, split: Split, found: Found | None = None
) -> tuple[list[Point], list[Point], list[Point]]:
    """(ranked, only shown, guessing) points of the completed trials, each by rising cost."""
    ranked: list[Point] = []
    shown: list[Point] = []
    guessing: list[Point] = []
    repeated = _repeated(trials)
    of = found.point if found else point_of
    for trial in trials:
        if trial.record.status != "completed" or trial.is_confirmation:
            continue
        point = of(trial, split)
        foreign = trial.is_reference and not trial.is_dense
        absent = {"references": trial.is_reference, "foreign": foreign}
        competes = point is not None and not absent.get(AXES[x].absent, False)
        scores = trial.evaluation(split)
        guesses = competes and not trial.is_reference and scores and is_guessing(scores)
        competes = competes and trial.trial_id not in repeated
        point = point or of(trial, "search")
        if point is not None and point.value(x) is not None:
            (guessing if guesses else ranked if competes else shown).append(point)

    def order(point: Point) -> tuple[float, float, str]:
        return point.cost(x), -point.retention, point.trial_id

    return sorted(ranked, key=order), sorted(shown, key=order), sorted(guessing, key=order)


def _repeated(trials: Sequence[Trial]) -> frozenset[str]:
    """Ids of trials that kept their untrained student where it is another trial's as well.

    One without recovery stands for all of them, if there is one, else the first.
    """
    same: dict[tuple[str, str], list[Trial]] = {}
    for trial in trials:
        record = trial.record
        if trial.is_confirmation or record.status != "completed" or record.has_trained:
            continue
        if record.pruning is not None:
            student = record.pruning.plan_digest, record.spec.quantization
            same.setdefault(student, []).append(trial)
    found: set[str] = set()
    for group in same.values():
        first = min(group, key=lambda t: (t.record.kept == "untrained", t.trial_id))
        found |= {t.trial_id for t in group if t is not first and t.record.kept == "untrained"}
    return frozenset(found)


def _non_dominated(points: Sequence[Point], x: str, with_errors: bool = False) -> list[Point]:
    """The non-dominated of `points`, in their order; points at exactly the same place all stay.

    With `with_errors` a point must have the larger error too to be dominated: whatever is beaten
    by more than some errors of the difference is then so by one of those that stay.
    """
    if not points:
        return []
    import moocore

    values = [
        [p.cost(x), -p.retention, *([p.retention_se or 0.0] if with_errors else [])] for p in points
    ]
    keep = moocore.is_nondominated(values, keep_weakly=True)
    return [point for point, kept in zip(points, keep, strict=True) if kept]


def _with_standing(
    trials: Sequence[Trial],
    ranked: Sequence[Point],
    kept: frozenset[str],
    x: str,
    split: Split,
    found: Found,
) -> list[Point]:
    """The ranked points with their standing and with what to quote.

    `kept` are the ids of the frontier. Questions are read of those points only that are not
    certainly dominated if all errors were independent, which is the wider.
    """
    if not ranked:
        return []
    # They bring numpy; there is a test on that.
    from analysis.contrasts import LEVEL
    from analysis.standing import SHARED, Costs, HalfWidths, standings

    by_id = {t.trial_id: t for t in trials}
    own = [by_id[p.trial_id] for p in ranked]
    if AXES[x].measured:
        costs, level = Costs.measured([p.trial_id for p in ranked], found.latencies), SHARED
    else:
        costs, level = Costs.exact([p.cost(x) for p in ranked]), LEVEL

    def words(read: Sequence[int]) -> list[Standing]:
        halves = HalfWidths.of(own, split, level, read)
        front = [p.trial_id in kept for p in ranked]
        return standings(costs, [p.retention for p in ranked], halves, front)

    undecided = [place for place, word in enumerate(words(())) if word != "certainly dominated"]
    quotes = found.quotes(split)
    return [
        p.model_copy(update={"standing": word, **quotes.get(p.trial_id, {})})
        for p, word in zip(ranked, words(undecided), strict=True)
    ]


def _dominates(q: Point, p: Point, x: str, slack_se: float) -> bool:
    """Whether `q` costs no more and is better by `slack_se` errors of the difference."""
    margin = slack_se * math.hypot(p.retention_se or 0.0, q.retention_se or 0.0)
    better = q.cost(x) < p.cost(x) or q.retention > p.retention
    return better and q.cost(x) <= p.cost(x) and q.retention >= p.retention + margin


def _one_device(ranked: Sequence[Trial], x: str) -> str | None:
    """The device of a frontier over measured values; ValueError when there are several."""
    if not AXES[x].measured:
        return None
    devices: dict[str, list[str]] = {}
    for trial in ranked:
        if trial.latency is not None:
            devices.setdefault(trial.latency.device, []).append(trial.trial_id)
    if len(devices) > 1:
        held = "; ".join(f"{name}: {', '.join(ids)}" for name, ids in sorted(devices.items()))
        raise ValueError(
            f"latencies were measured on {len(devices)} devices ({held}) and cannot share a "
            "frontier. Choose another axis (--x weights_mib or tflops), or run the closing pass of "
            "all of them on one device."
        )
    return next(iter(devices), None)
