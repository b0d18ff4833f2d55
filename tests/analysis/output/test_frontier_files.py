"""The frontier's files: content, self-containment, atomic and idempotent writing."""

import csv
import json
from pathlib import Path

import pytest
from helpers.trials import make_dense, make_trial, write_sweep

from analysis.axes import x_axes
from analysis.draw.frontier_figure import frontier_figure
from analysis.frontier import find_frontier
from analysis.load import load_trials
from analysis.output.frontier_files import write_frontier


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    trials = [
        make_trial("a", 0.55, weights_mib=6.0, report=0.5, latency_ms=20.0, ratio=0.6),
        make_trial("b", 0.85, weights_mib=8.0, report=0.8, latency_ms=25.0, method="widthwise"),
        make_trial("c", 0.75, weights_mib=9.0, report=0.7, latency_ms=26.0),
        make_trial("d", 0.4, weights_mib=9.0, scope="none"),
        make_trial("<i>e", status="failed"),
        make_dense(report=1.0, latency_ms=40.0),
    ]
    return write_sweep(tmp_path_factory.mktemp("runs"), trials)


def test_csv_holds_the_frontier(folder: Path) -> None:
    written = write_frontier(folder)
    rows = list(csv.DictReader(written.csv.open()))
    assert [row["trial_id"] for row in rows] == ["a", "b", "dense"]
    assert float(rows[0]["retention"]) == pytest.approx(0.5)
    assert rows[0]["split"] == "report"
    assert [row["origin"] for row in rows] == ["designed", "designed", "reference"]
    assert rows[2]["learning_rate"] == ""


def test_json_records_the_reference_point(folder: Path) -> None:
    content = json.loads(write_frontier(folder).json.read_text())
    assert content["reference"] == {"x": 16.0, "retention": 0.0, "rule": "dense base"}
    # (8 - 6) * 0.5 + (16 - 8) * 0.8
    assert content["hypervolume"] == pytest.approx(7.4)
    assert [p["trial_id"] for p in content["dominated"]] == ["c"]


@pytest.mark.parametrize("x", x_axes())
def test_plotly_accepts_every_property(folder: Path, x: str) -> None:
    from plotly.graph_objects import Figure

    figure = Figure(frontier_figure(find_frontier(load_trials(folder), x)))  # it raises otherwise
    assert {trace.name for trace in figure.data} >= {"frontier", "dense (not pruned)"}


def test_png_is_a_picture(folder: Path) -> None:
    from matplotlib.image import imread

    written = write_frontier(folder)
    pixels = imread(written.png)
    assert pixels.shape[:2] == (1040, 1520)
    assert pixels[..., :3].std() > 0.05  # not a blank page


def test_latency_frontier_has_its_own_files(folder: Path) -> None:
    main = write_frontier(folder).csv.read_text()
    latency = write_frontier(folder, "latency_ms")
    assert latency.csv.name == "frontier-latency_ms.csv"
    figure = frontier_figure(latency.frontier)
    assert any("error_x" in trace for trace in figure["data"])
    assert (folder / "frontier.csv").read_text() == main


def test_nothing_but_the_files_is_left_behind(folder: Path) -> None:
    written = write_frontier(folder)
    names = {path.name for path in folder.glob("*frontier.*")}
    assert names == {path.name for path in written.paths}
    assert not list(folder.glob(".*"))


def test_unchanged_frontier_is_not_drawn_again(folder: Path) -> None:
    first = write_frontier(folder)
    stamp = first.png.stat().st_mtime_ns
    assert write_frontier(folder).png.stat().st_mtime_ns == stamp
    first.csv.unlink()
    assert write_frontier(folder).csv.exists()


def test_changed_frontier_is_drawn_again(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path, [make_trial("a", 0.5, weights_mib=6.0), make_dense()])
    old = write_frontier(folder).png.read_bytes()
    write_sweep(tmp_path, [make_trial("b", 0.9, weights_mib=7.0)])
    new = write_frontier(folder)
    assert new.png.read_bytes() != old
    assert [p.trial_id for p in new.frontier.points] == ["a", "b", "dense"]


def test_an_interrupted_write_leaves_the_old_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = write_sweep(tmp_path, load_trials(folder)[:2])
    old = write_frontier(target).csv.read_text()
    write_sweep(tmp_path, [make_trial("new", 0.99, weights_mib=1.0)])

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(ValueError, match=r"cannot be written .*No space left on device"):
        write_frontier(target)
    assert (target / "frontier.csv").read_text() == old
    assert not list(target.glob(".*part"))


def test_empty_sweep_has_files_too(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    folder.mkdir()
    written = write_frontier(folder)
    assert written.csv.read_text().count("\n") == 1
    assert written.png.stat().st_size > 1000
