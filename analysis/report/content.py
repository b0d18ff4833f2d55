"""What the report of a sweep says, as a value: the same that its page shows and `--json` prints."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pydantic import SerializeAsAny

from analysis.answers.side_by_side import Answers, find_answers
from analysis.axes import DEFAULT_X, x_axes
from analysis.course import Moment, corners, course, in_order
from analysis.draw.spider import Spider, frontier_spider
from analysis.effects.effect_texts import Report
from analysis.effects.weight_curves import WeightCurve, weight_curves
from analysis.findings.report import FindingsReport, find_findings
from analysis.frontier import Found, Frontier, find_frontier
from analysis.load import Loaded, Trial, load_sweep
from analysis.output.effect_files import find_effects
from analysis.output.frontier_files import find_overlay
from analysis.points import Point
from analysis.published.overlay import Overlay, published_axes
from analysis.recommend import Recommendation, recommend, with_own_limits
from analysis.report.made import Failure, Made, failures, made
from analysis.report.told import Told
from analysis.tables import TaskRow, task_rows
from trainables.specs import Frozen, Split

KEPT = (0.99, 0.95, 0.9, 0.8, 0.5)  # retentions of which the smallest model is named
HEADLINE = 0.95
DRAWN = 1_000  # points besides the frontier that a page holds
ROWS = 30  # of a table of the frontier's tasks


class Smallest(Frozen):
    """The smallest model whose retention's interval lies above `retention`."""

    retention: float
    trial: Point


class SweepReport(Frozen):
    """The report of one sweep; what cannot be said (yet) is empty or None.

    Attributes:
        counts: of trials by status, the references apart.
        note: on trials of another base, which nothing here has.
        split: of the quoted scores.
        answer: the recommendation within the sweep's own limits.
        limits: those, by axis or task.
        smallest: by falling retention.
        frontiers: by axis, those that trials have values on.
        not_drawn: points besides the frontiers that were left out of them.
        refused: why an axis has none.
        weights: what the share of each loss term does; empty with too few trials.
        overlays: published points to draw under a frontier, by axis.
        findings_refused: why the study's claims cannot be asked.
    """

    sweep: str
    question: str
    model: str
    counts: dict[str, int]
    note: str
    split: Split | None
    answer: Recommendation | None
    limits: dict[str, float]
    smallest: tuple[Smallest, ...]
    dense: Point | None
    frontiers: dict[str, Frontier]
    not_drawn: int
    refused: dict[str, str]
    overlays: dict[str, Overlay]
    tasks: tuple[TaskRow, ...]
    spider: Spider | None
    effects: SerializeAsAny[Report] | None
    weights: tuple[WeightCurve, ...]
    findings: FindingsReport | None
    findings_refused: str
    course: tuple[Moment, ...]
    failures: tuple[Failure, ...]
    answers: Answers | None
    made: Made
    told: Told

    @property
    def frontier(self) -> Frontier | None:
        """That of the default axis."""
        return self.frontiers.get(DEFAULT_X)

    @property
    def task_names(self) -> tuple[str, ...]:
        """Those that scores are of."""
        return tuple(dict.fromkeys(name for row in self.tasks for name in row.tasks))


def sweep_report(
    folder: Path,
    loaded: Loaded,
    told: Told,
    frontier: Frontier | None = None,
    effects: Report | None = None,
    published: str | None = None,
) -> SweepReport:
    """The report of the sweep in `folder`, from its trials.

    Args:
        folder: of the sweep, in the ledger.
        loaded: its trials.
        told: what only the engine knows.
        frontier: of the default axis, if it has been found already.
        effects: those of its factors, if they have been found already.
        published: model of the study whose points are drawn where it has them.

    Raises:
        ValueError: the study has no such model.
    """
    trials, sweep = loaded.trials, load_sweep(folder)
    found, refused = _frontiers(trials, frontier)
    first = found.get(DEFAULT_X)
    scored = any(p.origin != "reference" for f in found.values() for p in f.points)
    most, least = with_own_limits(folder, {}, {})
    findings, why_none = _findings(folder, trials)
    own = [t for t in trials if not t.is_reference]
    drawn = _drawn(first) if first else frozenset()
    return SweepReport(
        sweep=folder.name,
        question=sweep.get("question", ""),
        model=sweep.get("trial", {}).get("model", {}).get("path", ""),
        counts=dict(Counter(t.record.status for t in own)),
        note=loaded.note,
        split=first.split if first else None,
        answer=recommend(trials, max=most, min=least) if scored else None,
        limits=most | least,
        smallest=tuple(_smallest(first)) if first else (),
        dense=next((p for p in _all(first) if p.label == "dense"), None) if first else None,
        frontiers={x: _thinned(f, drawn) for x, f in found.items()},
        not_drawn=len([*_all(first)]) - len(drawn) if first else 0,
        refused=refused,
        overlays=_overlays(trials, published, found) if published else {},
        tasks=tuple(task_rows(trials, first)[:ROWS]) if first else (),
        spider=frontier_spider(trials, first) if first else None,
        effects=effects or (find_effects(folder, trials) if own else None),
        weights=weight_curves(trials),
        findings=findings,
        findings_refused=why_none,
        course=course(in_order(trials), corners(trials)),
        failures=tuple(failures(trials)),
        answers=find_answers(folder, trials, first.trial_ids) if first else None,
        made=made(trials),
        told=told,
    )


def _frontiers(
    trials: Sequence[Trial], known: Frontier | None
) -> tuple[dict[str, Frontier], dict[str, str]]:
    """The frontiers by axis, and why others are refused."""
    found, refused = dict[str, Frontier](), dict[str, str]()
    shared = Found(trials)
    for x in x_axes():
        if not any(t.axes[x] is not None and t.record.status == "completed" for t in trials):
            continue
        try:
            found[x] = known if known and known.x == x else find_frontier(trials, x, found=shared)
        except ValueError as error:
            refused[x] = str(error)
    return found, refused


def _overlays(trials: Sequence[Trial], model: str, axes: Iterable[str]) -> dict[str, Overlay]:
    """The study's points by axis, of those that it has."""
    return {x: find_overlay(trials, model, x) for x in axes if x in published_axes()}


def _smallest(frontier: Frontier) -> list[Smallest]:
    """For each retention the smallest of the sweep's own models that surely keeps it.

    One that keeps more than a lower one asks for too is named once, at the higher.
    """
    own = [p for p in (*frontier.points, *frontier.dominated) if p.origin != "reference"]
    own.sort(key=lambda p: (p.weights_mib or 0.0, -p.retention))
    found: list[Smallest] = []
    for level in KEPT:
        chosen = next((p for p in own if p.retention_low >= level), None)
        if chosen is not None and (not found or found[-1].trial is not chosen):
            found.append(Smallest(retention=level, trial=chosen))
    return found


def _all(frontier: Frontier) -> itertools.chain[Point]:
    rest = (frontier.dominated, frontier.unranked, frontier.guessing)
    return itertools.chain(frontier.points, *rest)


def _drawn(frontier: Frontier) -> frozenset[str]:
    """Ids that a page draws: the frontier, then what may belong to it, then evenly of the rest."""
    near = [p.trial_id for p in frontier.within_noise][:DRAWN]
    certain = frontier.trial_ids | set(near)
    rest = [p.trial_id for p in _all(frontier) if p.trial_id not in certain]
    room = DRAWN - len(near)
    if len(rest) > room:
        rest = [rest[len(rest) * place // room] for place in range(room)]
    return certain | frozenset(rest)


def _thinned(frontier: Frontier, drawn: frozenset[str]) -> Frontier:
    """The frontier with those points below it only that are drawn."""
    parts: Mapping[str, tuple[Point, ...]] = {
        name: tuple(p for p in getattr(frontier, name) if p.trial_id in drawn)
        for name in ("dominated", "unranked", "guessing")
    }
    return frontier.model_copy(update=dict(parts))


def _findings(folder: Path, trials: Sequence[Trial]) -> tuple[FindingsReport | None, str]:
    try:
        found = find_findings([folder], [trials])
    except ValueError as error:
        return None, str(error)
    answered = any(f.word != "cannot say" for f in found.findings)
    return (found, "") if answered else (None, "")
