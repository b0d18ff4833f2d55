"""The agenda and the halving as Ray Tune sees them: a `Searcher` and a `TrialScheduler`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from sweeps.engine import __version__
from sweeps.engine.run.progress import View
from sweeps.engine.run.shares import Shares
from sweeps.engine.search.agenda import WAIT, Agenda, Job
from sweeps.engine.search.halving import Halving
from sweeps.engine.search.rungs import goes_on
from sweeps.engine.track.mirroring import MirrorThread
from trainables.common.attempts import claim, new_attempt
from trainables.common.copies import pull, remove, url_of
from trainables.common.files import write_json
from trainables.common.provenance import now
from trainables.records import RECORD, STAGE, Provenance, TrialRecord
from trainables.trial.jobs import TrialJob, folders_of


class AgendaSearcher(Searcher):
    """Hands the agenda's jobs to Tune, and makes sure that every ended trial has a record."""

    def __init__(
        self, agenda: Agenda, view: View, mirror: MirrorThread, shares: Shares, first: Any
    ) -> None:
        super().__init__()
        self._agenda, self._view, self._mirror, self._shares = agenda, view, mirror, shares
        self._first = first
        self._jobs: dict[str, tuple[str, Job]] = {}
        self._started: dict[str, str] = {}

    def suggest(self, trial_id: str) -> Any:
        """The next job as a Tune config; None to wait; FINISHED at the end."""
        item, self._first = self._first or self._agenda.next(), None
        if item is None:
            return Searcher.FINISHED
        if item == WAIT:
            return None
        job_id, job = item
        if (each := self._shares.take(job_id, job, self._agenda.ledger.ended())) is None:
            self._first = item  # until another one ends
            return None
        self._jobs[trial_id] = (job_id, job)
        self._started[trial_id] = now()
        self._view.started(job_id, job, self._agenda.closing_jobs)
        job = job.model_copy(update={"url": url_of(self._agenda.ledger.storage)})
        # As text: Tune keeps several copies of a trial's values for as long as it runs.
        return {"job_id": job_id, "kind": job.kind, "job": job.model_dump_json(), "each": each}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Close the job; a trial whose process died gets a failed record here."""
        job_id, job = self._jobs.pop(trial_id)
        self._shares.give_back(job_id)
        started = self._started.pop(trial_id)
        message = (result or {}).get("error")
        if error:
            message = "the trial process died (killed, or out of memory); see log.txt of the trial"
        record = None
        try:
            if (result or {}).get("storage"):
                raise OSError(message)
            for folder in folders_of(job):
                pull(folder)
            if isinstance(job, TrialJob):
                record = self._recorded(job, message, started)
                message = record.error
        except OSError as error:
            self._agenda.storage_error = error
        self._agenda.ended(job_id, failed=message is not None)
        self._view.ended(job_id, job, record, message)
        self._mirror.wake()

    def _recorded(self, job: TrialJob, message: str | None, started: str) -> TrialRecord:
        """The trial's record, which is written here if its process could not."""
        ledger, attempt = self._agenda.ledger, new_attempt()
        if ledger.record(job.trial_id) is None:
            ledger.guard()
            claim(job.folder, attempt)  # if its process lives after all, it is refused now
            pull(job.folder)
        if found := ledger.record(job.trial_id):
            return found
        provenance = Provenance(
            prunesweep=__version__, attempt=attempt, started=started, finished=now()
        )
        failed = job.record(message or "the trial ended without a record", provenance)
        with suppress(FileExistsError):
            write_json(job.folder / RECORD, failed)
        remove(job.folder / STAGE)
        return ledger.record(job.trial_id) or failed

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger holds everything."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the study is rebuilt from the ledger."""

    def __deepcopy__(self, memo: dict[int, Any]) -> AgendaSearcher:
        return self

    def __getstate__(self) -> dict[str, Any]:  # Tune pickles its configuration for a restore
        return {}


class Restarts(Callback):
    """Says of a trial whose process died that it is started again, from its checkpoint."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def on_trial_recover(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Tune repeats it."""
        self._say(
            f"{trial.config['job_id']}: its process died (killed, or out of memory); it is started "
            "once more."
        )

    def __getstate__(self) -> dict[str, Any]:  # as the searcher: the ledger holds everything
        return {}


class RungScheduler(FIFOScheduler):
    """Stops trials at rungs; all of them once the budget is exceeded."""

    def __init__(self, halving: Halving, exceeded: Callable[[], bool]) -> None:
        super().__init__()
        self._halving, self._exceeded = halving, exceeded

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """STOP for a trial that falls behind at a rung, else CONTINUE."""
        if result.get("kind") != "rung":
            return str(TrialScheduler.CONTINUE)
        job = TrialJob.model_validate_json(trial.config["job"])
        pull(job.folder)
        if goes_on(self._halving, job, result, stop=self._exceeded()):
            return str(TrialScheduler.CONTINUE)
        return str(TrialScheduler.STOP)

    def __deepcopy__(self, memo: dict[int, Any]) -> RungScheduler:
        return self

    def __getstate__(self) -> dict[str, Any]:  # as the searcher: the ledger holds everything
        return {}
