"""What the store gives after a file has changed is what an empty one gives."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.conversations import repaint, write_conversations
from helpers.jobs import few_steps, make_spec

from trainables.common.store import Store
from trainables.models.families.registry import TINY_FOLDER
from trainables.specs import EvaluationSpec, LossSpec, ModelSpec, TrialSpec
from trainables.trial.evaluate import dense_scores
from trainables.trial.inputs import load_inputs
from trainables.trial.plan import importance_scores
from trainables.trial.recover import _hidden_scale


def _config(root: Path) -> None:
    path = root / "model" / "config.json"
    config = json.loads(path.read_text())
    config["text_config"]["rope_parameters"]["rope_theta"] = 100.0
    path.write_text(json.dumps(config))


def _template(root: Path) -> None:
    path = root / "model" / "chat_template.jinja"
    path.write_text("is the circle red ? " + path.read_text())


def _results(spec: TrialSpec, store: Path) -> dict[str, object]:
    inputs = load_inputs(spec, Store(store))
    scores = importance_scores(inputs)
    assert scores is not None
    states = (inputs.dense.shape.num_hidden_layers,)
    return {
        "importance": scores.block.tolist(),
        "hidden scale": _hidden_scale(inputs, inputs.teacher, states),
        "dense": dense_scores(inputs, "search").tasks["tiny_choice"].scores.tolist(),
    }


@pytest.mark.parametrize(
    ("change", "unchanged"), [(_config, set()), (_template, set()), (repaint, {"dense"})]
)
def test_a_store_that_was_filled_before_a_change_gives_what_an_empty_one_gives(
    change: Callable[[Path], None], unchanged: set[str], tmp_path: Path
) -> None:
    shutil.copytree(TINY_FOLDER, tmp_path / "model")
    spec = make_spec(
        write_conversations(tmp_path, 6),
        few_steps(scope="joint", loss=LossSpec(alpha=1.0, gamma=0.5)),
        model=ModelSpec(path=str(tmp_path / "model")),
        evaluation=EvaluationSpec(tasks=("tiny_choice",), search_limit=40),
    )
    before = _results(spec, tmp_path / "store")
    change(tmp_path)
    after = _results(spec, tmp_path / "store")
    assert after == _results(spec, tmp_path / "empty")
    assert {name for name in before if after[name] == before[name]} == unchanged
