"""The command line. Commands import what they need themselves, so that each answers at once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

app = typer.Typer(
    name="prunesweep",
    help="Compress vision-language models and map what compression costs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
data = typer.Typer(help="Training conversations.", no_args_is_help=True)
app.add_typer(data, name="data")
out, err = Console(), Console(stderr=True)

BAD_INPUT, INTERRUPTED = 2, 130


class Dtype(StrEnum):
    """Types that weights can be exported in."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


Storage = Annotated[
    Path,
    typer.Option(envvar="PRUNESWEEP_STORAGE", help="Folder of ledger, store and MLflow database."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SweepName = Annotated[str, typer.Argument(help="A sweep's name, or a Python file with `sweep`.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="key.sub=value, may be repeated.")
]
X = Annotated[str, typer.Option("--x", help="weights_mib, tflops, latency_ms or recovery_tflops.")]
TrialName = Annotated[str, typer.Argument(help="A trial's id, or SWEEP/ID.")]
RUNS = Path("runs")


@app.command("list")
def list_everything(json: AsJson = False) -> None:
    """Sweeps, models, tasks and search spaces."""
    from sweeps.engine.overview import overview, print_overview

    with _refusing():
        found = overview()
    _print_json(found) if json else print_overview(found, out)


@app.command()
def plan(
    sweep: Annotated[
        str | None, typer.Argument(help="A sweep's name, or a Python file with `sweep`.")
    ] = None,
    set_: Overrides = None,
    models: Annotated[
        bool, typer.Option("--models", help="Sizes of every known model instead, pruned too.")
    ] = False,
    model: Annotated[
        str | None, typer.Option(help="The same for one model: a name or a folder.")
    ] = None,
    storage: Storage = RUNS,
    json: AsJson = False,
) -> None:
    """Dry run: trials, sizes per method and ratio, estimated time and disk; starts nothing."""
    from sweeps.engine.ledger import Ledger
    from sweeps.engine.loading import load_sweep
    from sweeps.engine.model_table import model_rows, print_models
    from sweeps.engine.overview import print_plan
    from sweeps.engine.planning import plan_sweep

    with _refusing():
        if (sweep is not None) + models + (model is not None) != 1:
            raise ValueError("plan needs one of a sweep, --models, or --model NAME")
        if sweep is None:
            rows = model_rows(model)
            plain = [row.model_dump(mode="json") for row in rows]
            _print_json(plain) if json else print_models(rows, out)
            return
        spec = load_sweep(sweep, set_ or [])
        planned = plan_sweep(spec, Ledger(storage, spec.name))
    _print_json(planned.model_dump(mode="json")) if json else print_plan(planned, out)


@app.command()
def run(
    sweep: SweepName,
    set_: Overrides = None,
    storage: Storage = RUNS,
    address: Annotated[
        str | None, typer.Option(help="A Ray cluster; by default Ray is started here.")
    ] = None,
    tracking_uri: Annotated[
        str | None, typer.Option(envvar="MLFLOW_TRACKING_URI", help="An MLflow server or store.")
    ] = None,
) -> None:
    """Run a sweep; the same command resumes it after any stop, or extends it."""
    from sweeps.engine.loading import load_sweep

    with _refusing():
        _run(load_sweep(sweep, set_ or []), storage, address, tracking_uri)


@app.command()
def status(
    sweep: Annotated[str | None, typer.Argument(help="A sweep; all of them by default.")] = None,
    storage: Storage = RUNS,
    json: AsJson = False,
) -> None:
    """How far the sweeps are."""
    from sweeps.engine.overview import print_status, sweep_status

    with _refusing():
        found = sweep_status(storage, sweep)
    _print_json(found) if json else print_status(found, out, storage, sweep)


@app.command()
def frontier(
    sweep: SweepName, x: X = "weights_mib", storage: Storage = RUNS, json: AsJson = False
) -> None:
    """The accuracy/efficiency frontier; writes its csv, json, html and png."""
    from analysis.files import write_frontier
    from analysis.frontier import find_frontier
    from analysis.load import load_trials
    from analysis.tables import frontier_plain, frontier_table

    with _refusing():
        folder = _sweep_folder(storage, sweep)
        trials = load_trials(folder)
        found = find_frontier(trials, x)
        if json:
            _print_json(found.model_dump(mode="json"))
        elif out.is_terminal:
            out.print(frontier_table(found))
        else:
            print(frontier_plain(found), flush=True)
        files = write_frontier(folder, x, trials)  # after the answer: pictures take seconds
    if not json:
        print(f"\n{files.html}\n{files.png}\n{files.csv}")


@app.command()
def effects(sweep: SweepName, storage: Storage = RUNS, json: AsJson = False) -> None:
    """What each searched factor does, with intervals; writes it as csv, json, md, html and png.

    For sweeps over loss coefficients also the best mixture and those that equal it.
    """
    from analysis.effect_texts import effects_markdown
    from analysis.effects import find_effects, write_effects

    with _refusing():
        folder = _sweep_folder(storage, sweep)
        found = find_effects(folder)
        _print_json(found.model_dump(mode="json")) if json else print(effects_markdown(found))
        files = write_effects(folder, found)  # after the answer: pictures take seconds
    if not json:
        print(f"{files.html}\n{files.png}\n{files.csv}")


@app.command()
def recommend(
    sweep: SweepName,
    max_: Annotated[
        list[str] | None, typer.Option("--max", help="Upper limit, e.g. weights_mib=9500.")
    ] = None,
    min_: Annotated[
        list[str] | None,
        typer.Option("--min", help="Lower limit; retention's is tested at its interval's end."),
    ] = None,
    storage: Storage = RUNS,
    json: AsJson = False,
) -> None:
    """The trial to ship within limits; exit code 1 when nothing fits."""
    from analysis.load import load_trials
    from analysis.recommend import recommend as choose

    with _refusing():
        trials = load_trials(_sweep_folder(storage, sweep))
        found = choose(trials, max=_limits(max_, "--max"), min=_limits(min_, "--min"))
    if json:
        _print_json(found.model_dump(mode="json"))
    else:
        print(found.message)
        if found.trial is not None:
            print(f"prunesweep export {sweep}/{found.trial.trial_id} --to DIR")
    if found.trial is None:
        raise typer.Exit(1)


@app.command()
def export(
    trial: TrialName,
    to: Annotated[Path, typer.Option(help="A new folder.")],
    dtype: Annotated[
        Dtype | None, typer.Option(help="Of the written weights; the model's by default.")
    ] = None,
    storage: Storage = RUNS,
) -> None:
    """Write a trial's model as one checkpoint that plain `transformers` loads."""
    with _refusing():
        folder = _trial_folder(storage, trial)
        from trainables.export import export_trial
        from trainables.models.resized import MODULE

        export_trial(folder, to, dtype.value if dtype else None)
    # The modelling file goes along with a student whose layers differ in width.
    trust = ", trust_remote_code=True" if (to / f"{MODULE}.py").exists() else ""
    load = f"AutoModelForImageTextToText.from_pretrained({str(to)!r}{trust})"
    print(f"{to}: load it with `{load}`; its README.md says more")


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="An original checkpoint folder.")],
    to: Annotated[Path, typer.Option(help="A new folder.")],
    vision_tower: Annotated[
        Path | None,
        typer.Option(help="Checkpoint folder of the vision tower, where SRC only names it."),
    ] = None,
    dtype: Annotated[
        Dtype | None, typer.Option(help="Of the written weights; the checkpoint's by default.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Rewrite an original LLaVA, Bunny or InternVL checkpoint for plain `transformers`."""
    with _refusing():
        from trainables.models.convert import convert as rewrite

        def show(number: int, of: int, path: Path) -> None:
            size = path.stat().st_size / 2**20
            err.print(f"shard {number}/{of}  {path.name}  {size:,.1f} MiB", highlight=False)

        done = rewrite(
            source,
            to,
            vision_tower=vision_tower,
            dtype=dtype.value if dtype else None,
            progress=show,
        )
    if json:
        _print_json(done.model_dump(mode="json"))
    else:
        print(f"{to}: {done.tensors} tensors, {done.mib:,.1f} MiB {done.dtype}; load it with")
        print(f"`{done.model_class}.from_pretrained({str(to)!r})`")


@app.command()
def rerun(
    trial: TrialName,
    storage: Storage = RUNS,
    address: Annotated[str | None, typer.Option(help="A Ray cluster.")] = None,
    tracking_uri: Annotated[str | None, typer.Option(envvar="MLFLOW_TRACKING_URI")] = None,
) -> None:
    """Run a finished or failed trial once more, under a new id; the old record stays."""
    from sweeps.engine.ledger import Ledger
    from sweeps.engine.repeat import request_again

    with _refusing():
        folder = _trial_folder(storage, trial)
        sweep = request_again(Ledger(storage, folder.parent.parent.name), folder.name)
        _run(sweep, storage, address, tracking_uri)


@app.command()
def ui(
    storage: Storage = RUNS,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
    host: Annotated[str, typer.Option(help="Only this machine by default.")] = "127.0.0.1",
    tracking_uri: Annotated[str | None, typer.Option(envvar="MLFLOW_TRACKING_URI")] = None,
) -> None:
    """Show the sweeps in MLflow's web page."""
    from sweeps.engine.ui import serve

    with _refusing():
        serve(storage, host, port, tracking_uri)


@app.command()
def doctor(storage: Storage = RUNS, json: AsJson = False) -> None:
    """Check this machine: packages, devices, memory, disk, settings that slow things down."""
    from sweeps.engine.doctor import examine, print_findings

    findings = examine(storage)
    if json:
        _print_json([finding.model_dump(mode="json") for finding in findings])
    else:
        print_findings(findings, out)
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(1)


@data.command("check")
def check_data(
    file: Annotated[
        Path, typer.Argument(help="Conversations: JSON, JSON lines, or InternVL's meta JSON.")
    ],
    image_folder: Annotated[
        Path | None, typer.Option(help="What image paths start from; FILE's folder by default.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A model's name or folder: count tokens as it does.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=16, help="Longest sample, in tokens.")] = 2048,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; one per core by default.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Read every sample and decode every image; exit code 1 when something is broken."""
    from sweeps.engine.cluster import cpu_count
    from sweeps.engine.data_check import print_report, progress_bars
    from trainables.recovery.check import check_data as check
    from trainables.specs import DataSpec

    folder = None if image_folder is None else str(image_folder)
    spec = DataSpec(conversations=str(file), image_folder=folder, max_tokens=max_tokens)
    with _refusing(), progress_bars(err) as show:
        report = check(spec, model, workers or cpu_count(), show)
    _print_json(report.model_dump(mode="json")) if json else print_report(report, out)
    if report.broken:
        raise typer.Exit(1)


def main() -> None:
    """Entry point of the console script."""
    app()


def _run(sweep: Any, storage: Path, address: str | None, tracking_uri: str | None) -> None:
    from analysis.effect_texts import effects_summary
    from analysis.tables import frontier_plain, frontier_table
    from sweeps.engine.progress import View
    from sweeps.engine.runner import run_sweep

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        outcome = run_sweep(sweep, storage, View(out), tracking_uri=tracking_uri, address=address)
    except KeyboardInterrupt:
        err.print(
            "\nStopped. Nothing that was finished is lost: the same command goes on from here.",
            highlight=False,
        )
        sys.stdout.flush()
        os._exit(INTERRUPTED)  # Ray is down; its threads would hold the process for seconds
    files = outcome.files
    out.print(frontier_table(files.frontier)) if out.is_terminal else print(
        frontier_plain(files.frontier)
    )
    counts = f"{outcome.completed} trials completed, {outcome.stopped} stopped early, "
    print(f"{counts}{len(outcome.failed)} failed; {outcome.started} jobs in this run.")
    print(f"Frontier: {files.html}")
    if outcome.effects is not None:
        print(f"\n{effects_summary(outcome.effects.report)}\nEffects:  {outcome.effects.html}")
    print(f"MLflow:   prunesweep ui --storage {storage}    (store: {outcome.tracking_uri})")
    if outcome.mirror_error:
        err.print(f"MLflow could not be written: {outcome.mirror_error}", highlight=False)
    if outcome.failed:
        names = ", ".join(outcome.failed)
        err.print(f"Failed: {names}. Each folder has a log.txt.", highlight=False, soft_wrap=True)
        raise typer.Exit(1)


def _limits(given: list[str] | None, option: str) -> dict[str, float]:
    limits = {}
    for text in given or []:
        axis, found, value = text.partition("=")
        try:
            limits[axis.strip()] = float(value)
        except ValueError:
            found = ""
        if not found:
            raise ValueError(f"{option} {text!r} is no limit; write {option} axis=number")
    return limits


def _sweep_folder(storage: Path, name: str) -> Path:
    """The folder of a sweep that has run; the name, or a sweep file whose sweep has the name."""
    if name.endswith(".py"):
        from sweeps.engine.loading import load_sweep

        name = load_sweep(name).name
    return storage / name


def _trial_folder(storage: Path, name: str) -> Path:
    from sweeps.engine.naming import unknown
    from trainables.records import RECORD

    sweep, _, trial = name.rpartition("/")
    pattern = f"{sweep or '*'}/trials/*/{RECORD}"
    folders = {path.parent for path in storage.glob(pattern)}
    matches = sorted(folder for folder in folders if folder.name == trial)
    if not matches:
        names = sorted(f"{folder.parent.parent.name}/{folder.name}" for folder in folders)
        raise ValueError(unknown(f"trial in {storage}", name, names))
    if len(matches) > 1:
        places = ", ".join(f"{m.parent.parent.name}/{m.name}" for m in matches)
        raise ValueError(f"{trial!r} is a trial of several sweeps; write one of {places}")
    return matches[0]


def _print_json(value: Any) -> None:
    import json

    print(json.dumps(value, indent=1, ensure_ascii=False))


@contextmanager
def _refusing() -> Iterator[None]:
    """Turn what the user can mend into one line on stderr and exit code 2."""
    try:
        yield
    except (ValueError, OSError) as error:
        text = str(error)
        if isinstance(error, OSError) and error.strerror:
            text = f"{error.filename or ''}: {error.strerror}".lstrip(": ")
        err.print(f"[bold red]error:[/bold red] {_escape(text)}", highlight=False, soft_wrap=True)
        raise typer.Exit(BAD_INPUT) from None


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


if __name__ == "__main__":
    main()
