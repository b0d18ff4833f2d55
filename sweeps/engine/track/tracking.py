"""The MLflow mirror of a sweep: one parent run, one nested run per trial; the driver alone writes.

Everything here is derived from the ledger and can be thrown away: `Mirror.sync` may be called
after every trial, after a crash or on an empty store, and leaves the same runs. A child run is
found by its tag `trial_id`, never made twice, and written again only when its record or report has
changed; what this process has written it does not read again until the sweep ends. What a child run
holds is in `run_values.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
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
from sweeps.engine.track.store import default_uri, is_database, open_store

if TYPE_CHECKING:
    from mlflow.entities import Experiment, RunTag

STATUS = {"completed": "FINISHED", "early_stopped": "KILLED", "failed": "FAILED"}
STATE = "prunesweep.mirrored"  # digest of what a child run was last written from
SERVER_FAILED = "INTERNAL_ERROR"  # MLflow's word where no server answers
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


@dataclass
class _Child:
    """A child run as MLflow has it, or was told to, and the trial that it was written from."""

    run_id: str
    tags: dict[str, str] = field(default_factory=dict)
    trial: Trial | None = None

    def holds(self, trial: Trial) -> bool:
        """Whether it was written from this trial as it stands."""
        own = self.trial
        return own is not None and own.record is trial.record and own.report == trial.report


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
        self._local = is_database(self.tracking_uri)
        self._metrics: set[str] = set()  # names of those that were written
        self._children: dict[str, _Child] | None = None  # None: to be looked up
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
        others: Collection[str] = (),
    ) -> None:
        """Bring the runs up to date with `trials`.

        Whatever was deleted in MLflow is restored, or made again, when it is looked at: at the
        first call, at the end, and when something that is written is gone.

        Args:
            trials: every trial of the sweep's base that has a record.
            question: of the sweep; it heads the parent's note.
            files: artifacts for the parent, e.g. `FrontierFiles.paths`.
            finished: the sweep has ended: the parent is marked FINISHED.
            more: markdown that the parent's note ends with.
            answers: a table of answers for the parent, with the pictures of the sweep's folder.
            others: ids of trials of another base, whose runs go to MLflow's trash: its charts would
                show them beside these.
        """
        from mlflow.exceptions import MlflowException

        known = self._children is not None and not finished
        self._children = self._children if known else None
        try:
            self._sync(trials, question, files, finished, more, answers, others)
        except MlflowException as error:
            self._children = None
            if not known or error.error_code == SERVER_FAILED:
                raise
            # A run was deleted.
            self._sync(trials, question, files, finished, more, answers, others)

    def _sync(
        self,
        trials: Sequence[Trial],
        question: str,
        files: Sequence[Path],
        finished: bool,
        more: str,
        answers: Answers | None,
        others: Collection[str],
    ) -> None:
        self._parent = self._experiment = None  # as MLflow has them now
        frontier = find_frontier(trials)
        parent = self.parent_id(trials)
        if self._children is None:
            self._children = self._look_up()
        for name in self._children.keys() & set(others):
            self._client.delete_run(self._children.pop(name).run_id)
        for trial in trials:
            self._write_trial(trial, self._children, parent, frontier)
            self.written += 1
        self._write_views(trials, frontier)
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

    def _look_up(self) -> dict[str, _Child]:
        """The trials' runs by trial id, those of a parent that was deleted among them."""
        query = "tags.trial_id != ''"
        found: dict[str, _Child] = {}
        token = None
        while True:
            page = self._client.search_runs(
                [self.experiment_id], query, max_results=RUNS_PER_PAGE, page_token=token
            )
            for run in page:
                child = _Child(run.info.run_id, dict(run.data.tags))
                held = found.setdefault(child.tags["trial_id"], child)
                if STATE in child.tags and STATE not in held.tags:  # a copy by hand has no state
                    found[child.tags["trial_id"]] = child
                self._metrics.update(run.data.metrics)
            self.written += 1
            token = page.token
            if not token:
                return found

    def _write_trial(
        self, trial: Trial, children: dict[str, _Child], parent: str, frontier: Frontier
    ) -> None:
        """Make or update the trial's run; if it is current, only its place may change."""
        record = trial.record
        on_front = "true" if trial.trial_id in frontier.trial_ids else "false"
        if trial.trial_id in {point.trial_id for point in frontier.guessing}:
            on_front = "guessing"
        place = {"frontier": on_front, "mlflow.parentRunId": parent}
        child = children.get(trial.trial_id)
        state = child.tags[STATE] if child and child.holds(trial) else trial_state(trial)
        if child is not None and child.tags.get(STATE) == state:
            child.trial = trial
            for tag, value in place.items():
                if child.tags.get(tag) != value:
                    self._client.set_tag(child.run_id, tag, value)
                    child.tags[tag] = value
            return
        if child is None:
            run = self._client.create_run(
                self.experiment_id,
                start_time=milliseconds(record.provenance.started),
                tags={"mlflow.parentRunId": parent, "trial_id": trial.trial_id},
                run_name=f"{trial.label} [{trial.trial_id}]",
            )
            child = children[trial.trial_id] = _Child(run.info.run_id)
        found = trial_metrics(trial)
        self._metrics.update(metric.key for metric in found)
        for start in range(0, len(found), METRICS_PER_BATCH):
            batch = found[start : start + METRICS_PER_BATCH]
            self._client.log_batch(child.run_id, metrics=batch)
        ended = milliseconds(record.provenance.finished)
        self._client.set_terminated(child.run_id, STATUS[record.status], ended)
        # The state goes in last: after a crash before it, the next sync writes this run again.
        marks = {**trial_tags(trial), **place, STATE: state}
        self._client.log_batch(child.run_id, params=trial_params(trial), tags=_tags(marks))
        child.tags.update(marks)
        child.trial = trial

    def _write_views(self, trials: Sequence[Trial], frontier: Frontier) -> None:
        """The experiment's kind, and its views where they would show something else by now."""
        held = self.experiment.tags
        tags = view_tags(trials, frontier, self._metrics, _begun(trials) or 0)
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
