"""The study's tables, recomputed: what agrees, what does not; and as points under our frontier."""

from pathlib import Path

import pytest
from helpers.trials import make_dense, make_trial, write_sweep

from analysis.draw.frontier_figure import SIZE, frontier_figure
from analysis.draw.png import draw_png
from analysis.frontier import find_frontier
from analysis.output.frontier_files import write_frontier
from analysis.published.overlay import LABEL, overlay_table, published_overlay
from analysis.published.study import load_published, published_accuracy, recomputed_retention

# Table 1, Bunny widthwise: (printed, recomputed) percent.
DISAGREE = {0.15: (95.48, 91.37), 0.3: (87.57, 78.87), 0.45: (60.66, 57.58), 0.6: (13.52, 18.32)}


def test_every_printed_average_follows_from_its_row() -> None:
    rows = published_accuracy()
    assert len(rows) == 28
    for row in rows:
        assert abs(row.average - row.printed_average) <= 0.0101, row


def test_24_retentions_agree_and_4_do_not() -> None:
    rows = published_accuracy()
    apart = {}
    agree = 0
    for row in rows:
        percent = 100 * recomputed_retention(row, rows)
        if abs(percent - row.printed_retention_percent) <= 0.02:
            agree += 1
        else:
            assert (row.table, row.model, row.method) == (1, "bunny-v1.0-3b", "widthwise")
            apart[row.nominal_ratio] = (row.printed_retention_percent, round(percent, 2))
    assert agree == 24
    assert apart == DISAGREE


def test_every_topic_is_there() -> None:
    topics = load_published()
    sizes = {name: len(rows) for name, rows in topics.items() if isinstance(rows, list)}
    assert sizes == {
        "accuracy": 28,
        "cost": 20,
        "distillation": 20,
        "hidden_layers": 12,
        "quantization": 6,
        "generalization": 9,
    }


def test_averages_of_three_rows_by_hand() -> None:
    """The mean over six: MME's parts are two tasks, over 8 and over 20."""
    rows = {(r.table, r.model, r.method, r.nominal_ratio): r for r in published_accuracy()}
    dense = rows[1, "llava-v1.5-7b", "dense", 0.0]
    by_hand = (35.1 + 61.98 + 68.67 + 363.21 / 8 + 1511.33 / 20 + 86.99) / 6
    assert dense.average == pytest.approx(by_hand)
    assert dense.printed_average == pytest.approx(by_hand, abs=0.01)
    empty = rows[1, "llava-v1.5-7b", "layerwise", 0.6]
    assert empty.average == pytest.approx(25.8 / 6)


def test_overlay_holds_the_printed_costs_and_the_recomputed_retentions() -> None:
    overlay = published_overlay("bunny-v1.0-3b", "weights_mib")
    points = {(p.method, p.recovery, p.nominal_ratio): p for p in overlay.points}
    assert len(points) == len(overlay.points) == 1 + 8 + 4
    assert (points["dense", "none", 0.0].x, points["dense", "none", 0.0].retention) == (6167, 1)
    assert points["layerwise", "sft+l2", 0.15].x == 5411
    assert points["layerwise", "sft+l2", 0.15].retention == pytest.approx(0.9959, abs=1e-4)
    contradicted = [p for p in overlay.points if "its row does not give" in p.note]
    found = {p.nominal_ratio: round(100 * p.retention, 2) for p in contradicted}
    assert found == {ratio: recomputed for ratio, (_, recomputed) in DISAGREE.items()}
    assert {p.method for p in contradicted} == {"widthwise"}
    assert overlay.warning == ""


def test_overlay_on_other_axes() -> None:
    kept = {(p.method, p.nominal_ratio): p.x for p in
            published_overlay("llava-v1.5-7b", "kept").points}  # fmt: skip
    assert kept["dense", 0.0] == 1.0
    assert kept["widthwise", 0.45] == pytest.approx(1 - 0.479)
    work = published_overlay("llava-v1.5-7b", "tflops").points
    assert next(p for p in work if p.method == "dense").x == 9.57
    assert [p.nominal_ratio for p in work if "off the line" in p.note] == [0.15, 0.15]


def test_what_the_tables_do_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no 'latency_ms' for these rows.*weights_mib"):
        published_overlay("llava-v1.5-7b", "latency_ms")
    with pytest.raises(ValueError, match=r"did you mean 'llava-v1\.5-7b'"):
        published_overlay("llava-1.5-7b", "weights_mib")


def test_another_size_is_said() -> None:
    assert (
        "compare fractions (--x kept)"
        in published_overlay("llava-v1.5-7b", "weights_mib", 8.0).warning
    )
    assert published_overlay("llava-v1.5-7b", "weights_mib", 13_470).warning == ""


def test_published_points_are_drawn_only_when_asked_for_and_labelled(tmp_path: Path) -> None:
    from plotly.graph_objects import Figure

    trials = [make_trial("a", 0.8, weights_mib=8000, ratio=0.3), make_dense(weights_mib=13_470)]
    folder = write_sweep(tmp_path, trials)
    plain = write_frontier(folder)
    laid = write_frontier(folder, published="llava-v1.5-7b")
    assert laid.png.name == "frontier-published.png"
    assert plain.png.read_bytes() != laid.png.read_bytes()
    assert LABEL in laid.markdown.read_text()
    assert "published" not in laid.csv.read_text()  # our own points alone
    front = find_frontier(trials)
    overlay = published_overlay("llava-v1.5-7b", "weights_mib", 13_470)
    figure = Figure(frontier_figure(front, overlay))  # it raises on an unknown property
    names = {t.name for t in figure.data if t.legendgroup == "published"}
    assert names == {
        f"{method}, {how}" for method in ("layerwise", "widthwise")
        for how in ("no recovery", "SFT + L2")
    }  # fmt: skip
    pictures = [draw_png({"a": frontier_figure(front, o)}, SIZE) for o in (overlay, None)]
    assert pictures[0] != pictures[1]
    assert "97.88" in overlay_table(overlay).plain()
