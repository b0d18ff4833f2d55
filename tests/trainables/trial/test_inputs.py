"""Which trials share importance scores through the store."""

from __future__ import annotations

import contextlib
import functools

import numpy as np
import pytest

from trainables.common.store import Store
from trainables.models.dense import DenseModel
from trainables.models.families.llava import LLAVA_LLAMA
from trainables.records.score_table import ScoreTable, TaskSamples
from trainables.recovery.data.conversations import Conversation, ConversationData
from trainables.specs import (
    EvaluationSpec,
    ImportanceSpec,
    ModelSpec,
    PruningSpec,
    Seeds,
    TrialSpec,
)
from trainables.trial.evaluate import dense_scores
from trainables.trial.inputs import Inputs
from trainables.trial.plan import importance_scores


@pytest.fixture
def inputs(make_llava, batch, monkeypatch, tmp_path):
    """A function that makes the inputs of a trial with these pruning settings."""
    model, store = make_llava(layers=2), Store(tmp_path / "store")
    shape = LLAVA_LLAMA.language_shape(model.config.to_dict())
    dense = DenseModel(model, None, LLAVA_LLAMA, shape, "w", tmp_path, ModelSpec())
    data = ConversationData((Conversation("a", (), (("q", "a"),)),) * 3, (), "d")
    monkeypatch.setattr("trainables.trial.plan.calibration_batches", lambda inputs: [batch])

    def make(method, seed=0, preset=None, **importance):
        pruning = PruningSpec(
            method=method, preset=preset, ratio=0.3, importance=ImportanceSpec(**importance)
        )
        spec = TrialSpec(pruning=pruning, seeds=Seeds(calibration=seed))
        return Inputs(spec, store, dense, data)

    return make


def _passes(inputs):
    return len(inputs.store.builds("importance"))


def test_a_criterion_is_scored_once_for_all_methods_and_idle_settings(inputs):
    deep = importance_scores(inputs("layerwise"))
    importance_scores(inputs("layerwise", taylor="per_sample", groups="magnitude"))
    assert _passes(inputs("layerwise")) == 1
    wide = importance_scores(inputs("widthwise"))
    both = importance_scores(inputs("hybrid"))
    assert _passes(inputs("layerwise")) == 2
    np.testing.assert_array_equal(both.block, deep.block)
    np.testing.assert_array_equal(both.heads, wide.heads)
    assert both.metadata.method == "hybrid"
    by_taylor = importance_scores(inputs("layerwise", layers="taylor", tokens="image"))
    assert _passes(inputs("layerwise")) == 2
    sums = wide.heads.sum(axis=1) + wide.neurons.sum(axis=1)
    np.testing.assert_allclose(by_taylor.block, sums, rtol=1e-6)


@pytest.mark.parametrize(
    "other",
    [{"seed": 1}, {"samples": 3}, {"tokens": "text"}, {"distance": "angular"}, {"preset": "study"}],
)
def test_what_changes_layer_scores_is_scored_anew(inputs, other):
    importance_scores(inputs("layerwise"))
    scores = importance_scores(inputs("layerwise", **other))
    assert _passes(inputs("layerwise")) == 2
    assert scores.metadata.seed == other.get("seed", 0)
    assert (scores.metadata.weights_digest, scores.metadata.data_digest) == ("w", "d")


def test_scores_without_data_do_not_depend_on_the_calibration(inputs):
    for seed, samples in ((0, 8), (1, 16)):
        importance_scores(inputs("widthwise", groups="magnitude", seed=seed, samples=samples))
    assert _passes(inputs("widthwise")) == 1
    for seed, samples in ((0, 8), (0, 16), (1, 16)):
        importance_scores(inputs("widthwise", groups="random", seed=seed, samples=samples))
    assert _passes(inputs("widthwise")) == 3


def test_fewer_conversations_than_asked(inputs, monkeypatch):
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"importance.samples=4, but the data has only 3"):
        importance_scores(inputs("layerwise", samples=4))


def answered_by(monkeypatch, answer):
    """Let `answer` stand for the evaluation of public tasks of which there is no copy."""
    monkeypatch.setattr("trainables.trial.evaluate.score_tasks", answer)
    monkeypatch.setattr("trainables.trial.inputs.public_files", lambda *_: {})
    monkeypatch.setattr("trainables.trial.inputs.write_task_files", lambda data, split, *_: _[0])
    monkeypatch.setattr(Inputs, "task_version", lambda self, task, split: "1")


def test_scores_without_images_have_a_place_of_their_own(inputs, monkeypatch):
    """Asked for twice each, with and without images: two evaluations, each with its own limit."""
    asked = []

    def answer(model, processor, request, *, keep, **_):
        def score():
            asked.append((request.limit, request.blank_images))
            rows = TaskSamples((0,), ("i",), np.array([float(request.limit)]), np.ones(1), ("yes",))
            return ScoreTable({"pope": rows})

        return keep("pope", score)

    answered_by(monkeypatch, answer)
    trial = inputs("layerwise")
    settings = EvaluationSpec(tasks=("pope",), search_limit=50, blank_image_limit=20)
    spec = trial.spec.model_copy(update={"evaluation": settings})
    trial = Inputs(spec, trial.store, trial.dense, trial.data)
    for _ in range(2):
        assert dense_scores(trial, "search").average == 50
        assert dense_scores(trial, "search", blank_images=True).average == 20
    assert asked == [(50, False), (20, True)]


def test_a_task_that_crashed_leaves_the_dense_scores_of_the_others(inputs, monkeypatch):
    """Each task has an entry of its own, so only the one that crashed is asked again."""
    asked = []

    def answer(model, processor, request, *, keep, **_):
        def score(task):
            asked.append(task)
            if task == "gqa" and asked.count("gqa") == 1:
                raise RuntimeError("no such column")
            rows = TaskSamples((0,), ("i",), np.array([60.0]), np.ones(1), ("yes",))
            return ScoreTable({task: rows})

        tables = {}
        for task in request.tasks:
            with contextlib.suppress(RuntimeError):
                tables |= keep(task, functools.partial(score, task)).tasks
        return ScoreTable(tables)

    answered_by(monkeypatch, answer)
    trial = inputs("layerwise")
    settings = EvaluationSpec(tasks=("pope", "gqa"))
    spec = trial.spec.model_copy(update={"evaluation": settings})
    trial = Inputs(spec, trial.store, trial.dense, trial.data)
    assert list(dense_scores(trial, "search").tasks) == ["pope"]
    assert list(dense_scores(trial, "search").tasks) == ["pope", "gqa"]
    assert asked == ["pope", "gqa", "gqa"]
