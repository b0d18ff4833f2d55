"""The command that scores a model by hand; torch runs in the command itself, imported late."""

from pathlib import Path
from typing import Annotated

import typer

from analysis.text_table import TextTable, say
from sweeps.engine.cli.app import (
    RUNS,
    AsJson,
    Storage,
    app,
    err,
    out,
    print_json,
    quiet_libraries,
    trial_folder,
)
from trainables.common.files import read_json
from trainables.records import RECORD, SWEEP, EvaluationReport, TrialRecord
from trainables.specs import Dtype, EvaluationSpec, ModelSpec, Split, TrialSpec

PLACE = 3
LOG = "evaluate.log"


@app.command()
def evaluate(
    model: Annotated[
        str, typer.Argument(help="A model's name, a checkpoint folder, a trial's id or SWEEP/ID.")
    ],
    tasks: Annotated[
        str,
        typer.Option(
            help="Names or FILE:METRIC of tasks, by commas; a trial's own, or the embedded ones."
        ),
    ] = "",
    task_folder: Annotated[
        list[Path] | None,
        typer.Option(help="A folder or YAML file of lmms-eval tasks; may be given again."),
    ] = None,
    image_folder: Annotated[
        Path | None, typer.Option(help="What image paths of files of questions start from.")
    ] = None,
    data_folder: Annotated[
        Path | None, typer.Option(help="Local copies of benchmarks; a trial's own by default.")
    ] = None,
    split: Annotated[
        Split, typer.Option(help="Which samples: those of the search, or the held-out ones.")
    ] = "report",
    limit: Annotated[int | None, typer.Option(min=1, help="Samples per task.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions answered together.")] = 32,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest answer, instead of the tasks' own.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="The dense base: a model's name or folder.")
    ] = None,
    dtype: Annotated[
        Dtype | None,
        typer.Option(help="Of the weights on a GPU; float32, but a trial is as it was scored."),
    ] = None,
    spread: Annotated[
        bool, typer.Option("--spread", help="Lay the model over all GPUs of this machine.")
    ] = False,
    json: AsJson = False,
    storage: Storage = RUNS,
) -> None:
    """Score a model with the sweeps' harness; exit code 1 when a task failed."""
    from trainables.evaluation.benchmarks.preparing import check_benchmarks
    from trainables.evaluation.catalog import asked_tasks, with_own_tasks
    from trainables.evaluation.own.preparing import check_own

    target, own = _target(model, storage, dtype)
    of_trial = own.evaluation
    folders = [str(folder) for folder in task_folder or ()] or of_trial.task_folders
    settings = EvaluationSpec(
        tasks=[n.strip() for n in tasks.split(",") if n.strip()] or of_trial.tasks,
        task_folders=folders,
        image_folder=of_trial.image_folder if image_folder is None else str(image_folder),
        data_folder=of_trial.data_folder if data_folder is None else str(data_folder),
        # A trial's report split shares no image with its search only if both are its own.
        search_share=of_trial.search_share,
        subset_seed=of_trial.subset_seed,
        search_limit=limit,
        report_limit=limit,
        batch_size=batch_size,
        max_new_tokens=max_new_tokens,
    )
    settings = with_own_tasks(settings, own.model.path)
    count = len(asked_tasks(settings))
    check_benchmarks(settings, option="--data-folder DIR")
    check_own(settings)
    dense = _model(against, own.model.dtype) if against is not None else None
    storage.mkdir(parents=True, exist_ok=True)
    say(err, f"scoring {model} on {count} tasks ...")
    quiet_libraries()
    from trainables.common.store import Store
    from trainables.trial.closing import assess

    log, store = storage / LOG, Store(storage / "store")
    report = assess(target, settings, split, store, against=dense, spread=spread, log=log)
    if json:
        print_json({"model": model, "against": against, **report.model_dump(mode="json")})
    else:
        _print(report, model)
    for task, why in report.failed.items():
        say(err, f"task {task!r} failed: {why}; {log} says more")
    if report.failed:
        raise typer.Exit(1)


@app.command()
def score(
    trials: Annotated[
        list[str], typer.Argument(help="SWEEP/ID of trials, or IDs, or how they begin.")
    ],
    storage: Storage = RUNS,
) -> None:
    """Score finished trials on the report split and measure them, as their sweep's end does.

    `frontier` and `recommend` count them from then on. Exit code 1 when one failed.
    """
    from sweeps.engine.run.lock import run_lock
    from sweeps.engine.search.closing_pass import closing_job
    from sweeps.engine.spec import SweepSpec
    from sweeps.engine.spec.ledger import Ledger

    folders = [trial_folder(storage, name) for name in trials]
    for folder in folders:
        status = read_json(folder / RECORD, TrialRecord).status
        if status != "completed":
            raise ValueError(f"trial {folder.name} is {status}; only completed ones are scored")
    quiet_libraries()
    failed = False
    for sweep in dict.fromkeys(folder.parents[1] for folder in folders):
        ledger, spec = Ledger(storage, sweep.name), read_json(sweep / SWEEP, SweepSpec)
        names = [folder.name for folder in folders if folder.parents[1] == sweep]
        with run_lock(sweep):
            from trainables.trial.launch import run_job

            taken = set[str]()
            while item := closing_job(
                ledger, names, taken=taken, gallery=spec.gallery, data_folder=spec.data_folder
            ):
                name, job = item
                taken.add(name)
                say(err, f"{sweep.name}: {name} ...")
                if error := run_job(job.model_dump(mode="json"))["error"]:
                    failed = True
                    say(err, f"{name} failed: {error}")
        for name in names:
            report = ledger.report(name)
            if report is not None and (kept := report.evaluation).retention is not None:
                low, high = kept.retention_interval
                say(
                    out,
                    f"{sweep.name}/{name}: retention {100 * kept.retention:.1f} % "
                    f"({100 * low:.1f} to {100 * high:.1f}, 95 % over questions) "
                    "on the report split",
                )
    if failed:
        raise typer.Exit(1)


def _model(name: str, dtype: Dtype) -> ModelSpec:
    """The model of that name or folder, after the checks that need no torch."""
    from trainables.models.families.registry import check_model

    spec = ModelSpec(path=name, dtype=dtype)
    check_model(spec)
    return spec


def _target(name: str, storage: Path, dtype: Dtype | None) -> tuple[ModelSpec | Path, TrialSpec]:
    """A trial's folder and spec, where the storage has one of that name, else a model.

    Raises:
        ValueError: it is neither, or a trial is to have another type than it was scored in.
    """
    from trainables.models.families.registry import MODELS

    def model() -> tuple[ModelSpec, TrialSpec]:
        found = _model(name, dtype or "float32")
        return found, TrialSpec(model=found)

    if name in MODELS or (Path(name) / "config.json").exists():
        return model()
    try:
        folder = trial_folder(storage, name)
    except ValueError as no_trial:
        try:
            return model()
        except ValueError as no_model:
            raise ValueError(f"{no_model}. Nor is it a trial: {no_trial}") from None
    spec = read_json(folder / RECORD, TrialRecord).spec
    if dtype is not None and dtype != spec.model.dtype:
        raise ValueError(
            f"--dtype {dtype} is given, but the trial {name} is a student in "
            f"{spec.model.dtype}; leave --dtype out, or export the trial and evaluate the folder"
        )
    return folder, spec


def _print(report: EvaluationReport, model: str) -> None:
    """The scores as a table, and what they come to."""
    header = ("task", "score", "± se", "samples", "chance", "cut off", "dense", "difference")
    columns = len(header) if report.retention is not None else 6
    rows = []
    for task, score in report.tasks.items():
        pair = score.paired
        cells = (
            task,
            f"{score.score:.2f}",
            f"{score.stderr:.2f}",
            str(score.samples),
            "" if score.chance is None else f"{score.chance:.1f}",
            "" if score.unfinished is None else f"{100 * score.unfinished:.0f} %",
            f"{pair.dense:.2f}" if pair else "",
            f"{pair.difference:+.2f} [{pair.low:+.2f}, {pair.high:+.2f}]" if pair else "",
        )
        rows.append(cells[:columns])
    say(out, f"{model}, {report.split} split")
    first = ("task", "score", "± se", "dense", "difference")
    TextTable(header[:columns], rows, first=first, also="`--json`").show(out)
    print(f"average {report.average:.2f} ± {report.average_se:.2f}")
    if report.retention is not None and report.retention_se is not None:
        text = f"retention {report.retention:.4f} ± {report.retention_se:.4f}"
        if report.retention_low is not None and report.retention_high is not None:
            ends = f"[{report.retention_low:.4f}, {report.retention_high:.4f}]"
            text += f", 95 % interval over questions {ends}"
        say(out, f"{text}, dense average {report.dense_average:.2f}")
    if report.samples_per_second is not None:
        print(f"{report.samples_per_second:.1f} samples/s")
