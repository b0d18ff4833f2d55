"""Drivers that come, sleep, take over and leave in any order: one of them may write."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from sweeps.engine.run.lock import HeldSweep as Held
from sweeps.engine.run.lock import TakenOverError
from trainables.common.lease import Lease, latest, next_lease


class Sweep(RuleBasedStateMachine):
    """Each driver has looked at the lease at some time, and acts on what it saw then."""

    looks = Bundle("looks")
    drivers = Bundle("drivers")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.holder: Held | None = None
        self.held: list[Held] = []

    @rule(target=looks)
    def look(self) -> tuple[Lease | None]:
        return (latest(self.folder),)

    @rule(target=drivers, seen=looks)
    def take(self, seen: tuple[Lease | None]) -> Held | None:
        """Whoever saw an older lease than the latest one is too late."""
        (before,) = seen
        now = latest(self.folder)
        mine = next_lease(self.folder, before)
        same = (before and before.number) == (now and now.number)
        assert (mine is not None) == same
        if mine is None:
            return None
        self.holder = Held(self.folder, mine, lambda: None, lambda why: None)
        self.held.append(self.holder)
        return self.holder

    @rule(driver=drivers)
    def renew(self, driver: Held | None) -> None:
        if driver is not None:
            driver._write(beat=1)

    @rule(driver=drivers)
    def leave(self, driver: Held | None) -> None:
        if driver is not None:
            driver._write(ended=True)

    @invariant()
    def the_last_one_may_write_and_no_other(self) -> None:
        for driver in self.held:
            if driver is self.holder:
                driver.check()
            else:
                with pytest.raises(TakenOverError):
                    driver.check()


TestSweep = Sweep.TestCase
TestSweep.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
