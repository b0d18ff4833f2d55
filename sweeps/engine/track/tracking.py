"""The MLflow mirror of a sweep: one parent run, one nested run per trial; the driver alone writes.

Everything here is derived from the ledger and can be thrown away: `Mirror.sync` may be called
after every trial, after a crash or on an empty store, and leaves the same runs. A child run is
found by its tag `trial_id`, never made twice, and written again only when its record or report has
changed. What a child run holds is in `run_values.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.answers.side_by_side import Answers
from analysis.frontier import Frontier, find_frontier
from analysis.load import Trial
from analysis.tables import frontier_table
from sweeps.engine.track.answer_table import log_answers
from sweeps.engine.track.run_values import (
    metrics,
    milliseconds,
    trial_metrics,
    trial_params,
    trial_state,
    trial_tags,
)
from sweeps.engine.track.saved_view import KIND, view_link, view_tags
from sweeps.engine.track.store import default_uri, open_store

if TYPE_CHECKING:
    from mlflow.entities import Experiment, Run, RunTag

STATUS = {"completed": "FINISHED", "early_stopped": "KILLED", "failed": "FAILED"}
STATE = "prunesweep.mirrored"  # digest of what a child run was last written from
METRICS_PER_BATCH = 1000  # MLflow refuses larger ones
RUNS_PER_PAGE = 100  # a page of 1,000 takes a server longer than a request may

NOTE = """\
**{question}**

{done} completed, {stopped} early-stopped, {failed} failed.

{table}

The artifacts of this run show the same frontier: `frontier.html` (interactive), `.png`, `.csv`.
`answers_table.json` shows a handful of questions with their pictures and what each model answered.

Charts of the trials are in the experiment's *Views*: [all trials]({link}), or the frontier alone.
"""


class Mirror:
    """Writes a sweep's trials to MLflow.

    Args:
        storage: folder that holds the sweeps; the default database `mlflow.db` and `mlartifacts/`
            lie in it.
        sweep: name of the sweep, and of its MLflow experiment.
        tracking_uri: an MLflow server or store; None is SQLite in `storage`.
    """

    def __init__(self, storage: Path, sweep: str, tracking_uri: str | None = None) -> None:
        self.storage = Path(storage).resolve()
        self.sweep = sweep
        self.tracking_uri = tracking_uri or default_uri(self.storage)
        if tracking_uri is None:
            self.storage.mkdir(parents=True, exist_ok=True)
        self.written = 0  # rises with every step of a sync
        self._client = open_store(self.tracking_uri)
        self._local = tracking_uri is None
        self._metrics: set[str] = set()  # names of those that were written
        self._parent: str | None = None
        self._experiment: Experiment | None = None

    def sync(
        self,
        trials: Sequence[Trial],
        question: str,
        files: Sequence[Path] = (),
        finished: bool = False,
        more: str = "",
        answers: Answers | None = None,
    ) -> None:
        """Bring the runs up to date with `trials`.

        Whatever was deleted in MLflow since the last call is restored, or made again.

        Args:
            trials: every trial of the sweep that has a record.
            question: of the sweep; it heads the parent's note.
            files: artifacts for the parent, e.g. `FrontierFiles.paths`.
            finished: the sweep has ended: the parent is marked FINISHED.
            more: markdown that the parent's note ends with.
            answers: a table of answers for the parent, with the pictures of the sweep's folder.
        """
        self._parent = self._experiment = None  # as MLflow has them now
        frontier = find_frontier(trials)
        parent = self.parent_id(trials)
        runs = self._children()
        for trial in trials:
            self._write_trial(trial, runs.get(trial.trial_id), parent, frontier)
            self.written += 1
        self._write_views(trials, runs, frontier)
        self._write_parent(parent, trials, question or self.sweep, frontier, finished, more)
        for path in files:
            self._client.log_artifact(parent, str(path))
            self.written += 1
        if answers is not None:
            log_answers(self._client, parent, answers, self.storage / self.sweep)

    @property
    def experiment(self) -> Experiment:
        """The sweep's experiment, which is made when there is none."""
        if self._experiment is None:
            found = self._client.get_experiment_by_name(self.sweep)
            if found is None:
                folder = self.storage / "mlartifacts" / self.sweep
                place = folder.as_uri() if self._local else None
                self._client.create_experiment(self.sweep, place)
                found = self._client.get_experiment_by_name(self.sweep)
            elif found.lifecycle_stage == "deleted":
                self._client.restore_experiment(found.experiment_id)
            self._experiment = found
        return self._experiment

    @property
    def experiment_id(self) -> str:
        """Id of the sweep's experiment, which is made when there is none."""
        return str(self.experiment.experiment_id)

    @property
    def link(self) -> str:
        """Address of the page with the trials."""
        return view_link(self.tracking_uri, self.experiment_id)

    def parent_id(self, trials: Sequence[Trial] = ()) -> str:
        """Id of the sweep's parent run, which is made when there is none."""
        if self._parent is None:
            query = f"tags.sweep = '{self.sweep}' and tags.role = 'parent'"
            found = self._client.search_runs([self.experiment_id], query, max_results=1)
            run = (
                found[0]
                if found
                else self._client.create_run(
                    self.experiment_id,
                    start_time=_begun(trials),
                    tags={"sweep": self.sweep, "role": "parent"},
                    run_name=self.sweep,
                )
            )
            self._parent = run.info.run_id
        return self._parent

    def _children(self) -> dict[str, Run]:
        """The trials' runs by trial id, those of a parent that was deleted among them."""
        query = "tags.trial_id != ''"
        runs: dict[str, Run] = {}
        token = None
        while True:
            page = self._client.search_runs(
                [self.experiment_id], query, max_results=RUNS_PER_PAGE, page_token=token
            )
            runs |= {run.data.tags["trial_id"]: run for run in page}
            self.written += 1
            token = page.token
            if not token:
                return runs

    def _write_trial(self, trial: Trial, run: Run | None, parent: str, frontier: Frontier) -> None:
        """Make or update the trial's run; if it is current, only its place may change."""
        record = trial.record
        on_front = "true" if trial.trial_id in frontier.trial_ids else "false"
        place = {"frontier": on_front, "mlflow.parentRunId": parent}
        state = trial_state(trial)
        if run is not None and run.data.tags.get(STATE) == state:
            for tag, value in place.items():
                if run.data.tags.get(tag) != value:
                    self._client.set_tag(run.info.run_id, tag, value)
            return
        if run is None:
            run = self._client.create_run(
                self.experiment_id,
                start_time=milliseconds(record.provenance.started),
                tags={"mlflow.parentRunId": parent, "trial_id": trial.trial_id},
                run_name=f"{trial.label} [{trial.trial_id}]",
            )
        run_id = run.info.run_id
        found = trial_metrics(trial)
        self._metrics.update(metric.key for metric in found)
        for start in range(0, len(found), METRICS_PER_BATCH):
            self._client.log_batch(run_id, metrics=found[start : start + METRICS_PER_BATCH])
        ended = milliseconds(record.provenance.finished)
        self._client.set_terminated(run_id, STATUS[record.status], ended)
        # The state goes in last: after a crash before it, the next sync writes this run again.
        marks = {**trial_tags(trial), **place, STATE: state}
        self._client.log_batch(run_id, params=trial_params(trial), tags=_tags(marks))

    def _write_views(
        self, trials: Sequence[Trial], runs: Mapping[str, Run], frontier: Frontier
    ) -> None:
        """The experiment's kind, and its views where they would show something else by now."""
        held = self.experiment.tags
        names = self._metrics.union(*(run.data.metrics for run in runs.values()))
        tags = view_tags(trials, frontier, names, _begun(trials) or 0)
        kind, ours = KIND
        if held.get(kind, "_inferred").endswith("_inferred"):  # the page's guess, not a choice
            tags[kind] = ours
        for key, value in tags.items():
            if held.get(key) != value:
                self._client.set_experiment_tag(self.experiment_id, key, value)

    def _write_parent(
        self,
        parent: str,
        trials: Sequence[Trial],
        question: str,
        frontier: Frontier,
        finished: bool,
        more: str,
    ) -> None:
        own: list[str] = [t.record.status for t in trials if not t.is_reference]
        done, stopped, failed = (own.count(state) for state in STATUS)
        table = frontier_table(frontier).markdown().strip()
        note = NOTE.format(
            question=question,
            done=done,
            stopped=stopped,
            failed=failed,
            table=table,
            link=self.link[self.link.index("#") :],  # on whatever server shows it
        )
        note += f"\n{more}" if more else ""
        values = {
            "trials/completed": done,
            "trials/failed": failed,
            "hypervolume": frontier.hypervolume,
            "hypervolume_share": frontier.hypervolume_share,
        }
        ends = (milliseconds(t.record.provenance.finished) for t in trials)
        when = max((e for e in ends if e is not None), default=0)
        # The step rises with the ledger, so the value that MLflow shows is that of the last sync.
        step = len(trials) + sum(t.report is not None for t in trials)
        self._client.log_batch(
            parent,
            metrics=metrics(values, when, step),
            tags=_tags({"mlflow.note.content": note, "question": question}),
        )
        if finished:
            self._client.set_terminated(parent, "FINISHED")
        else:
            self._client.update_run(parent, status="RUNNING")


def _begun(trials: Sequence[Trial]) -> int | None:
    """When the first trial started, in milliseconds since 1970; None where no record says."""
    starts = (milliseconds(t.record.provenance.started) for t in trials)
    return min((s for s in starts if s is not None), default=None)


def _tags(values: Mapping[str, str]) -> list[RunTag]:
    from mlflow.entities import RunTag

    return [RunTag(key, value) for key, value in values.items()]
