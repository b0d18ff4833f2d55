"""How the ledger stands, kept up to date by what the agenda does instead of being read again."""

from collections import Counter
from dataclasses import replace
from typing import Any

from sweeps.engine.search.observations import Observation, cell_id, observe, outcome
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.ledger import Ledger, Request


class Standing:
    """What is known of a sweep's trials while one agenda alone adds to its ledger.

    Attributes:
        keys: the keys of all requests.
        sampled: sampled trials by cell (`cell_id`).
        unfinished: requests without a record that nobody is working on, oldest first.
    """

    def __init__(self, ledger: Ledger, sweep: SweepSpec) -> None:
        self._ledger, self._sweep, self._space = ledger, sweep, sweep.search_space
        self._goals = sweep.goals
        self._observations: dict[str, Observation] = {}  # by trial id, as they were asked for
        self.keys: set[str] = set()
        self.sampled: Counter[tuple[Any, ...]] = Counter()
        self.unfinished: dict[str, Request] = {}
        for name, request in ledger.requests().items():
            self.add(request)
            if ledger.record(name) is None:
                self.unfinished[name] = request

    @property
    def index(self) -> int:
        """The running number of the next request."""
        return len(self._ledger.seen())

    def add(self, request: Request) -> None:
        """Take in a new request."""
        self.keys.add(request.key)
        if request.origin == "sampler":
            self.sampled[cell_id(request.cell)] += 1
        observation = observe(self._space, self._sweep.base_trial, request)
        if observation is not None:
            self._observations[request.trial_id] = observation

    def observations(self) -> list[Observation]:
        """What the sampler may learn from, in the order in which it was asked for."""
        for name, seen in self._observations.items():
            record = self._ledger.record(name) if seen.state == "running" else None
            if record is not None:
                self._observations[name] = replace(seen, **outcome(record, self._goals))
        return list(self._observations.values())
