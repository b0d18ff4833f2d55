"""Retention task by task: numbers by hand, what is refused, and that the pictures are drawn."""

from dataclasses import replace
from pathlib import Path

import pytest
from helpers.trials import make_dense, make_trial, write_sweep

from analysis.draw.spider import MOST_LINES, chosen_spider, default_trials, frontier_spider
from analysis.draw.spider_figure import radius_floor, spider_figure, spider_note
from analysis.frontier import find_frontier
from analysis.load import Trial
from analysis.output.frontier_files import write_frontier, write_spider
from trainables.records import Comparison, TaskScore


def scored(trial: Trial, dense: dict[str, float], **scores: float) -> Trial:
    """The trial with these scores, each with an interval of +-2 points but for the dense base."""
    evaluation = trial.record.evaluation
    assert evaluation is not None
    tasks = {}
    for name, score in scores.items():
        gap = score - dense[name]
        paired = Comparison(dense=dense[name], difference=gap, low=gap - 2, high=gap + 2)
        tasks[name] = TaskScore(
            score=score, stderr=1.0, samples=100, paired=None if trial.is_dense else paired
        )
    changed = evaluation.model_copy(update={"tasks": tasks})
    return replace(trial, record=trial.record.model_copy(update={"evaluation": changed}))


DENSE = {"gqa": 60.0, "pope": 80.0, "mmmu_val": 40.0}
TRIALS = [
    scored(make_trial("a", 0.8, weights_mib=6.0), DENSE, gqa=30.0, pope=80.0, mmmu_val=36.0),
    scored(make_trial("b", 0.9, weights_mib=8.0), DENSE, gqa=57.0, pope=76.0, mmmu_val=42.0),
    scored(make_dense(), DENSE, **DENSE),
]


def test_retention_by_task_and_its_interval() -> None:
    spider = frontier_spider(TRIALS, find_frontier(TRIALS))
    assert spider is not None
    assert spider.tasks == ("gqa", "pope", "mmmu_val")
    assert [line.trial_id for line in spider.lines] == ["a", "b"]  # the dense base is the ring
    first = spider.lines[0].spokes
    assert [s.retention for s in first] == pytest.approx([0.5, 1.0, 0.9])
    assert (first[0].low, first[0].high) == pytest.approx((28 / 60, 32 / 60))
    assert radius_floor(spider) == 30.0  # the lowest end is 46.7 %
    assert "the centre is 30 %" in spider_note(spider)


def test_records_without_comparisons_take_the_dense_bases_scores() -> None:
    old = [
        scored(make_trial("a", 0.8, weights_mib=6.0), DENSE, gqa=30.0, pope=80.0, mmmu_val=36.0),
        TRIALS[2],
    ]
    evaluation = old[0].record.evaluation
    assert evaluation is not None
    bare = {n: t.model_copy(update={"paired": None}) for n, t in evaluation.tasks.items()}
    record = old[0].record.model_copy(
        update={"evaluation": evaluation.model_copy(update={"tasks": bare})}
    )
    spider = chosen_spider([replace(old[0], record=record), old[1]], ["a"], "search")
    assert [s.retention for s in spider.lines[0].spokes] == pytest.approx([0.5, 1.0, 0.9])
    assert spider.lines[0].spokes[0].low is None


def test_published_rows_stand_on_the_tasks_that_both_have() -> None:
    dense = DENSE | {"mine": 50.0}
    trial = scored(make_trial("a", 0.8), dense, gqa=30.0, pope=80.0, mine=50.0, mmmu_val=36.0)
    spider = chosen_spider([trial], ["a"], "search", "llava-v1.5-7b")
    assert spider.tasks == ("gqa", "pope", "mmmu_val")
    assert [s.retention for s in spider.lines[0].spokes] == pytest.approx([0.5, 1.0, 0.9])
    rows = {line.label: line for line in spider.published}
    assert len(rows) == 4
    # Table 8, layerwise 15 %: 61.2 / 61.98, 86.94 / 86.99, 36.4 / 35.1.
    assert [s.retention for s in rows["llava-v1.5-7b layerwise 0.15"].spokes] == pytest.approx(
        [61.2 / 61.98, 86.94 / 86.99, 36.4 / 35.1]
    )
    assert "not measured here" in spider_note(spider)


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no trial 'bb' .*did you mean 'b'"):
        chosen_spider(TRIALS, ["bb"], "search")
    with pytest.raises(ValueError, match=r"no scores on the report split.*--split search"):
        chosen_spider(TRIALS, ["a"], "report")
    with pytest.raises(ValueError, match=r"at least 3 tasks.* share 2"):
        chosen_spider([make_trial("a", 0.9)], ["a"], "search")
    few = [scored(make_trial("a"), dict.fromkeys("xyz", 1.0), x=1.0, y=1.0, z=1.0)]
    with pytest.raises(ValueError, match=r"share 0 \(none\)"):
        chosen_spider(few, ["a"], "search", "llava-v1.5-7b")
    with pytest.raises(ValueError, match="name up to 6"):
        chosen_spider(TRIALS, ["a"] * 7, "search")
    with pytest.raises(ValueError, match="name the trials"):
        chosen_spider(TRIALS, [], "search")
    assert frontier_spider([], find_frontier([])) is None


def test_a_long_frontier_is_thinned_evenly() -> None:
    many = [make_trial(f"t{k:02}", 0.5 + k / 100, weights_mib=4.0 + k) for k in range(11)]
    names = default_trials(find_frontier(many))
    assert names == ["t00", "t02", "t04", "t06", "t08", "t10"]
    assert len(names) == MOST_LINES


def test_a_task_that_the_dense_base_fails_is_a_gap() -> None:
    dense = DENSE | {"gqa": 0.0}
    trials = [scored(make_trial("a", 0.8), dense, **dense), scored(make_dense(), dense, **dense)]
    spider = chosen_spider(trials, ["a"], "search")
    assert spider.lines[0].spokes[0].retention is None
    (trace,) = [t for t in spider_figure(spider)["data"] if "text" in t]
    assert trace["r"][0] is None
    assert "the dense base scores 0" in trace["text"][0]


def test_pictures(tmp_path: Path) -> None:
    from matplotlib.image import imread
    from plotly.graph_objects import Figure

    folder = write_sweep(tmp_path, TRIALS)
    spider = chosen_spider(TRIALS, ["a", "b"], "search", "bunny-v1.0-3b")
    figure = Figure(spider_figure(spider))  # it raises on an unknown property
    # The ring, four published rows, a line and its bars per trial.
    assert len(figure.data) == 1 + 4 + 2 * 2
    png = write_spider(folder, spider)
    assert imread(png).shape[:2] == (1240, 1520)
    files = write_frontier(folder)
    assert files.spider is not None
    assert files.spider in files.paths
    assert imread(files.spider)[..., :3].std() > 0.02
    stamp = files.spider.stat().st_mtime_ns
    assert write_frontier(folder).spider == files.spider
    assert files.spider.stat().st_mtime_ns == stamp
