"""A process that serves one trial after another holds no more after ten than after the first."""

from __future__ import annotations

import gc
from collections import Counter
from importlib import import_module
from pathlib import Path

from helpers.alive import alive
from helpers.conversations import write_conversations
from helpers.slot_trials import LORA_2, TRIALS, run_trial
from transformers import LlavaForConditionalGeneration

from trainables.trial.jobs import ReportJob
from trainables.trial.launch import run_job


def test_ten_trials_leave_what_one_leaves(tmp_path: Path) -> None:
    import_module("bitsandbytes")  # else pytest keeps its warning, and with it the first trial
    conversations = _conversations(tmp_path)
    before = alive()  # what other tests of this process hold
    left: list[Counter[str]] = []
    for number, (recovery, ending) in enumerate(TRIALS):
        run_trial(tmp_path / str(number), conversations, recovery, ending)
        left.append(alive())
    more = left[0] - before
    assert more["LlavaForConditionalGeneration"] <= 1, "the dense model, which the slot keeps"
    assert not any("DeepSpeed" in kind or "Adam" in kind for kind in more)
    assert left == left[:1] * len(TRIALS)


def test_a_student_that_was_scored_once_more_goes_before_the_next_one_comes(tmp_path: Path) -> None:
    """Without a wait for Python's own collection, which may come after ten of them."""
    run_trial(tmp_path / "0", _conversations(tmp_path), LORA_2, None)
    job = ReportJob(trial_id="0", folder=tmp_path / "0", store=tmp_path / "store")
    before = alive()["LlavaForConditionalGeneration"]
    gc.disable()
    try:
        left = []
        for _ in range(2):
            assert run_job(job.model_dump(mode="json"))["status"] == "completed"
            kinds = [type(thing) for thing in gc.get_objects()]
            left.append(kinds.count(LlavaForConditionalGeneration))
    finally:
        gc.enable()
    assert left == [before] * 2


def _conversations(folder: Path) -> Path:
    images = folder / "images"
    images.mkdir()
    return write_conversations(images, 16)
