"""What a page shows of a sweep's report: its texts, tables and figures, ready for the template."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.answers.answers_page import answers_section
from analysis.answers.side_by_side import Answers, ShownSample
from analysis.axes import AXES, DEFAULT_X
from analysis.draw.course_figure import TITLES, course_figure
from analysis.draw.curves_figure import curves_figure
from analysis.draw.effect_figure import effect_figures
from analysis.draw.frontier_figure import frontier_figure
from analysis.draw.looks import Figure
from analysis.draw.parallel_figure import parallel_figure
from analysis.draw.recipe_figure import recipe_figure
from analysis.draw.spider_figure import spider_figure, spider_note
from analysis.effects.effect_texts import effect_parts, effects_summary
from analysis.effects.weight_curves import METHOD as WEIGHTS
from analysis.findings.recipe_report import recipe_table
from analysis.findings.texts import note, sentence
from analysis.report.content import HEADLINE, SweepReport
from analysis.tables import frontier_table, number, percent, tasks_table, with_interval
from analysis.text_table import TextTable
from trainables.common.names import lasting
from trainables.records import GALLERY

PICTURE_BYTES = 500_000  # of all pictures of a page, which has 1.2 MB besides plotly.js
ROWS = 40  # of a table of the frontier
STATUS = {"completed": "completed", "early_stopped": "stopped early", "failed": "failed"}
EFFECTS = {
    "ternary": "mixtures", "terms": "terms and coefficients", "behind": "behind the best",
    "factors": "factors", "nothing": "effects",
}  # fmt: skip
COURSE = (
    "How much the search had found after each of its trials, by scores of the search split: the "
    "share of the box up to the dense model's weights (or to the largest recovery cost) and a "
    "retention of 100 %."
)
RANDOM = (
    " Dotted is a random search of the same space and number of trials, simulated from trials that "
    "were measured on this model (`prunesweep simulate`)."
)


@dataclass
class Option:
    """A button above a figure: what it says, the figure, and the table that it shows."""

    label: str
    figure: str
    table: str = ""


@dataclass
class Stage:
    """A row of where the time went."""

    name: str
    time: str
    percent: str


@dataclass
class Shown:
    """One sweep as the template has it; what is empty is left out of the page."""

    key: str
    report: SweepReport
    answer: str
    counts: str
    figures: dict[str, Figure] = field(default_factory=dict)
    smallest: TextTable | None = None
    commands: list[str] = field(default_factory=list)
    export: dict[str, str] = field(default_factory=dict)
    axes: list[Option] = field(default_factory=list)
    tables: list[dict[str, Any]] = field(default_factory=list)
    thinned: str = ""
    tasks: TextTable | None = None
    spider: list[Option] = field(default_factory=list)
    spider_note: str = ""
    effects: list[str | TextTable] = field(default_factory=list)
    effect_plots: list[Option] = field(default_factory=list)
    effects_kind: str = ""
    claims: list[tuple[str, str]] = field(default_factory=list)
    claims_note: str = ""
    recipes: list[Option] = field(default_factory=list)
    recipe_table: TextTable | None = None
    course: list[Option] = field(default_factory=list)
    course_note: str = ""
    parallel: list[Option] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    failures: TextTable | None = None
    answers: str = ""
    made: list[tuple[str, str]] = field(default_factory=list)

    def add(self, name: str, figure: Figure) -> str:
        """Take in a figure; returns the name that the page knows it by."""
        full = f"{self.key}-{name}"
        self.figures[full] = figure
        return full


def shown(report: SweepReport, folder: Path, key: str, short: bool = False) -> Shown:
    """The report for a page; `short` leaves out the figures, as where several sweeps share one."""
    page = Shown(key=key, report=report, answer=answer_sentence(report), counts=_counts(report))
    page.smallest = _smallest(report)
    page.commands = _commands(report)
    page.made = _made(report)
    page.stages = _stages(report.told.stages)
    page.failures = _failures(report)
    _frontiers(page, short)
    if not short:
        _more(page, folder)
    return page


def answer_sentence(report: SweepReport) -> str:
    """Which model for which budget, in a sentence."""
    if report.answer is None:
        return (
            "No trial has a score yet."
            if sum(report.counts.values())
            else "No trial has ended yet."
        )
    if report.limits or not report.smallest:
        limits = ", ".join(f"{name} {value:g}" for name, value in report.limits.items())
        within = f"Within the sweep's own limits ({limits}): " if limits else ""
        return f"{within}{report.answer.message}"
    chosen = min(report.smallest, key=lambda s: abs(s.retention - HEADLINE))
    point, dense = chosen.trial, report.dense
    size = f"{number(point.weights_mib)} MiB"
    if dense is not None and dense.weights_mib and point.weights_mib:
        share = percent(point.weights_mib / dense.weights_mib)
        size += f" of the dense model's {number(dense.weights_mib)} ({share})"
    signs = f" It shows signs of failure: {point.signs}." if point.signs else ""
    return (
        f"{point.label} ({point.trial_id}) is the smallest model that keeps "
        f"{chosen.retention:.0%} of the dense model's score: {size}, retention "
        f"{with_interval(point)} % on the {report.split} split.{signs}"
    )


def _counts(report: SweepReport) -> str:
    counts = [f"{n} {STATUS[s]}" for s, n in report.counts.items() if s in STATUS]
    if report.told.unfinished:
        counts.append(f"{report.told.unfinished} without a result yet")
    scores = {"report": "the report split, unseen by the search",
              "search": "the search split, by which trials are chosen (they flatter)"}  # fmt: skip
    said = f"Trials{' of ' if report.model else ''}{report.model}: {', '.join(counts) or 'none'}."
    return said + (f" Scores are of {scores[report.split]}." if report.split else "")


def _smallest(report: SweepReport) -> TextTable | None:
    if not report.smallest:
        return None
    rows = [
        [f"{s.retention:.0%}", s.trial.trial_id, s.trial.label, number(s.trial.weights_mib),
         with_interval(s.trial), number(s.trial.tflops), number(s.trial.latency_ms)]
        for s in report.smallest
    ]  # fmt: skip
    return TextTable(("kept", "trial", "configuration", "MiB", "retention", "TFLOPs", "ms"), rows)


def _commands(report: SweepReport) -> list[str]:
    if report.answer is None:
        return []
    chosen = report.answer.trial
    if report.smallest and not report.limits:
        chosen = min(report.smallest, key=lambda s: abs(s.retention - HEADLINE)).trial
    where = report.told.storage
    found = []
    if chosen is not None:
        found.append(export_command(report, chosen.trial_id))
    if chosen is not None and chosen.weights_mib:
        size = _rounded_up(chosen.weights_mib)
        found.append(f"prunesweep recommend {report.sweep} --max weights_mib={size:.4g}{where}")
    return found


def _rounded_up(size: float) -> float:
    """The least number of four digits that a model of this size keeps to."""
    scale = 10.0 ** (3 - math.floor(math.log10(size)))
    return math.ceil(size * scale) / scale


def export_command(report: SweepReport, trial_id: str) -> str:
    """What takes a trial's model home."""
    return f"prunesweep export {report.sweep}/{trial_id} --to ./student{report.told.storage}"


def _frontiers(page: Shown, short: bool) -> None:
    report = page.report
    if report.not_drawn:
        drawn = sum(len(getattr(report.frontiers[DEFAULT_X], part))
                    for part in ("dominated", "unranked", "guessing"))  # fmt: skip
        page.thinned = (
            f" {drawn:,} of the {drawn + report.not_drawn:,} points below the frontier are drawn."
        )
    for x, frontier in report.frontiers.items():
        if not frontier.points and x != DEFAULT_X:
            continue
        place = f"{page.key}-table-{x}"
        table = frontier_table(frontier)
        if len(table.rows) > ROWS:
            left = f"{ROWS} of {len(table.rows)} rows; `prunesweep frontier` prints all. "
            table = TextTable(table.header, table.rows[:ROWS], left + table.note)
        page.tables.append({"table": table, "id": place})
        own = [p.trial_id for p in frontier.points if p.origin != "reference"]
        page.export |= {name: export_command(report, name) for name in own}
        if not short:
            overlay = report.overlays.get(x)
            name = page.add(f"frontier-{x}", frontier_figure(frontier, overlay))
            page.axes.append(Option(AXES[x].label, name, place))
        elif x == DEFAULT_X:
            return


def _more(page: Shown, folder: Path) -> None:
    """Everything that only a page of one sweep has."""
    report = page.report
    if report.tasks:
        page.tasks = tasks_table(report.tasks)
    if report.spider is not None:
        page.spider = [Option("tasks", page.add("spider", spider_figure(report.spider)))]
        page.spider_note = spider_note(report.spider)
    if report.effects is not None:
        _, *parts = effect_parts(report.effects)
        page.effects = parts or [effects_summary(report.effects)]
        figures = effect_figures(report.effects)
        page.effect_plots = [
            Option(EFFECTS.get(name, figure["layout"]["title"]["text"]),
                   page.add(f"effects-{name}", figure))
            for name, figure in figures.items()
            if figure["data"]
        ]  # fmt: skip
        if report.weights:
            curves = page.add("weights", curves_figure(report.weights))
            page.effect_plots.append(Option("loss weights", curves))
            page.effects.append(WEIGHTS)
        page.effects_kind = "tall" if "ternary" in figures else ""
    if report.findings is not None:
        page.claims = [(f.word, sentence(f)) for f in report.findings.findings]
        page.claims_note = note(report.findings)
    if report.told.recipes is not None:
        figure = recipe_figure(report.told.recipes)
        page.recipes = [Option("recipes", page.add("recipes", figure))]
        page.recipe_table = recipe_table(report.told.recipes)
    if report.course and any(m.size or m.cost for m in report.course):
        random = report.told.random
        page.course = [
            Option(title, page.add(f"course-{over}", course_figure(report.course, over, random)))
            for over, title in TITLES.items()
        ]
        page.course_note = COURSE + (RANDOM if random else "")
    frontier = report.frontier
    if frontier is not None:
        points = (*frontier.unranked, *frontier.dominated, *frontier.guessing, *frontier.points)
        figure = parallel_figure(points)
        if figure["data"] and len(figure["data"][0]["dimensions"]) > 1:
            page.parallel = [Option("trials", page.add("parallel", figure))]
    if report.answers is not None:
        page.answers = answers_section(_fitting(report.answers, folder), folder)


def _fitting(answers: Answers, folder: Path) -> Answers:
    """The first samples, of as many bytes of pictures as a page may have."""
    kept, used = list[ShownSample](), 0
    for row in answers.rows:
        path = (folder / GALLERY).with_name(row.sample.picture)
        used += path.stat().st_size if path.is_file() else 0
        if used > PICTURE_BYTES and kept:
            break
        kept.append(row)
    return answers.model_copy(update={"rows": tuple(kept)})


def _stages(seconds: dict[str, float]) -> list[Stage]:
    total = sum(seconds.values())
    rows = sorted(seconds.items(), key=lambda item: -item[1])
    return [
        Stage(name, lasting(value), f"{100 * value / total:.1f}")
        for name, value in rows
        if total and value > 0
    ]


def _failures(report: SweepReport) -> TextTable | None:
    if not report.failures:
        return None
    rows = [[f.what, str(f.trials), f.example, f.sentence] for f in report.failures[:ROWS]]
    return TextTable(
        ("what", "trials", "trial", "why"), rows,
        "Each trial's folder has a log.txt; the trial is the first that shows it.",
    )  # fmt: skip


def _made(report: SweepReport) -> list[tuple[str, str]]:
    made = report.made
    rows: list[tuple[str, str]] = []
    if made.began:
        rows.append(("trials ran", f"{made.began} to {made.ended}"))
    for group in (made.places, made.versions, made.digests):
        for name, values in group.items():
            if values:
                several: Sequence[str] = [
                    value if len(values) == 1 else f"{value} ({count:,} records)"
                    for value, count in values.items()
                ]
                rows.append((name, "; ".join(several)))
    return rows
