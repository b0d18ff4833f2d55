"""Scores, clustered errors and retention against hand computations and a brute-force bootstrap."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from analysis.published.study import published_accuracy
from trainables.evaluation.harness import judge
from trainables.evaluation.scoring import report
from trainables.records.clusters import LARGEST_DEVIATION, clustered_error
from trainables.records.score_table import ScoreTable, TaskSamples


def samples(
    scores: Sequence[float],
    images: Sequence[object] | None = None,
    weights: Sequence[float] | None = None,
) -> TaskSamples:
    n = len(scores)
    return TaskSamples(
        doc_ids=tuple(range(n)),
        image_ids=tuple(str(i) for i in (images if images is not None else range(n))),
        scores=np.array(scores, dtype=float),
        weights=np.array(weights if weights is not None else np.ones(n)),
        answers=("yes",) * n,
    )


def test_error_of_unclustered_samples_is_the_textbook_one() -> None:
    scores = np.array([100.0, 0.0, 0.0, 100.0, 50.0])
    task = report("search", ScoreTable({"pope": samples(scores)})).tasks["pope"]
    assert task.score == 50.0
    assert task.stderr == pytest.approx(scores.std(ddof=1) / np.sqrt(5))
    assert (task.samples, task.chance) == (5, 50.0)


def test_error_is_clustered_by_image() -> None:
    # Mean 75; cluster sums of (s - 75) / 4 are -12.5 and 12.5; sqrt(2 / 1 * 2 * 12.5^2) = 25.
    table = ScoreTable({"a": samples([100, 0, 100, 100], ["x", "x", "y", "y"])})
    assert report("search", table).tasks["a"].stderr == pytest.approx(25.0)


def test_images_that_tasks_share_are_one_cluster_of_the_average() -> None:
    # Both tasks are right on image x and wrong on y: as few independent facts as one task alone.
    one = ScoreTable({"a": samples([100, 0], ["x", "y"])})
    two = ScoreTable({"a": samples([100, 0], ["x", "y"]), "b": samples([100, 0], ["x", "y"])})
    apart = ScoreTable({"a": samples([100, 0], ["x", "y"]), "b": samples([100, 0], ["u", "v"])})
    assert report("search", two).average_se == pytest.approx(report("search", one).average_se)
    # Four clusters of influence +-25: sqrt(4 / 3 * 4 * 12.5^2).
    assert report("search", apart).average_se == pytest.approx(np.sqrt(4 / 3 * 4 * 12.5**2))


def test_average_is_the_mean_over_tasks_not_over_samples() -> None:
    table = ScoreTable({"a": samples([100] * 9), "b": samples([0])})
    assert report("search", table).average == 50.0
    assert table.samples == 10


def test_weights_enter_the_score() -> None:
    assert samples([100, 0], weights=[3, 1]).score == 75.0


def test_one_cluster_has_the_largest_possible_error() -> None:
    assert clustered_error(["x", "x"], np.array([1.0, -1.0])) == LARGEST_DEVIATION


def test_retention_is_the_ratio_of_averages_over_the_same_samples() -> None:
    dense = ScoreTable({"a": samples([100, 100, 0, 100]), "b": samples([100, 100])})
    student = ScoreTable({"a": samples([100, 0]), "b": samples([100, 0])})
    got = report("report", student, dense)
    assert (got.dense_average, got.retention) == (100.0, 0.5)  # document 2 of task a is not used
    assert report("report", dense, dense).retention == 1.0
    assert report("report", dense, dense).retention_se == 0.0


def test_retention_error_matches_a_clustered_bootstrap() -> None:
    rng = np.random.default_rng(0)
    images, per_image, tasks = 250, 2, 3
    ids = np.repeat(np.arange(images), per_image)
    easy = rng.normal(size=images)[ids]  # questions on one image succeed or fail together
    dense, student = {}, {}
    for t in range(tasks):
        talent = easy + rng.normal(size=ids.size)
        dense[f"t{t}"] = samples(100.0 * (talent > -1.2), ids)
        noise = rng.normal(size=ids.size)
        student[f"t{t}"] = samples(100.0 * (talent + 0.7 * noise > -0.2), ids)
    got = report("search", ScoreTable(student), ScoreTable(dense))

    def per_image_sums(table: dict[str, TaskSamples]) -> np.ndarray:
        return sum(np.bincount(ids, weights=s.scores) for s in table.values())

    draws = rng.integers(images, size=(4000, images))
    top, bottom = (per_image_sums(x)[draws].sum(axis=1) for x in (student, dense))
    assert got.retention_se == pytest.approx(np.std(top / bottom), rel=0.05)
    # Pairing matters: with independent samples the error would be clearly larger.
    unpaired = np.std(top / bottom[::-1].copy())
    assert got.retention_se is not None
    assert got.retention_se < 0.85 * unpaired
    assert got.average_se == pytest.approx(np.std(top) / (images * per_image * tasks), rel=0.05)


def test_a_dense_table_must_cover_the_samples_on_the_same_images() -> None:
    student = ScoreTable({"a": samples([100, 0, 100])})
    with pytest.raises(ValueError, match="at least the same limit"):
        report("search", student, ScoreTable({"a": samples([100, 0])}))
    with pytest.raises(ValueError, match="task 'a'"):
        report("search", student, ScoreTable({"b": samples([100, 0, 100])}))
    with pytest.raises(ValueError, match="other images"):
        report("search", student, ScoreTable({"a": samples([100, 0, 100], ["0", "1", "z"])}))
    with pytest.raises(ValueError, match="retention is undefined"):
        report("search", student, ScoreTable({"a": samples([0, 0, 0])}))


def test_no_samples_and_nan_are_no_score() -> None:
    with pytest.raises(ValueError, match="without samples"):
        samples([])
    with pytest.raises(ValueError, match="not a finite number"):
        samples([100, float("nan")])


def test_a_saved_table_reads_back_the_same(tmp_path: Path) -> None:
    table = ScoreTable(
        {"b": samples([100, 0, 25], ["x", "x", "ü"], [1, 2, 3]), "a": samples([100])}, seconds=1.5
    )
    table.save(tmp_path / "scores.parquet")
    again = ScoreTable.load(tmp_path / "scores.parquet")
    assert list(again.tasks) == ["b", "a"]
    assert again.seconds == 1.5
    assert again.tasks["b"].image_ids == ("x", "x", "ü")
    assert report("search", again) == report("search", table)
    assert [p.name for p in tmp_path.iterdir()] == ["scores.parquet"]


def test_samples_per_second_is_reported() -> None:
    table = ScoreTable({"a": samples([100, 0])}, seconds=0.5)
    assert report("search", table).samples_per_second == 4.0


def test_comparison_with_the_dense_model_by_hand() -> None:
    """Half of 40 questions are lost, one per image: the sign of the loss is beyond doubt."""
    dense = ScoreTable({"a": samples([100.0] * 40), "b": samples([100.0] * 40, range(40, 80))})
    student = ScoreTable({"a": samples([100.0, 0.0] * 20), "b": dense.tasks["b"]})
    got = report("report", student, dense)
    paired = got.tasks["a"].paired
    assert paired is not None
    assert (paired.dense, paired.difference) == (100.0, -50.0)
    # A mean of 40 fair coins: -50 +/- t(39) * 50 / sqrt(39).
    assert (paired.low, paired.high) == pytest.approx((-66.2, -33.8), abs=1.6)
    same = got.tasks["b"].paired
    assert same is not None
    assert (same.difference, same.low, same.high) == (0.0, 0.0, 0.0)
    average = got.paired
    assert average is not None
    assert average.difference == -25.0
    assert (got.retention_low, got.retention_high) == pytest.approx(
        (1 + average.low / 100, 1 + average.high / 100)
    )
    alone = report("report", dense)
    assert (alone.paired, alone.retention_low, alone.tasks["a"].paired) == (None, None, None)


def test_the_interval_agrees_with_the_standard_error() -> None:
    rng = np.random.default_rng(4)
    dense = ScoreTable({"a": samples(100.0 * (rng.random(900) < 0.9), np.arange(900) // 3)})
    student = ScoreTable({"a": samples(100.0 * (rng.random(900) < 0.7), np.arange(900) // 3)})
    got = report("search", student, dense)
    assert got.retention_se is not None
    assert got.retention_low is not None
    assert got.retention_high is not None
    width = got.retention_high - got.retention_low
    assert width == pytest.approx(2 * 1.97 * got.retention_se, rel=0.06)
    assert got.tasks["a"].images == 300


def test_a_single_image_leaves_everything_possible() -> None:
    dense = ScoreTable({"a": samples([100, 0, 100, 0], ["x"] * 4)})
    got = report("search", ScoreTable({"a": samples([100, 0, 0, 0], ["x"] * 4)}), dense)
    assert got.paired is not None
    assert (got.paired.low, got.paired.high) == (-50.0, 50.0)
    assert (got.retention_low, got.retention_high) == (0.0, 2.0)


def test_tasks_of_a_single_image_do_not_make_the_average_sure() -> None:
    """Four tasks of one image each: the error of a mean of four that are 50 points off each."""
    lone = {f"t{i}": samples([0.0, 100.0], [f"i{i}"] * 2) for i in range(4)}
    assert report("report", ScoreTable(lone)).average_se == pytest.approx(50 / 2)
    known = samples([0.0, 100.0] * 8, [f"k{i}" for i in range(16)])
    found = report("report", ScoreTable({"known": known, "lone": lone["t0"]}), None)
    # The images of both tasks are 17 clusters; those of the known task vary by 50 each.
    own = np.sqrt(17 / 16 * 16 * (50 / 16 / 2) ** 2)
    assert found.average_se == pytest.approx(np.hypot(own, 50 / 2))


def test_the_average_is_the_studys_with_mme_as_two_of_six_tasks() -> None:
    """A published row, put in as scores of 0..100, comes out with its printed average."""
    row = next(r for r in published_accuracy() if r.model == "bunny-v1.0-3b")
    percent = {task: s / {"mme_cognition": 8, "mme_perception": 20}.get(task, 1)
               for task, s in row.scores.items()}  # fmt: skip
    table = ScoreTable({task: samples([score] * 3) for task, score in percent.items()})
    got = report("report", table)
    assert len(got.tasks) == 6
    assert got.average == pytest.approx(row.printed_average, abs=0.01)
    assert got.tasks["mme_cognition"].raw == pytest.approx(289.3)
    assert got.tasks["mme_perception"].raw == pytest.approx(1487.71)
    assert got.tasks["gqa"].raw is None


def test_the_first_samples_of_mme_are_paired_with_their_own_weights() -> None:
    """Category A has three images and B one; of the first two images, each category has one."""
    rows = samples([100, 0, 50, 50], weights=[1 / 3, 1, 1 / 3, 1 / 3])
    dense = ScoreTable({"mme_perception": rows})
    student = ScoreTable({"mme_perception": samples([100, 0], weights=[1, 1])})
    found = report("search", student, dense)
    assert (found.average, found.dense_average, found.retention) == (50.0, 50.0, 1.0)
    assert found.paired is not None
    assert (found.paired.difference, found.paired.low, found.paired.high) == (0.0, 0.0, 0.0)


def test_captions_above_100_keep_their_intervals() -> None:
    """CIDEr x 100 of good captions exceeds 100; a student at 80 % everywhere retains just that."""
    scores = np.random.default_rng(0).gamma(2, 60, 200)
    dense = ScoreTable({"coco2017_cap_val": samples(scores)})
    assert dense.average > 100
    found = report("report", ScoreTable({"coco2017_cap_val": samples(0.8 * scores)}), dense)
    assert (found.retention_low, found.retention_high) == (pytest.approx(0.8), pytest.approx(0.8))
    assert found.paired is not None
    assert found.paired.low < -0.2 * dense.average < found.paired.high < 0


def test_speed_counts_every_answer_whether_it_can_be_compared_or_not() -> None:
    table = ScoreTable({"pope": samples([50.0] * 10), "gqa": samples([50.0] * 90)}, seconds=10.0)
    dense = ScoreTable({"pope": samples([50.0] * 10)}, 1.0, {"gqa": "it broke"})
    found, scored = judge("search", table, dense)
    assert list(scored.tasks) == ["pope"]
    assert found.failed == {"gqa": "the dense base has no score on it (it broke)"}
    assert found.samples_per_second == 10.0
