"""The study's frontier as points to lay under ours: printed costs, recomputed retentions."""

from analysis.published.study import (
    OFF_THE_LINE,
    PublishedScores,
    load_published,
    published_rows,
    recomputed_retention,
)
from analysis.tables import number, percent
from analysis.text_table import TextTable
from trainables.specs import Frozen

LABEL = "published (arXiv 2507.20749), not measured here"
NOMINAL = (0.15, 0.3, 0.45, 0.6)
# What was really removed from the language model at the nominal ratios (see README.md).
REMOVED = {
    ("llava-v1.5-7b", "layerwise"): (0.150, 0.300, 0.451, 0.631),
    ("llava-v1.5-7b", "widthwise"): (0.157, 0.313, 0.479, 0.635),
    ("bunny-v1.0-3b", "layerwise"): (0.142, 0.283, 0.425, 0.594),
    ("bunny-v1.0-3b", "widthwise"): (0.148, 0.295, 0.451, 0.599),
}
RECOVERIES = {"none": "no recovery", "sft+l2": "SFT + L2"}
# Our axis -> column of the cost tables; `kept` comes from `REMOVED`.
COLUMNS = {"weights_mib": "allocated_memory_mib", "tflops": "tflops"}


class PublishedPoint(Frozen):
    """A published row on an axis of ours.

    Attributes:
        method: `dense`, `layerwise` or `widthwise`.
        nominal_ratio: as printed.
        recovery: `none` (Table 1) or `sft+l2` (Table 8).
        x: the printed cost, or the fraction of the language model that was kept.
        average: of the printed scores, MME on 0..100.
        retention: that average over the dense model's.
        note: where the printed numbers disagree with each other.
    """

    method: str
    nominal_ratio: float
    recovery: str
    x: float
    average: float
    retention: float
    note: str = ""


class Overlay(Frozen):
    """Published rows of one model on one axis; `warning` says why they may not compare."""

    model: str
    x: str
    points: tuple[PublishedPoint, ...]
    warning: str = ""

    @property
    def caption(self) -> str:
        """What the marks are, and the warning."""
        return f"Hollow diamonds: {self.model}, {LABEL}. {self.warning}".rstrip()


def published_axes() -> tuple[str, ...]:
    """The axes of ours that the study's rows have a place on."""
    return (*COLUMNS, "kept")


def published_overlay(model: str, x: str, dense_mib: float | None = None) -> Overlay:
    """The published rows of `model` on the axis `x`, by method, recovery and falling size.

    Args:
        model: as the study's tables name it, e.g. `llava-v1.5-7b`.
        x: `weights_mib`, `tflops` or `kept`.
        dense_mib: weight memory of the sweep's own dense base, to warn of another size.

    Raises:
        ValueError: the study has no such model, or no such axis.
    """
    rows = published_rows(model, "frontier")
    if x not in published_axes():
        raise ValueError(
            f"the study's tables have no '{x}' for these rows; published points can be drawn over "
            f"{', '.join(published_axes())}. Choose one by --x, or leave out --published."
        )
    dense = next(row for row in rows if row.method == "dense")
    pruned = sorted(
        (row for row in rows if row.method != "dense"),
        key=lambda row: (row.method, row.recovery, row.nominal_ratio),
    )
    return Overlay(
        model=model,
        x=x,
        points=tuple(_point(row, rows, x) for row in (dense, *pruned)),
        warning=_size_warning(dense, x, dense_mib),
    )


def overlay_table(overlay: Overlay) -> TextTable:
    """The published rows as a table."""
    rows = [
        [
            f"{overlay.model} {p.method}"
            + (f" {RECOVERIES[p.recovery]}" if p.method != "dense" else ""),
            percent(p.nominal_ratio),
            number(p.x),
            f"{p.average:.2f}",
            f"{100 * p.retention:.2f}" + ("*" if p.note else ""),
        ]
        for p in overlay.points
    ]
    header = ("published row", "removed (nominal)", "cost", "average", "retention")
    return TextTable(header, rows, overlay.caption)


def _point(row: PublishedScores, rows: list[PublishedScores], x: str) -> PublishedPoint:
    retention = recomputed_retention(row, rows)
    notes = []
    if abs(100 * retention - row.printed_retention_percent) > 0.02:
        notes.append(f"printed: {row.printed_retention_percent} %, which its row does not give")
    marked = OFF_THE_LINE.get((row.model, row.method, row.nominal_ratio))
    if marked is not None and marked == COLUMNS.get(x):
        notes.append("this printed cost is off the line of the other rows")
    return PublishedPoint(
        method=row.method,
        nominal_ratio=row.nominal_ratio,
        recovery=row.recovery,
        x=_kept(row) if x == "kept" else _cost(row, COLUMNS[x]),
        average=row.average,
        retention=retention,
        note="; ".join(notes),
    )


def _kept(row: PublishedScores) -> float:
    if row.method == "dense":
        return 1.0
    return 1 - REMOVED[row.model, row.method][NOMINAL.index(row.nominal_ratio)]


def _cost(row: PublishedScores, column: str) -> float:
    key = (row.model, row.method, row.nominal_ratio)
    costs = {(c["model"], c["method"], c["nominal_ratio"]): c for c in load_published()["cost"]}
    return float(costs[key][column])


def _size_warning(dense: PublishedScores, x: str, dense_mib: float | None) -> str:
    size = _cost(dense, COLUMNS["weights_mib"])
    if dense_mib is None or abs(dense_mib / size - 1) <= 0.1:
        return ""
    sizes = (
        f"The published dense model takes {size:,.0f} MiB, this sweep's {dense_mib:,.4g} MiB: "
        "another model"
    )
    return f"{sizes}." if x == "kept" else f"{sizes}, so compare fractions (--x kept)."
