"""Steps whose loss is not finite, or spikes, change nothing; three in a row end the recovery."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from helpers.recoveries import Killed, Recover, assert_same, cut_and_resumed, trained
from safetensors.torch import load_file

from trainables.records import CHECKPOINT, CURVES
from trainables.recovery.encode.encoder import Encoder
from trainables.specs import Budget


def test_three_bad_steps_in_a_row_name_step_and_samples(run: Recover, dense: Any) -> None:
    weight = dense.model.multi_modal_projector.linear_1.weight
    before = weight.detach().clone()
    weight.data.fill_(float("nan"))
    try:
        with pytest.raises(FloatingPointError, match=r"3 steps in a row.*step 2.*sample-"):
            run("nan", scope="projector")
    finally:
        weight.data.copy_(before)


@pytest.mark.parametrize("stage", [2, 3])
def test_a_step_that_is_not_finite_changes_nothing(
    run: Recover, monkeypatch: pytest.MonkeyPatch, stage: int
) -> None:
    """The second of two batches is poisoned: what is left is the state after the first."""
    settings = {"budget": Budget(steps=2), "micro_batch_size": 4, "zero_stage": stage}

    def kill(*_: Any) -> None:
        raise Killed

    with pytest.raises(Killed):
        run("clean", on_rung=kill, rungs=(0.5,), checkpoint_every_steps=1, **settings)
    whole = Encoder.batch
    seen: list[int] = []

    def poisoned(encoder: Encoder, indices: Any) -> Any:
        batch = whole(encoder, indices)
        seen.append(len(indices))
        if len(seen) == 2 * 2 + 1:  # two passes for the norms at step 0, two for step 0 itself
            batch["pixel_values"] = batch["pixel_values"] * float("nan")
        return batch

    monkeypatch.setattr(Encoder, "batch", poisoned)
    report, folder, _ = run("poisoned", **settings)
    assert report.skipped_steps == 1
    assert report.steps == 2
    after_first = load_file(folder.parent / "clean" / CHECKPOINT)
    stored = trained(folder)
    for name, value in after_first.items():
        kind, _, parameter = name.partition("/")
        if kind == "weight":
            assert torch.equal(stored[parameter.replace(".default.", ".")], value), parameter
    skipped = json.loads((folder / CURVES).read_text().splitlines()[1])
    assert "not finite" in skipped["skipped"]
    assert skipped["ce"] is None
    assert report.last_terms == {} or all(v == v for v in report.last_terms.values())


def test_a_resume_after_a_skipped_step_equals_no_interruption(
    run: Recover, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Encoder.batch
    bad = {int(i) for i in np.random.default_rng((0, 0)).permutation(40)[8:16]}  # not step 0

    def poisoned(encoder: Encoder, indices: Any) -> Any:
        batch = whole(encoder, indices)
        shown = {encoder.data.conversations[int(i)].id for i in indices}
        if poison <= shown:
            batch["pixel_values"] = batch["pixel_values"] * float("nan")
        return batch

    subset = np.random.default_rng(0).permutation(40)
    poison = {f"sample-{subset[i]}" for i in bad}
    monkeypatch.setattr(Encoder, "batch", poisoned)
    settings = {"budget": Budget(steps=5), "checkpoint_every_steps": 3}
    first, a, _ = run("whole", **settings)
    second, b, _ = cut_and_resumed(run, 0.8, **settings)
    assert first.skipped_steps == second.skipped_steps == 1
    assert second.resumed_at_step == 3
    assert_same(a, b)


def test_a_spike_is_skipped_and_counted(run: Recover, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, calls = Encoder.batch, []

    def scrambled(encoder: Encoder, indices: Any) -> Any:
        batch = whole(encoder, indices)
        calls.append(1)
        if len(calls) == 14:  # step 12: one pass each, after the one for the norms
            labels = batch["labels"]
            batch["labels"] = torch.where(labels >= 0, (labels + 7) % 60, labels)
        return batch

    monkeypatch.setattr(Encoder, "batch", scrambled)
    settings = {"budget": Budget(steps=14), "learning_rate": 3e-3}
    report, folder, _ = run("spike", spike_factor=1.5, **settings)
    lines = [json.loads(line) for line in (folder / CURVES).read_text().splitlines()]
    assert [line["step"] for line in lines if "skipped" in line] == [12]
    assert report.skipped_steps == 1
