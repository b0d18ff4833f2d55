"""Trials that are run again: which of them count as failed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from analysis.testing import make_trial
from sweeps.engine.ledger import Ledger, Request
from sweeps.engine.repeat import failed_for_good
from trainables.records import RECORD, write_json


@pytest.mark.parametrize(
    ("second", "failed"), [("completed", ["b"]), ("failed", ["a", "b", "c"]), (None, ["a", "b"])]
)
def test_a_trial_that_was_mended_has_not_failed(
    tmp_path: Path, second: Literal["completed", "failed"] | None, failed: list[str]
) -> None:
    """`c` is the second run of `a`."""
    ledger = Ledger(tmp_path, "demo")
    asked = (("a", "k", "failed"), ("b", "other", "failed"), ("c", "k#2", second))
    for index, (name, key, status) in enumerate(asked):
        record = make_trial(name).record
        request = Request(trial_id=name, index=index, origin="designed", key=key, spec=record.spec)
        folder = ledger.add(request)
        if status is not None:
            write_json(folder / RECORD, record.model_copy(update={"status": status}))
    assert failed_for_good(ledger) == failed
