"""The MLflow mirror of a sweep: one parent run, one nested run per trial; the driver alone writes.

Everything here is derived from the ledger and can be thrown away: `Mirror.sync` may be called
after every trial, after a crash or on an empty store, and leaves the same runs. A child run is
found by its tag `trial_id`, never made twice, and written again only when its record or report has
changed; what this process has written it does not read again until the sweep ends. What a child run
holds is in `run_values.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.answers.side_by_side import Answers
from analysis.frontier import find_frontier
from analysis.load import Trial
from sweeps.engine.spec.loading import BadInputError
from sweeps.engine.track.answer_table import log_answers
from sweeps.engine.track.experiment_page import write_page
from sweeps.engine.track.parent_run import (
    begun,
    find_parent,
    make_parent,
    with_settings,
    write_parent,
)
from sweeps.engine.track.places import places
from sweeps.engine.track.run_values import (
    METRICS_PER_BATCH,
    batches,
    milliseconds,
    trial_metrics,
    trial_params,
    trial_state,
    trial_tags,
)
from sweeps.engine.track.saved_view import view_link, view_links, view_tags
from sweeps.engine.track.store import (
    check_server,
    default_uri,
    is_database,
    knows_views,
    open_store,
    refuse_foreign,
)
from sweeps.engine.track.sweep_values import sweep_note, sweep_params
from sweeps.engine.track.training_data import training_data
from sweeps.engine.track.trial_files import has_files, log_files, weights_tags

if TYPE_CHECKING:
    from mlflow.entities import Experiment, Run, RunTag

STATUS = {"completed": "FINISHED", "early_stopped": "KILLED", "failed": "FAILED"}
STATE = "prunesweep.mirrored"  # digest of what a child run was last written from
FILES = "prunesweep.files"  # the same of its artifacts
SERVER_FAILED = "INTERNAL_ERROR"  # MLflow's word where no server answers
WRITERS = 4  # to a server, which does one thing while we prepare the next
RUNS_PER_PAGE = 100  # a page of 1,000 takes a server longer than a request may


@dataclass
class _Child:
    """A child run as MLflow has it, or was told to, and the trial that it was written from.

    `started` is in milliseconds since 1970.
    """

    run_id: str
    started: int | None = None
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
        self._given = tracking_uri is not None  # and so perhaps another storage's as well
        if tracking_uri is None:
            self.storage.mkdir(parents=True, exist_ok=True)
        self.written = 0  # rises with every step of a sync
        self._client = open_store(self.tracking_uri)
        check_server(self.tracking_uri)
        self._one_input = threading.Lock()  # a server that gets a data set twice at once fails
        self._local = is_database(self.tracking_uri)
        self._metrics: set[str] = set()  # names of those that were written
        self._children: dict[str, _Child] | None = None  # None: to be looked up
        self._parent: Run | None = None
        self._experiment: Experiment | None = None

    def sync(
        self,
        trials: Sequence[Trial],
        settings: Mapping[str, Any],
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
            settings: of the sweep, as plain data (`sweep.json`); those that are not given are the
                defaults. The question heads the note of the parent and of the experiment.
            files: artifacts for the parent, e.g. `FrontierFiles.paths`.
            finished: the sweep has ended: the parent is marked FINISHED.
            more: markdown that the note ends with.
            answers: a table of answers for the parent, with the pictures of the sweep's folder.
            others: ids of trials of another base, whose runs go to MLflow's trash: its charts would
                show them beside these.
        """
        from mlflow.exceptions import MlflowException

        known = self._children is not None and not finished
        if not known:
            self._children = self._parent = None
        try:
            self._sync(trials, settings, files, finished, more, answers, others)
        except MlflowException as error:
            self._children = self._parent = None
            if not known or error.error_code == SERVER_FAILED:
                raise
            # A run was deleted.
            self._sync(trials, settings, files, finished, more, answers, others)

    def _sync(
        self,
        trials: Sequence[Trial],
        settings: Mapping[str, Any],
        files: Sequence[Path],
        finished: bool,
        more: str,
        answers: Answers | None,
        others: Collection[str],
    ) -> None:
        self._experiment = None  # as MLflow has it now: somebody may have written in it
        if self._children is None:
            self._children = self._look_up()
            if not self._is_ours(trials, others):
                self._children = None
                return
        frontier = find_frontier(trials)
        held = self._parent_run(trials)
        self._parent = with_settings(self._client, held, sweep_params(settings), trials)
        parent = self.parent_id()
        for name in self._children.keys() & set(others):
            self._client.delete_run(self._children.pop(name).run_id)
        children, places_of = self._children, places(trials, frontier)

        def write(trial: Trial) -> None:
            place = {**places_of[trial.trial_id], "mlflow.parentRunId": parent}
            self._write_trial(trial, children, place)
            self.written += 1

        if self._local:  # a SQLite database takes one writer
            for trial in trials:
                write(trial)
        else:
            with ThreadPoolExecutor(WRITERS) as writers:
                list(writers.map(write, trials))
        question = settings.get("question") or self.sweep
        note = sweep_note(question, trials, frontier, view_links(self.experiment_id), more)
        views = view_tags(trials, frontier, self._metrics, begun(trials) or 0)
        write_page(self._client, self.experiment, views, note)
        write_parent(self._client, self._parent, trials, frontier, note, question, finished)
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
        views = knows_views(self.tracking_uri)
        return view_link(self.tracking_uri, self.experiment_id, views=views)

    def parent_id(self, trials: Sequence[Trial] = ()) -> str:
        """Id of the sweep's parent run, which is made when there is none."""
        return str(self._parent_run(trials).info.run_id)

    def _parent_run(self, trials: Sequence[Trial]) -> Run:
        if self._parent is None:
            held = find_parent(self._client, self.experiment_id, self.sweep)
            if held is None:
                refuse_foreign(self._client, self.experiment)
                held = make_parent(self._client, self.experiment_id, self.sweep, trials)
            self._parent = held
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
                child = _Child(run.info.run_id, run.info.start_time, dict(run.data.tags))
                held = found.setdefault(child.tags["trial_id"], child)
                if STATE in child.tags and STATE not in held.tags:  # a copy by hand has no state
                    found[child.tags["trial_id"]] = child
                self._metrics.update(run.data.metrics)
            self.written += 1
            token = page.token
            if not token:
                return found

    def _is_ours(self, trials: Sequence[Trial], others: Collection[str]) -> bool:
        """Whether the runs that were found are this storage's; False while that cannot be told.

        Two storages may hold a sweep of one name and use one server. Their trials have the same
        ids, but did not begin in the same millisecond.

        Raises:
            BadInputError: they are another storage's.
        """
        found = self._children or {}
        if not self._given or not found or found.keys() & set(others):
            return True
        begun_here = {t.trial_id: milliseconds(t.record.provenance.started) for t in trials}
        if any(child.started == begun_here.get(name) for name, child in found.items()):
            return True
        if trials:
            raise BadInputError(
                f"its experiment {self.sweep!r} holds another storage's sweep of this name; rename "
                "this one, or delete that experiment in MLflow"
            )
        return False

    def _write_trial(
        self, trial: Trial, children: dict[str, _Child], place: Mapping[str, str]
    ) -> None:
        """Make or update the trial's run; if it is current, only its place may change."""
        record, filed = trial.record, has_files(trial, place["frontier"] == "true")
        child = children.get(trial.trial_id)
        state = child.tags[STATE] if child and child.holds(trial) else trial_state(trial)
        if child is not None and child.tags.get(STATE) == state:
            child.trial = trial
            marks = {**place, **(self._log_files(child, trial, state) if filed else {})}
            for tag, value in marks.items():
                if child.tags.get(tag) != value:
                    self._client.set_tag(child.run_id, tag, value)
                    child.tags[tag] = value
            return
        if child is None:
            run = self._client.create_run(
                self.experiment_id,
                start_time=milliseconds(record.provenance.started),
                tags={
                    "mlflow.parentRunId": place["mlflow.parentRunId"],
                    "trial_id": trial.trial_id,
                },
                run_name=f"{trial.label} [{trial.trial_id}]",
            )
            child = children[trial.trial_id] = _Child(run.info.run_id, run.info.start_time)
        found = trial_metrics(trial)
        self._metrics.update(metric.key for metric in found)
        *first, last = batches(found, METRICS_PER_BATCH)
        for batch in first:
            self._client.log_batch(child.run_id, metrics=batch)
        if data := training_data(trial):
            with self._one_input:
                self._client.log_inputs(child.run_id, data)
        ended = milliseconds(record.provenance.finished)
        self._client.set_terminated(child.run_id, STATUS[record.status], ended)
        marks = {**trial_tags(trial), **place}
        marks |= self._log_files(child, trial, state) if filed else {}
        # The state goes in last: after a crash before it, the next sync writes this run again.
        tags = _tags({**marks, STATE: state})
        self._client.log_batch(child.run_id, metrics=last, params=trial_params(trial), tags=tags)
        child.tags.update(marks, **{STATE: state})
        child.trial = trial

    def _log_files(self, child: _Child, trial: Trial, state: str) -> dict[str, str]:
        """The tags of a run that has its files, which it gets unless it has them."""
        if child.tags.get(FILES) == state:
            return {}
        log_files(self._client, child.run_id, trial)
        return {**weights_tags(trial), FILES: state}


def _tags(values: Mapping[str, str]) -> list[RunTag]:
    from mlflow.entities import RunTag

    return [RunTag(key, value) for key, value in values.items()]
