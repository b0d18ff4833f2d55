"""What the closing pass measures when nothing else runs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trainables.efficiency.latency import measure_latency
from trainables.models.dense import load_dense
from trainables.models.families.registry import EMBEDDED
from trainables.records import LOG
from trainables.specs import EfficiencySpec, ModelSpec
from trainables.trial import closing
from trainables.trial.jobs import LatencyJob

SPEC = EfficiencySpec(prompt_tokens=5, new_tokens=3, latency_repeats=3, latency_batch=2)


@pytest.fixture
def inputs(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Those of a trial whose student is the embedded model itself."""
    model = ModelSpec(path=EMBEDDED)
    dense = load_dense(model)
    monkeypatch.setattr(closing, "load_plan", lambda folder: None)
    monkeypatch.setattr(closing, "finished_student", lambda inputs, plan, folder: dense.model)
    return SimpleNamespace(dense=dense, spec=SimpleNamespace(efficiency=SPEC, model=model))


def test_latency_of_both_batches(inputs: Any, tmp_path: Path) -> None:
    quiet = closing._quiet(inputs, tmp_path)
    assert quiet.latency is not None
    assert quiet.batched is not None
    assert (quiet.latency.batch, quiet.batched.batch) == (1, 2)
    assert quiet.memory is None, "on a CPU nothing is measured; the record holds what is computed"
    assert not (tmp_path / LOG).exists()


def test_what_does_not_fit_leaves_the_rest(
    inputs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(*args: Any) -> Any:
        if args[-1] == 2:
            raise RuntimeError("out of memory")
        return measure_latency(*args)

    monkeypatch.setattr(closing, "measure_latency", measure)
    quiet = closing._quiet(inputs, tmp_path)
    assert quiet.latency is not None
    assert quiet.batched is None
    assert (tmp_path / LOG).read_text() == "batched latency was not measured: out of memory\n"


def test_no_batch_no_batched_latency(inputs: Any, tmp_path: Path) -> None:
    inputs.spec.efficiency = SPEC.model_copy(update={"latency_batch": None})
    assert closing._quiet(inputs, tmp_path).batched is None


def test_a_student_that_cannot_be_made_leaves_the_others_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[Path] = []

    def close(folder: Path, store: Any) -> None:
        if folder.name == "a":
            raise ValueError("bitsandbytes is missing")
        closed.append(folder)

    monkeypatch.setattr(closing, "_close", close)
    folders = (tmp_path / "a", tmp_path / "b")
    with pytest.raises(ValueError, match="bitsandbytes is missing"):
        closing.measure_quietly(LatencyJob(folders=folders, store=tmp_path, attempt="x"))
    assert closed == [tmp_path / "b"]
