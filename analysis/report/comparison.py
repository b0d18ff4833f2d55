"""Several sweeps on one page: whether they compare, and their frontiers side by side."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.axes import AXES
from analysis.frontier import Frontier
from analysis.report.content import SweepReport
from analysis.tables import number, with_interval
from analysis.text_table import TextTable

MORE = "(the same sweeps can be reported one by one)"
NOTE = (
    "Retention is over each sweep's own dense model, on the same tasks. Intervals hold for all "
    "models of a sweep together, not for those of several."
)


def check_comparable(reports: Sequence[SweepReport]) -> None:
    """Refuse sweeps whose retentions do not mean the same.

    Raises:
        ValueError: one has no scores or no dense base, or two differ in split or tasks.
    """
    first, *others = reports
    for one in reports:
        if one.frontier is None or one.split is None or one.dense is None:
            raise ValueError(
                f"sweep {one.sweep} cannot be compared: its dense base has no score, so nothing "
                f"has a retention. `prunesweep run` of it scores it {MORE}"
            )
    for one in others:
        if one.split != first.split:
            searching = one if one.split == "search" else first
            raise ValueError(
                f"sweeps {first.sweep} and {one.sweep} cannot be compared: scores are of the "
                f"{first.split} split in the one and of the {one.split} split in the other. "
                f"`prunesweep run` of {searching.sweep} to its end scores its report split {MORE}"
            )
        mine, theirs = (set(r.task_names) for r in (first, one))
        if mine != theirs:
            raise ValueError(
                f"sweeps {first.sweep} and {one.sweep} cannot be compared: their tasks differ "
                f"({_few(mine - theirs)} only in the one, {_few(theirs - mine)} only in the other) "
                f"{MORE}"
            )


def common_axes(reports: Sequence[SweepReport]) -> dict[str, list[Frontier]]:
    """The frontiers of all sweeps by the axes that each of them has."""
    return {
        x: [r.frontiers[x] for r in reports]
        for x in reports[0].frontiers
        if all(x in r.frontiers for r in reports)
        and (not AXES[x].measured or len({r.frontiers[x].device for r in reports}) == 1)
    }


def comparison_table(reports: Sequence[SweepReport]) -> TextTable:
    """A row for each sweep: its model, its trials, and the smallest models that keep so much."""
    levels = sorted({s.retention for r in reports for s in r.smallest}, reverse=True)
    header = [
        "sweep",
        "model",
        "trials",
        "dense, MiB",
        *(f"{level:.0%} kept, MiB" for level in levels),
    ]
    rows = []
    for report in reports:
        by_level = {s.retention: s.trial for s in report.smallest}
        cells = [
            f"{number(p.weights_mib)} ({with_interval(p)} %)" if (p := by_level.get(level)) else "-"
            for level in levels
        ]
        dense = number(report.dense.weights_mib if report.dense else None)
        rows.append([report.sweep, report.model, str(sum(report.counts.values())), dense, *cells])
    return TextTable(
        header, rows, "kept: the smallest model whose 95 % interval lies above; in brackets its "
        "retention with that interval"
    )  # fmt: skip


def _few(names: set[str]) -> str:
    return ", ".join(sorted(names)[:5]) or "none"
