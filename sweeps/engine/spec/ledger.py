"""The ledger of one sweep: `<storage>/<sweep>/trials/<id>/{spec,record,report}.json`.

It is the only truth. A request is written when a trial starts, its record (by the trial, in one
step) when it ends; everything else is derived from these files.
"""

import functools
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field

from analysis.bases import BASES, CONVERSATIONS, Base, Bases, read_bases
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.own_space import own_factors
from trainables.common.files import (
    DamagedError,
    pass_over,
    read_if_sound,
    read_json,
    reading_many,
    write_json,
)
from trainables.records import RECORD, REPORT, REQUEST, SWEEP, ClosingReport, TrialRecord
from trainables.specs import Frozen, Origin, TrialSpec
from trainables.trial.jobs import Caches

REFERENCE_ID = "dense"
M = TypeVar("M", bound=BaseModel)
Drawn = Literal["startup", "model", "random", "source", "rest"]


class Request(Frozen):
    """What was asked for: the content of `spec.json`.

    Attributes:
        trial_id: name of the trial's folder.
        index: running number; with the sweep's seed it seeds the sampler.
        key: what the trial resolves to; requests with the same key are the same trial.
        cell: levels of the stratified factors.
        params: the searched factors, as Optuna knows them.
        base: place of its base among those of the sweep (see `analysis.bases`).
        drawn: how a sampled trial was chosen: at random because too little was known (`startup`),
            by the sampler's `model`, because the sampler is `random`, as a good point of a
            `source` that the sweep learns from, or at random from the `rest`, since all that the
            model proposed was known. None in older ledgers, and for what no
            sampler chose.
        caches: what its `auto` settings stand for, decided when it was asked.
    """

    trial_id: str
    index: int
    origin: Origin
    key: str
    cell: dict[str, Any] = Field(default_factory=dict)
    params: dict[str, Any] = Field(default_factory=dict)
    spec: TrialSpec
    base: int = 0
    drawn: Drawn | None = None
    caches: Caches = Caches()

    @property
    def first_key(self) -> str:
        """The key of the trial that was run first, of which this may be a rerun."""
        return self.key.partition("#")[0]

    @property
    def own_factors(self) -> dict[str, Any]:
        """Its factors that the sweep brings itself, those of its cell among them."""
        return own_factors({**self.cell, **self.params})


class Ledger:
    """Reads and extends the ledger of one sweep; finished records are kept in memory.

    Attributes:
        damaged: by the id of a trial whose request or record cannot be read, what to say of it.
        guard: raises when the sweep is another run's by now; asked before anything is written.
    """

    def __init__(self, storage: Path, sweep: str) -> None:
        self.storage = storage.resolve()
        self.sweep = sweep
        self.folder = self.storage / sweep
        self.trials = self.folder / "trials"
        self.store = self.storage / "store"
        self._requests: dict[str, Request] = {}
        self._records: dict[str, TrialRecord] = {}
        self.damaged: dict[str, str] = {}
        self.guard: Callable[[], None] = lambda: None

    @functools.cached_property
    def bases(self) -> Bases:
        """The bases of the sweep; of a ledger without any the one that it shows, if it does."""
        found = read_bases(self.folder)
        return found if found.bases else Bases(bases=tuple(self._first_base()))

    def _first_base(self) -> Iterator[Base]:
        path = self.folder / SWEEP
        if path.exists() and self.requests(every_base=True):
            found = self.records(every_base=True).values()
            read = {r.provenance.data_digest for r in found} - {None}
            known = {CONVERSATIONS: str(*read)} if len(read) == 1 else {}
            with suppress(ValueError):  # a sweep of an older version; its trials are as they are
                yield Base(trial=read_json(path, SweepSpec).trial, contents=known)

    def take(self, base: Base) -> None:
        """From here on the trials of this base count, and no others.

        It takes the place of one that no trial has been asked for.
        """
        held = self.bases
        if held.bases and held.current == len(held.bases) - 1 and not self.requests():
            held = Bases(bases=held.bases[:-1])
        self.bases = held.with_current(base)

    def open(self, sweep: SweepSpec) -> None:
        """Create the folders and write the resolved sweep and the bases.

        Raises:
            OSError: the storage cannot be written.
        """
        self.trials.mkdir(parents=True, exist_ok=True)
        self.store.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / SWEEP, sweep)
        if self.bases.bases:
            write_json(self.folder / BASES, self.bases)

    def requests(self, every_base: bool = False) -> dict[str, Request]:
        """The requests of today's base, or of every one, by id, oldest first."""
        found = os.listdir(self.trials) if self.trials.is_dir() else []
        with reading_many():
            for name in found:
                # Looked at once only: a status asks several times about the same 10,000 folders.
                if name not in self._requests and (request := self._read(name, REQUEST, Request)):
                    self._requests[name] = request
        by_index = sorted(self._requests.items(), key=lambda item: item[1].index)
        return {n: r for n, r in by_index if every_base or r.base == self.bases.current}

    def seen(self) -> Mapping[str, Request]:
        """The requests that were read or added so far, of every base.

        The folder is not looked at again.
        """
        return self._requests

    def next_index(self) -> int:
        """The running number of the next request; damaged ones count, whose ids are taken."""
        return len(self._requests) + sum(name not in self._requests for name in self.damaged)

    def record(self, trial_id: str) -> TrialRecord | None:
        """The record of a trial; None while it has none, and for a `damaged` one."""
        if trial_id not in self._records:
            if (record := self._read(trial_id, RECORD, TrialRecord)) is None:
                return None
            self._records[trial_id] = record
        return self._records[trial_id]

    def unfinished(self, trial_id: str) -> bool:
        """Whether a trial is still to be run, or to be run to its end."""
        return self.record(trial_id) is None and trial_id not in self.damaged

    def ended(self) -> Mapping[str, TrialRecord]:
        """The records that were read so far; the folder is not looked at again."""
        return self._records

    def records(self, every_base: bool = False) -> dict[str, TrialRecord]:
        """The records of today's base, or of every one, by trial id, as they were asked for."""
        names = self.requests(every_base)
        with reading_many():
            return {name: record for name in names if (record := self.record(name))}

    def lost(self) -> list[str]:
        """Ids of trials whose record was read and is gone since."""
        return [name for name in self._records if not (self.trials / name / RECORD).exists()]

    def report(self, trial_id: str) -> ClosingReport | None:
        """The closing report of a trial; None while it has none."""
        return read_if_sound(self.trials / trial_id / REPORT, ClosingReport)

    def add(self, request: Request) -> Path:
        """Write a request and return the trial's folder."""
        self.guard()
        folder = self.trials / request.trial_id
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / REQUEST, request)
        self._requests[request.trial_id] = request
        return folder

    def _read(self, trial_id: str, name: str, model: type[M]) -> M | None:
        try:
            return read_json(f"{self.trials}/{trial_id}/{name}", model)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except DamagedError as error:
            self.damaged[trial_id] = str(error)
            pass_over(error)
            return None
