"""How the ledger stands, kept up to date by what the agenda does instead of being read again."""

from collections import Counter
from dataclasses import replace
from typing import Any

from sweeps.engine.search.history import most_telling, standardised
from sweeps.engine.search.observations import Observation, cell_id, observe, outcome
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.ledger import Ledger, Request

KEPT = 500  # ended trials that the sampler may learn from at least; at most twice as many


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
        self._count = 0  # of trials that have ended
        self._observations: dict[str, Observation] = {}  # by trial id, as they were asked for
        self._telling: dict[str, Observation] = {}
        self.keys: set[str] = set()
        self.sampled: Counter[tuple[Any, ...]] = Counter()
        self.unfinished: dict[str, Request] = {}
        for name, request in ledger.requests().items():
            self.add(request)
            self.ended(name)
            if ledger.unfinished(name):
                self.unfinished[name] = request

    @property
    def index(self) -> int:
        """The running number of the next request."""
        return self._ledger.next_index()

    def add(self, request: Request) -> None:
        """Take in a new request."""
        self.keys.add(request.key)
        if request.origin == "sampler":
            self.sampled[cell_id(request.cell)] += 1
        observation = observe(self._space, self._sweep.base_trial, request)
        if observation is not None:
            self._observations[request.trial_id] = observation
            self._telling[request.trial_id] = observation

    def ended(self, trial_id: str) -> None:
        """Take in how a trial ended, if it has a record."""
        record, seen = self._ledger.record(trial_id), self._observations.get(trial_id)
        if record is None or seen is None or seen.state != "running":
            return
        found = replace(seen, ended=self._count, **outcome(record, self._goals))
        self._observations[trial_id] = self._telling[trial_id] = found
        self._count += 1
        self._forget()

    def observations(self) -> list[Observation]:
        """Every trial that teaches something, in the order in which it was asked for."""
        return list(self._observations.values())

    def telling(self) -> list[Observation]:
        """The most telling of them, so that a proposal costs the same however long the sweep is."""
        return list(self._telling.values())

    def _forget(self) -> None:
        ended = [name for name, seen in self._telling.items() if seen.state != "running"]
        if len(ended) < 2 * KEPT:
            return
        objectives, several = self._goals.objectives, [self._telling[name] for name in ended]
        kept = most_telling(several, standardised(several, objectives), objectives, KEPT)
        for name in {*ended} - {ended[place] for place in kept}:
            del self._telling[name]
