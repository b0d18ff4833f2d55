"""Runs a sweep: the only user of `tune.Tuner`. Starts, resumes or extends, whichever is due."""

import functools
import itertools
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.frontier import report_candidates
from analysis.load import load_trials
from analysis.output.effect_files import EffectFiles
from analysis.output.frontier_files import FrontierFiles
from sweeps.engine.ended import GOES_ON, EndedError, unwritable
from sweeps.engine.plan.base import base_of, take_base
from sweeps.engine.plan.caches import cache_lines, decide, plan_caches
from sweeps.engine.plan.estimates import conversations_of, local_slots
from sweeps.engine.plan.expectation import Expectation, check_budget
from sweeps.engine.plan.foreseen import keep_forecast
from sweeps.engine.plan.preflight import (
    check_data,
    check_reading,
    check_storage,
    check_sweep,
    check_tasks,
)
from sweeps.engine.plan.probing import known_before
from sweeps.engine.run.cluster import Slots, check_address, has_room, node_resources, ray_for
from sweeps.engine.run.handing_back import ask_for_checkpoints, checkpoints_on_sigterm
from sweeps.engine.run.lock import run_lock
from sweeps.engine.run.orphans import free_orphans
from sweeps.engine.run.progress import View
from sweeps.engine.run.shares import Shares
from sweeps.engine.run.watch import Others, ended_with_ray, give_up
from sweeps.engine.run.written import write_files
from sweeps.engine.search.agenda import Agenda
from sweeps.engine.search.budget import Purse
from sweeps.engine.search.fixed_points import fixed_points, most_confirmations
from sweeps.engine.search.halving import Halving
from sweeps.engine.search.rerun import failed_base, failed_for_good, request_again, restore_requests
from sweeps.engine.search.sources import load_sources
from sweeps.engine.search.space_checks import check_same_space
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.endings import ended_lines
from sweeps.engine.spec.ledger import REFERENCE_ID, Ledger
from sweeps.engine.storage import pulled
from sweeps.engine.track.mirroring import MirrorThread
from sweeps.engine.track.store import check_driver
from trainables.common.names import first_line
from trainables.common.objects import ObjectStoreError
from trainables.trial.launch import clear_up

TUNE = "tune"
HEAD_NODE = "node:__internal_head__"  # of which a trial holds next to nothing


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        completed: trials with a result, the references among them.
        stopped: trials that were stopped early.
        failed: ids of trials of which every run failed, of the last run each.
        closing_failed: ids of jobs of the closing pass that failed.
        lost: ids of trials whose records vanished while the sweep ran.
        damaged: ids of trials that were passed over because a file of theirs cannot be read.
        report: the page on the sweep.
        effects: those of the searched factors, for sweeps that there is an analysis for.
        started: jobs that this run started; 0 when everything was done already.
        link: the page with the trials in MLflow; None when it could not be written.
        mirror_error: why MLflow could not be written; None when it could.
        used_up: what to say of cells that have nothing left to try, and of a budget that is spent.
        base_error: why the dense base has no score, which ended the run; None when it has one.
        left_out: a sentence on trials of another base; empty where there are none.
        sampler_error: what the sampler did wrong, which ended the run; None when nothing.
    """

    completed: int
    stopped: int
    failed: tuple[str, ...]
    closing_failed: tuple[str, ...]
    lost: tuple[str, ...]
    damaged: tuple[str, ...]
    files: FrontierFiles
    report: Path
    effects: EffectFiles | None
    tracking_uri: str
    link: str | None
    started: int
    mirror_error: str | None
    used_up: tuple[str, ...]
    base_error: str | None
    left_out: str
    sampler_error: str | None

    @property
    def whole(self) -> bool:
        """Whether nothing failed, is missing or was passed over."""
        ill = (self.failed, self.closing_failed, self.lost, self.damaged)
        return not any(ill) and self.sampler_error is None


def run_sweep(
    sweep: SweepSpec,
    storage: Path,
    view: View,
    *,
    tracking_uri: str | None = None,
    address: str | None = None,
    new_base: bool = False,
    take_over: bool = False,
    ask: Callable[[Ledger], None] | None = None,
) -> Outcome:
    """Run whatever of the sweep has not been done yet.

    Args:
        sweep: the sweep.
        storage: folder of ledger, store and default MLflow database; shared by all nodes, or the
            copy of an object store (see `storage_folder`).
        view: the terminal.
        tracking_uri: MLflow server or store; None is SQLite in `storage`.
        address: a Ray cluster; None starts Ray on this machine.
        new_base: go on although the sweep's trials started from something else.
        take_over: end whatever run has the sweep, and go on from there.
        ask: adds requests to the ledger, once nobody else runs the sweep.

    Raises:
        BadInputError: the sweep cannot run; nothing was started.
        EndedError: its folder can no longer be written, or a machine ran out of memory.
        TakenOverError: another run took the sweep over.
        KeyboardInterrupt: as it came; the ledger holds all that was finished.
    """
    if address is not None:
        check_address(address)
    if tracking_uri is not None:
        check_driver(tracking_uri)
    shape = check_sweep(sweep)
    data = check_data(sweep)
    check_reading(sweep)
    conversations = conversations_of(sweep, data)
    check_storage(storage)
    pulled(storage, sweep.name)
    check_tasks(sweep, storage)
    known = [spec for *_, spec in fixed_points(sweep)]
    trials = len(known) + sweep.samples + most_confirmations(sweep)
    caches = plan_caches(known, shape, conversations, storage, trials / len(known), sweep.seed_sets)
    ledger = Ledger(storage, sweep.name)
    take_base(sweep, base_of(sweep, data), ledger, new_base)
    check_same_space(sweep, ledger, shape)
    load_sources(sweep, storage)  # refuses; the agenda loads them when it samples
    cached = any(row.choice.mode == "cached" for row in caches.teachers)
    sources = known_before(sweep.trial, shape, storage)
    expected = Expectation(sweep, shape, ledger, conversations, cached, sources)
    check_budget(sweep, ledger, expected)
    ledger.trials.mkdir(parents=True, exist_ok=True)
    end = functools.partial(give_up, view.end)
    with run_lock(ledger.folder, take_over, view.warn, away=end) as held:
        ledger.guard = held.check
        pulled(storage, sweep.name)  # what came while this waited for the lock
        restore_requests(ledger, shape)
        if ask is not None:
            ask(ledger)
        ledger.open(sweep)
        keep_forecast(
            sweep,
            shape,
            ledger,
            conversations=conversations,
            teacher_cached=cached,
            slots=local_slots(sweep),
            sources=sources,
        )
        agenda = Agenda(
            sweep,
            shape,
            ledger,
            lambda: candidates(ledger, sweep),
            lambda spec: decide(spec, shape, conversations, storage, trials, sweep.seed_sets),
            Purse(sweep.budget, ledger, expected),
        )
        if base := failed_base(ledger, agenda.base_key):
            request_again(ledger, base)  # the sweep could not go on without it

        def running() -> list[Path]:
            held.check()
            return [job.folder for job in agenda.running_trials()]

        mirror = MirrorThread(ledger, sweep, tracking_uri, view.warn)
        view.begin(sweep, agenda.total(), ledger)
        before = set(ledger.records(every_base=True))
        try:
            first = agenda.next()
            if first is not None:
                view.say(*cache_lines(caches))
                with _told(ledger), ray_for(sweep, storage.resolve(), address) as slots:
                    view.slots(slots.count, slots.device)
                    others = Others(
                        room=functools.partial(has_room, slots, sweep.trial.workers),
                        drained=lambda: ask_for_checkpoints(running()),
                    )
                    watch = ended_with_ray(
                        end,
                        others if address is not None else None,
                        free_orphans if sweep.trial.grouped else None,
                    )
                    with watch, checkpoints_on_sigterm(running):
                        _tune(sweep, slots, agenda, view, mirror, first)
                    if agenda.storage_error is not None:
                        failed = agenda.storage_error
                        raise EndedError(unwritable(ledger.folder, failed.strerror or str(failed)))
                    written = write_files(ledger.folder)  # before anything waits for MLflow
                    mirror.stop()  # before Ray goes down: no second thread may free its handles
            else:
                written = write_files(ledger.folder)
        finally:
            view.end()
            for name in ledger.ended().keys() - before:
                clear_up(ledger.trials / name)  # its process may have been ended before it could
        effects = written.effects
        mirror.finish(written.paths, effects.text if effects else "", written.answers)
    base = failed_base(ledger, agenda.base_key)
    failure = ledger.record(base) if base else None
    ended = Counter(record.status for record in ledger.records().values())
    return Outcome(
        completed=ended["completed"],
        stopped=ended["early_stopped"],
        failed=tuple(failed_for_good(ledger)),
        closing_failed=tuple(agenda.closing_failed),
        lost=tuple(ledger.lost()),
        damaged=tuple(ledger.damaged),
        files=written.files,
        report=written.report,
        effects=effects,
        tracking_uri=mirror.uri,
        link=mirror.link,
        started=view.begun,
        mirror_error=mirror.error,
        used_up=tuple(ended_lines(sweep.samples, ledger)),
        base_error=failure.error if failure else None,
        left_out=written.left_out,
        sampler_error=agenda.sampler_error,
    )


@contextmanager
def _told(ledger: Ledger) -> Iterator[None]:
    """During the block, what is raised because memory or the disk is gone says so in one line.

    Tune and Ray wrap what their callbacks raise, so the disk itself is asked. Tune repeats a trial
    whose process was killed, but not one that Ray killed to save the machine.
    """
    try:
        yield
    except Exception as error:
        from ray.exceptions import OutOfMemoryError

        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, OutOfMemoryError | ObjectStoreError):
            cause = cause.__cause__
        if isinstance(cause, ObjectStoreError):
            raise EndedError(f"{first_line(cause)}. {GOES_ON}") from error
        if cause is not None:
            raise EndedError(
                f"Ray ended a trial because memory ran out ({first_line(cause)}). Nothing that was "
                "finished is lost: free some, or run fewer trials at a time with --set "
                "resources.slots=1, and the same command goes on from here."
            ) from error
        try:
            with tempfile.TemporaryFile(dir=ledger.trials) as probe:
                probe.write(bytes(2**20))
        except OSError as why:
            raise EndedError(unwritable(ledger.folder, str(why.strerror))) from error
        raise


def candidates(ledger: Ledger, sweep: SweepSpec) -> list[str]:
    """Ids worth scoring on the report split: references, the frontier's candidates, confirmations.

    Candidates keep the sweep's limits, if any trial does.

    More candidates than `report_candidates` are cut by search-split retention within each method
    and ratio in turn, so that no part of the frontier is left without a score. Designed points
    come besides, where the sweep asks for all of them.
    """
    trials = load_trials(ledger.folder)
    within = [t for t in trials if t.is_reference or sweep.goals.kept_by(t.record)]
    chosen = sorted(
        report_candidates(within) or report_candidates(trials),
        key=lambda t: (-(t.retention("search")[0] or 0.0), t.trial_id),
    )
    by_cell: dict[tuple[str, float], list[str]] = {}
    for trial in chosen:
        by_cell.setdefault((trial.method, trial.ratio_target), []).append(trial.trial_id)
    turns = itertools.zip_longest(*by_cell.values())
    in_turn = [name for turn in turns for name in turn if name is not None]
    done = [t for t in trials if t.record.status == "completed"]
    references = [t.trial_id for t in done if t.is_reference]
    references.sort(key=lambda name: name != REFERENCE_ID)
    confirmations = [t.trial_id for t in done if t.is_confirmation]
    if sweep.report_designed:
        designed = [t.trial_id for t in done if t.record.origin == "designed"]
        in_turn = [name for name in in_turn if name not in designed]
        references += designed
    return references + in_turn[: sweep.report_candidates] + confirmations


def _tune(
    sweep: SweepSpec, slots: Slots, agenda: Agenda, view: View, mirror: MirrorThread, first: Any
) -> None:
    from ray import tune
    from ray.tune.schedulers import FIFOScheduler

    from sweeps.engine.run.searcher import AgendaSearcher, Restarts, RungScheduler

    grouped, shares = sweep.trial.grouped, Shares(sweep, slots.worker, node_resources)

    def slot(config: dict[str, Any]) -> None:
        """Do a job and report how it ended; a process does one after another."""
        from trainables.trial.launch import run_job  # in the trial process, never in the driver

        tune.report(run_job(json.loads(config["job"]), tune.report, config["each"]))

    def resources(config: dict[str, Any]) -> Any:
        if grouped and config["kind"] == "trial":
            return tune.PlacementGroupFactory([{HEAD_NODE: 0.001}])  # its workers hold it
        return tune.PlacementGroupFactory([config["each"]])

    def name(trial: Any) -> str:
        return str(trial.config["job_id"])

    ledger, rungs = agenda.ledger, sweep.rungs
    folder = ledger.folder
    shutil.rmtree(folder / TUNE, ignore_errors=True)  # the ledger is what counts
    scheduler = FIFOScheduler()
    if rungs and rungs.stop:
        scheduler = RungScheduler(Halving(rungs, ledger), agenda.purse.exceeded)
    tuner = tune.Tuner(
        tune.with_resources(slot, resources),
        tune_config=tune.TuneConfig(
            search_alg=AgendaSearcher(agenda, view, mirror, shares, first),
            scheduler=scheduler,
            num_samples=-1,
            max_concurrent_trials=slots.count,
            reuse_actors=True,
            trial_name_creator=name,
            trial_dirname_creator=name,
        ),
        run_config=tune.RunConfig(
            name=TUNE,
            storage_path=str(folder),
            verbose=0,
            callbacks=[Restarts(view.warn)],
            failure_config=tune.FailureConfig(max_failures=1),  # a killed process: once more
        ),
    )
    mirror.wake()  # an MLflow that is not there is said now, not after days
    tuner.fit()
    shutil.rmtree(folder / TUNE, ignore_errors=True)
