"""Inputs of trials that load nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainables.common.store import Store
from trainables.models.dense import DenseModel
from trainables.models.families.llava import LLAVA_LLAMA
from trainables.recovery.data.conversations import Conversation, ConversationData
from trainables.specs import ImportanceSpec, Method, ModelSpec, PruningSpec, Seeds, TrialSpec
from trainables.trial.inputs import Inputs


@pytest.fixture
def inputs(
    make_llava: Callable[..., Any], batch: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Inputs]:
    """A function that makes the inputs of a trial with these pruning settings."""
    model, store = make_llava(layers=2), Store(tmp_path / "store")
    shape = LLAVA_LLAMA.language_shape(model.config.to_dict())
    dense = DenseModel(model, None, LLAVA_LLAMA, shape, {"weights": "w"}, tmp_path, ModelSpec())
    data = ConversationData((Conversation("a", (), (("q", "a"),)),) * 3, (), "d")
    monkeypatch.setattr("trainables.trial.plan.calibration_batches", lambda inputs: [batch])

    def make(method: Method, seed: int = 0, preset: Any = None, **importance: Any) -> Inputs:
        pruning = PruningSpec(
            method=method, preset=preset, ratio=0.3, importance=ImportanceSpec(**importance)
        )
        spec = TrialSpec(pruning=pruning, seeds=Seeds(calibration=seed))
        return Inputs(spec, store, dense, data)

    return make
