"""What ends a run that cannot go on: one line that says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from ray.exceptions import OutOfMemoryError

from sweeps.engine.ended import EndedError
from sweeps.engine.run.runner import _told
from sweeps.engine.spec.ledger import Ledger


def test_memory_that_ran_out_is_said_in_one_line(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "demo")
    ledger.trials.mkdir(parents=True)
    said = r"ran out \(22 of 23 GB were used\).*slots=1"
    with pytest.raises(EndedError, match=said) as told, _told(ledger):
        raise RuntimeError("as Tune wraps it") from OutOfMemoryError("22 of 23 GB were used\nOther")
    assert "\n" not in str(told.value)
    with pytest.raises(RuntimeError, match="a bug of ours"), _told(ledger):
        raise RuntimeError("a bug of ours")
