"""The embedded model answers every benchmark, through a trial's own inputs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.stores import builds

from trainables.common.store import Store
from trainables.evaluation.benchmarks import BENCHMARKS
from trainables.evaluation.benchmarks.checks import check_needs
from trainables.evaluation.benchmarks.copies import CARD
from trainables.models.dense import load_dense
from trainables.recovery.data.conversations import ConversationData
from trainables.specs import EvaluationSpec, ModelSpec, TrialSpec
from trainables.trial.evaluate import dense_scores
from trainables.trial.inputs import Inputs

SHARE = 0.35


def _scorable() -> tuple[str, ...]:
    """Those that this machine can score; captions need Java, MathVista a package of its own."""
    names = []
    for name, known in BENCHMARKS.items():
        try:
            check_needs(known)
        except ValueError:
            continue
        names.append(name)
    return tuple(names)


@pytest.fixture(scope="module")
def dense():
    return load_dense(ModelSpec(path="tiny"))


@pytest.fixture
def inputs(dense, data_folder: Path, tmp_path: Path):
    """A function that makes a trial's inputs with these evaluation settings."""

    def make(**evaluation) -> Inputs:
        settings = {
            "data_folder": str(data_folder),
            "search_share": SHARE,
            "max_new_tokens": 3,
            **evaluation,
        }
        spec = TrialSpec(evaluation=EvaluationSpec(**settings))
        return Inputs(spec, Store(tmp_path / "store"), dense, ConversationData((), (), "d"))

    return make


def test_every_benchmark_is_answered_on_both_splits(inputs) -> None:
    tasks = _scorable()
    assert len(tasks) >= len(BENCHMARKS) - 3
    trial = inputs(tasks=(*tasks, "tiny_choice"))
    tables = {split: dense_scores(trial, split) for split in ("search", "report")}
    reported = {*tasks, "tiny_choice", "mme_perception", "mme_cognition"} - {"mme"}
    for table in tables.values():
        assert set(table.tasks) <= reported
        assert {t.split("_")[0] for t in reported} == {t.split("_")[0] for t in table.tasks}
        assert all(np.isfinite(rows.scores).all() for rows in table.tasks.values())
        assert any(any(rows.answers) for rows in table.tasks.values())
    for task in tables["search"].tasks.keys() & tables["report"].tasks.keys():
        search, report = (set(tables[s].tasks[task].image_ids) for s in ("search", "report"))
        assert search
        assert report
        assert not search & report
    again = dense_scores(trial, "search")
    # One entry per task and split: the third evaluation came from the store.
    assert len(builds(trial.store, "dense-scores")) == 2 * (len(tasks) + 1)
    for task, rows in again.tasks.items():
        np.testing.assert_array_equal(rows.scores, tables["search"].tasks[task].scores)


def test_a_limit_takes_whole_images_and_lies_within_a_larger_one(inputs) -> None:
    trial = inputs(tasks=("pope", "gqa"), search_share=0.6)
    tables = {}
    for limit in (2, 5):
        folder = trial.request("search", limit).task_folder
        rows = {
            task: json.loads((folder / f"{task}.json").read_text())["rows"]
            for task in ("pope", "gqa")
        }
        tables[limit] = rows
    assert {task: len(rows) for task, rows in tables[2].items()} == {"pope": 4, "gqa": 3}
    assert {task: len(rows) for task, rows in tables[5].items()} == {"pope": 8, "gqa": 6}
    assert all(tables[5][task][: len(tables[2][task])] == tables[2][task] for task in tables[2])


def test_a_smaller_run_pairs_with_a_larger_ones_samples(inputs) -> None:
    large = dense_scores(inputs(tasks=("pope",), search_share=0.6), "search")
    small = dense_scores(inputs(tasks=("pope",), search_share=0.6, search_limit=4), "search")
    matched = large.matching(small)
    assert matched.tasks["pope"].image_ids == small.tasks["pope"].image_ids
    assert len(small.tasks["pope"].doc_ids) == 4 < len(large.tasks["pope"].doc_ids)
    np.testing.assert_array_equal(matched.tasks["pope"].scores, small.tasks["pope"].scores)


def test_captions_are_compared_on_the_images_that_were_scored_together(inputs) -> None:
    """CIDEr weighs words by the images that have them, so a prefix of a larger run will not do."""
    task = "coco2017_cap_val"
    if task not in _scorable():
        pytest.skip("this machine cannot score captions")
    trial = inputs(tasks=(task, "pope"), search_share=0.6)
    whole, fewer = (dense_scores(trial, "search", captions_limit=n) for n in (None, 2))
    small = dense_scores(inputs(tasks=(task,), search_share=0.6, search_limit=2), "search")
    assert fewer.tasks[task].doc_ids == small.tasks[task].doc_ids == (0, 1)
    assert len(whole.tasks[task].doc_ids) > 2
    assert fewer.tasks["pope"].doc_ids == whole.tasks["pope"].doc_ids
    assert len(builds(trial.store, "dense-scores")) == 3  # captions twice, POPE once


def test_scores_of_the_dense_base_are_kept_by_data_and_code(
    inputs, data_folder: Path, tmp_path: Path
) -> None:
    def scored(**evaluation) -> int:
        trial = inputs(tasks=("ai2d",), **evaluation)
        dense_scores(trial, "search")
        return len(builds(trial.store, "dense-scores"))

    assert scored() == scored() == 1
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(data_folder / "ai2d", elsewhere / "ai2d")
    assert scored(data_folder=str(elsewhere)) == 1  # the same content in another place
    card = json.loads((elsewhere / "ai2d" / CARD).read_text())
    card["files"]["questions.parquet"]["sha256"] = "0" * 64
    (elsewhere / "ai2d" / CARD).write_text(json.dumps(card))
    assert scored(data_folder=str(elsewhere)) == 2
    assert scored(subset_seed=1) == 3
    assert scored(search_share=0.3) == 4
    assert scored(max_new_tokens=2) == 5
