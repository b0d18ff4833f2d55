"""A process that serves one trial after another holds no more after ten than after the first."""

from __future__ import annotations

from collections import Counter
from importlib import import_module
from pathlib import Path

from helpers.alive import alive
from helpers.conversations import write_conversations
from helpers.slot_trials import TRIALS, run_trial


def test_ten_trials_leave_what_one_leaves(tmp_path: Path) -> None:
    import_module("bitsandbytes")  # else pytest keeps its warning, and with it the first trial
    images = tmp_path / "images"
    images.mkdir()
    conversations = write_conversations(images, 16)
    before = alive()  # what other tests of this process hold
    left: list[Counter[str]] = []
    for number, (recovery, ending) in enumerate(TRIALS):
        run_trial(tmp_path / str(number), conversations, recovery, ending)
        left.append(alive())
    more = left[0] - before
    assert more["LlavaForConditionalGeneration"] <= 1, "the dense model, which the slot keeps"
    assert not any("DeepSpeed" in kind or "Adam" in kind for kind in more)
    assert left == left[:1] * len(TRIALS)
