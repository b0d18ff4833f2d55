"""Commands that plan, start and watch sweeps."""

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from analysis.text_table import say
from sweeps.engine.cli.app import (
    BAD_INPUT,
    INTERRUPTED,
    RUNS,
    AsJson,
    Overrides,
    Storage,
    SweepName,
    TrackingUri,
    app,
    err,
    out,
    print_json,
    pulled,
    quiet_libraries,
    shown,
    storage_option,
    sweep_folder,
    trial_folder,
)
from sweeps.engine.ended import GOES_ON
from trainables.common.files import reading_many
from trainables.specs import Dtype

PLACE = 1
TakeOver = Annotated[
    bool,
    typer.Option(
        "--take-over",
        help="End another run of the sweep, on whatever machine, and go on from here.",
    ),
]


@app.command("list")
def list_everything(json: AsJson = False) -> None:
    """Sweeps, models, tasks and search spaces."""
    from sweeps.engine.show.overview import overview, print_overview

    found = overview()
    print_json(found) if json else print_overview(found, out)


@app.command()
def plan(
    sweep: Annotated[
        str | None, typer.Argument(help="A sweep's name, or its Python or YAML file.")
    ] = None,
    set_: Overrides = None,
    models: Annotated[
        bool, typer.Option("--models", help="Sizes of every known model instead, pruned too.")
    ] = False,
    model: Annotated[
        str | None, typer.Option(help="The same for one model: a name or a folder.")
    ] = None,
    cost: Annotated[
        bool,
        typer.Option(
            "--cost", help="Memory and FLOPs of every known model, or of --model, instead."
        ),
    ] = False,
    storage: Storage = RUNS,
    json: AsJson = False,
) -> None:
    """Dry run: trials, sizes per method and ratio, estimated time and disk; starts nothing."""
    from sweeps.engine.plan.model_sizes import cost_rows, model_rows
    from sweeps.engine.plan.planning import plan_sweep
    from sweeps.engine.show.model_tables import COSTS_RULE, print_costs, print_models
    from sweeps.engine.show.overview import print_plan
    from sweeps.engine.spec.ledger import Ledger
    from sweeps.engine.spec.loading import load_sweep

    if cost and (sweep is not None or models):
        raise ValueError(
            "plan --cost is for the known models, or for one model with --model NAME; "
            "`prunesweep plan SWEEP` and `--models` print sizes of their own"
        )
    if cost:
        costs = cost_rows(model)
        plain = {"rows": costs, "rules": {"cost": COSTS_RULE}}
        return print_json(plain) if json else print_costs(costs, out)
    if (sweep is not None) + models + (model is not None) != 1:
        raise ValueError("plan needs one of a sweep, --models, or --model NAME")
    if sweep is None:
        rows = model_rows(model)
        return print_json(rows) if json else print_models(rows, out)
    spec = load_sweep(sweep, set_ or [])
    planned = plan_sweep(spec, Ledger(pulled(storage, spec.name, rest=False), spec.name))
    print_json(planned) if json else print_plan(planned, out)


@app.command()
def run(
    sweep: SweepName,
    set_: Overrides = None,
    storage: Storage = RUNS,
    address: Annotated[
        str | None, typer.Option(help="A Ray cluster; by default Ray is started here.")
    ] = None,
    tracking_uri: TrackingUri = None,
    new_base: Annotated[
        bool,
        typer.Option(
            "--new-base",
            help="Go on though data, model or settings have changed; no ranking has the earlier "
            "trials.",
        ),
    ] = False,
    take_over: TakeOver = False,
) -> None:
    """Run a sweep; the same command resumes it after any stop, or extends it."""
    from sweeps.engine.spec.loading import load_sweep

    run_here(
        load_sweep(sweep, set_ or []),
        storage,
        address,
        tracking_uri,
        new_base=new_base,
        take_over=take_over,
    )


@app.command()
@reading_many()
def status(
    sweep: Annotated[str | None, typer.Argument(help="A sweep; all of them by default.")] = None,
    storage: Storage = RUNS,
    json: AsJson = False,
) -> None:
    """How far the sweeps are."""
    from sweeps.engine.show.overview import print_status, sweep_ledgers, sweep_status

    ledgers = sweep_ledgers(storage, sweep)
    found = [sweep_status(ledger, whole=sweep is not None) for ledger in ledgers]
    print_json(found) if json else print_status(found, out, storage, sweep)


@app.command()
def rerun(
    trial: Annotated[
        str, typer.Argument(help="A trial's id, or SWEEP/ID; with --failed a sweep's name.")
    ],
    failed: Annotated[
        bool, typer.Option("--failed", help="Every failed trial of the sweep.")
    ] = False,
    storage: Storage = RUNS,
    address: Annotated[str | None, typer.Option(help="A Ray cluster.")] = None,
    tracking_uri: TrackingUri = None,
    take_over: TakeOver = False,
) -> None:
    """Run a finished or failed trial once more, under a new id; the old record stays."""
    from sweeps.engine.search.rerun import last_sweep, request_again, request_failed_again
    from sweeps.engine.spec.ledger import Ledger

    ask: Callable[[Ledger], None] = request_failed_again
    if failed:
        name = sweep_folder(storage, trial).name
    else:
        folder = trial_folder(storage, trial)
        name, ask = folder.parent.parent.name, partial(request_again, trial_id=folder.name)
    again = last_sweep(Ledger(storage, name))
    run_here(again, storage, address, tracking_uri, ask, take_over=take_over)


@app.command()
def doctor(
    model: Annotated[
        str | None, typer.Option(help="Check a model instead: its name, or a checkpoint folder.")
    ] = None,
    tasks: Annotated[
        str,
        typer.Option(
            help="With --model: names or FILE:METRIC of tasks, by commas; the embedded tasks."
        ),
    ] = "",
    task_folder: Annotated[
        list[Path] | None,
        typer.Option(help="With --model: a folder or YAML file of lmms-eval tasks."),
    ] = None,
    image_folder: Annotated[
        Path | None,
        typer.Option(help="With --model: what image paths of files of questions start from."),
    ] = None,
    data_folder: Annotated[
        Path | None, typer.Option(help="With --model: local copies of benchmarks.")
    ] = None,
    dtype: Annotated[
        Dtype, typer.Option(help="With --model: of the weights on a GPU.")
    ] = "float32",
    storage: Storage = RUNS,
    json: AsJson = False,
) -> None:
    """Check this machine, or a model: what a trial needs of it, and what it answers.

    Exit code 1 if something of the machine is missing, 2 if a trial of the model would fail.
    """
    from sweeps.engine.show.doctor import examine, print_examination, print_findings

    quiet_libraries()
    if model is not None:
        from trainables.evaluation.benchmarks.preparing import check_benchmarks
        from trainables.evaluation.catalog import with_own_tasks
        from trainables.evaluation.own.preparing import check_own
        from trainables.specs import EvaluationSpec, ModelSpec, TrialSpec
        from trainables.trial.examine import examine_model

        names = tuple(name.strip() for name in tasks.split(",") if name.strip())
        evaluation = EvaluationSpec(
            tasks=names,
            task_folders=[str(folder) for folder in task_folder or ()],
            image_folder=None if image_folder is None else str(image_folder),
            data_folder=None if data_folder is None else str(data_folder),
        )
        evaluation = with_own_tasks(evaluation, model)
        check_benchmarks(evaluation, option="--data-folder DIR")
        check_own(evaluation)
        spec = TrialSpec(model=ModelSpec(path=model, dtype=dtype), evaluation=evaluation)
        found = examine_model(spec, storage / "store")
        print_json(found) if json else print_examination(found, out)
        if found.fails:
            raise typer.Exit(BAD_INPUT)
        return
    findings = examine(storage)
    print_json(findings) if json else print_findings(findings, out)
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(1)


def run_here(
    sweep: Any,
    storage: Path,
    address: str | None,
    tracking_uri: str | None,
    ask: Callable[[Any], None] | None = None,
    new_base: bool = False,
    take_over: bool = False,
) -> None:
    """Run a sweep with its progress shown, and print what came out; the rest as in `run_sweep`."""
    with out.status(f"{sweep.name}: checking the sweep, its model and its data ...") as ahead:
        _run(sweep, storage, address, tracking_uri, ask, new_base, take_over, ahead.stop)


def _run(
    sweep: Any,
    storage: Path,
    address: str | None,
    tracking_uri: str | None,
    ask: Callable[[Any], None] | None,
    new_base: bool,
    take_over: bool,
    checked: Callable[[], None],
) -> None:
    from analysis.tables import frontier_table
    from sweeps.engine.run.progress import View
    from sweeps.engine.run.runner import run_sweep

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        outcome = run_sweep(
            sweep,
            storage,
            View(out, checked),
            tracking_uri=tracking_uri,
            address=address,
            new_base=new_base,
            take_over=take_over,
            ask=ask,
        )
    except KeyboardInterrupt:
        checked()
        say(err, f"\nStopped. {GOES_ON}")
        sys.stdout.flush()
        os._exit(INTERRUPTED)  # Ray is down; its threads would hold the process for seconds
    files = outcome.files
    if not files.frontier.points:
        print("No trial has a score yet, so there is no frontier.")
    else:
        frontier_table(files.frontier).show(out)
    counts = f"{outcome.completed} trials completed, {outcome.stopped} stopped early, "
    counts += f"{len(outcome.failed)} failed"
    if outcome.damaged:
        counts += f", {len(outcome.damaged)} damaged"
    print(f"{counts}; {outcome.started} jobs in this run.")
    for line in filter(None, (*outcome.used_up, outcome.left_out)):
        say(out, line)
    print(f"Report:   {outcome.report}")
    if outcome.effects is not None:
        from analysis.effects.effect_texts import effects_summary  # which takes long to load

        say(out, f"\n{effects_summary(outcome.effects.report)}")
    if outcome.mirror_error is None:
        print(f"MLflow:   {outcome.link}")
        if not outcome.tracking_uri.startswith("http"):  # no server shows that store yet
            say(out, f"          once `prunesweep ui --storage {shown(storage)}` runs")
    else:
        say(
            err,
            f"MLflow at {outcome.tracking_uri} could not be written ({outcome.mirror_error}). "
            f"Nothing is lost: once it answers, `prunesweep run` of this sweep with the same "
            "--storage and --tracking-uri copies what is missing, and runs no trial again.",
        )
    if outcome.base_error is not None:
        say(
            err,
            f"The dense base could not be scored, so nothing else was started: "
            f"{outcome.base_error}. Mend the cause, and the same command tries it again.",
        )
    if outcome.sampler_error is not None:
        say(
            err,
            f"The search ended before its time: {outcome.sampler_error}. Nothing that was finished "
            "is lost: mend it, or give another one with --set sampler=NAME, and the same command "
            "goes on from here.",
        )
    if outcome.lost:
        say(
            err,
            f"Lost: {', '.join(outcome.lost)}. Their records were there and are gone from "
            f"'{shown(storage)}/{sweep.name}': something else removed or moved them while the "
            "sweep ran. The same command runs them again.",
        )
    if outcome.failed:
        names, where = ", ".join(outcome.failed), storage_option(storage)
        say(
            err,
            f"Failed: {names}. Each folder has a log.txt; "
            f"`prunesweep rerun {sweep.name}/ID{where}` runs one trial once more, "
            f"`prunesweep rerun {sweep.name} --failed{where}` all of them.",
        )
    if outcome.closing_failed:
        names = ", ".join(outcome.closing_failed)
        say(
            err,
            f"The closing pass is not complete: {names} failed, and the log.txt of the trial says "
            "why. The trials stand; the same command tries again what is missing.",
        )
    if not outcome.whole:
        raise typer.Exit(1)
