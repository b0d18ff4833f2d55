"""Twenty seeded faults upon a sweep, which comes to what an undisturbed one came to.

`make chaos` does the same by the hundred, with every kind of fault.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from chaos.campaign import campaign
from chaos.faults import KINDS

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(1800)]
CHEAP = (
    "kill a trial", "stop a trial and wake it", "hold a trial's lock", "kill the driver", "Ctrl-C",
    "SIGTERM to the driver", "kill the raylet", "kill the GCS", "take the trials away",
)  # fmt: skip
FAULTS = 20
# Three trials are killed, each end of a run comes once; the others are stops and locks.
SEED = 19134


def test_twenty_faults_change_nothing(tmp_path: Path) -> None:
    assert set(CHEAP) < set(KINDS)
    ends = CHEAP[3:]
    found = campaign(tmp_path, FAULTS, SEED, CHEAP)
    assert found.wrong == []
    assert found.done.total() == FAULTS
    assert found.done["kill a trial"] == 3
    assert {name: found.done[name] for name in ends} == dict.fromkeys(ends, 1)
