"""What `list`, `plan` and `status` say, as plain data and as text."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from analysis.bases import note_on, other_bases
from analysis.load import label_of, load_trials
from analysis.load import load_sweep as saved_sweep
from analysis.power import power_lines
from analysis.tables import TrialRow, trial_rows, trials_table
from analysis.text_table import Listing, TextTable, say
from search_spaces.spaces import SPACES
from sweeps.engine.plan.caches import cache_lines
from sweeps.engine.plan.foreseen import progress_lines, progress_of
from sweeps.engine.plan.planning import SweepPlan
from sweeps.engine.run.at_work import at_work
from sweeps.engine.run.lock import lock_holder
from sweeps.engine.search.rerun import superseded
from sweeps.engine.show.forecasts import print_forecast
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.endings import ended_lines
from sweeps.engine.spec.ledger import Ledger
from sweeps.engine.spec.loading import BadInputError, load_sweep, shipped_sweeps
from sweeps.engine.storage import pulled, shown
from trainables.common.names import unknown
from trainables.evaluation.benchmarks.benchmark import TaskInfo
from trainables.evaluation.benchmarks.preparing import public
from trainables.evaluation.catalog import TASKS
from trainables.models.families.registry import ADAPTERS, MODELS
from trainables.records import REPORT, REPORT_SCORES, SWEEP
from trainables.specs import MIB


def overview() -> dict[str, dict[str, str]]:
    """Sweeps, models, architectures, tasks and spaces, each name with one line."""
    return {
        "sweeps": {name: load_sweep(name).question for name in shipped_sweeps()},
        "models": {name: entry.summary for name, entry in MODELS.items()},
        "architectures": {
            name: f"{a.model_class} with a {a.backbone.model_type} backbone"
            for name, a in ADAPTERS.items()
        },
        "tasks": {name: _task_line(info) for name, info in TASKS.items()},
        "spaces": {name: space.summary for name, space in SPACES.items()},
    }


def _task_line(info: TaskInfo) -> str:
    if info.embedded:
        return info.about
    needs = "".join(f", {need}" for need in info.needs)
    return f"{info.about}; {info.licence}; needs a local copy{needs}"


def print_overview(found: dict[str, dict[str, str]], console: Console) -> None:
    """The overview as sections of two columns."""
    for heading, entries in found.items():
        Listing(list(entries.items()), heading).show(console)
        console.print()


def print_plan(plan: SweepPlan, console: Console) -> None:
    """The dry run: trials, sizes, cost."""
    sweep = plan.sweep
    say(console, Text.assemble((sweep.name, "bold"), f": {sweep.question}"))
    if plan.changed:
        say(
            console,
            f"As it is here, {plan.changed}. A run refuses to go on with it: give it another name "
            "with --set name=NAME, or --new-base, for which this is the plan.",
        )
    trials = [(row.name, row.origin, row.state) for row in plan.trials]
    console.print("[bold]trials known in advance[/bold]")
    TextTable(("trial", "origin", "state"), trials).show(console)
    confirmed = f", and up to {plan.confirmed} to confirm the best" if plan.confirmed else ""
    say(
        console,
        f"{len(plan.trials)} of these, and {plan.sampled} chosen by the sampler in "
        f"{len(sweep.cells)} cells{confirmed}: {plan.total} trials.",
    )
    for cell in plan.closed:
        say(console, f"No trial is sampled in {cell.sentence}.")
    sizes = [
        (
            f"{size.method} {size.amount}",
            f"{size.ratio:.4f}",
            str(size.layers),
            str(size.kv_groups),
            str(size.neurons),
            f"{size.params / 1e6:,.{2 if size.params < 1e8 else 0}f} M",
            f"{size.weights_mib:,.1f}",
            f"{size.memory_mib:,.1f}" if size.memory_mib is not None else "-",
        )
        for size in plan.sizes
    ]
    header = ("method, amount", "removed", "layers", "groups", "neurons", "params", "MiB", "memory")
    bounded = any(size.memory_mib is not None for size in plan.sizes)
    rest = plan.unpruned.params * plan.unpruned.bytes_per_weight / MIB
    say(console, Text(f"sizes of {sweep.trial.model.path}, pruned", "bold"))
    TextTable(
        header if bounded else header[:-1],
        sizes if bounded else [row[:-1] for row in sizes],
        "removed: of the language model; groups: KV groups; params and MiB: of the whole model in "
        f"{sweep.trial.model.dtype}, before quantization, of which vision tower and projector are "
        f"{rest:,.1f} MiB" + ("; memory: MiB of answering one prompt, at most" if bounded else ""),
    ).show(console)
    lines = (*power_lines(plan.samples), *cache_lines(plan.caches), *_missing_copies(sweep))
    for line in lines:
        say(console, line)
    print_forecast(plan.forecast, console)
    say(
        console,
        f"About {plan.device_hours:.2g} device hours, {plan.wall_hours:.2g} hours with the "
        f"{plan.slots} slots here; recovery {plan.recovery_tflops:.3g} TFLOPs on "
        f"{plan.conversations:,} conversations of about "
        f"{plan.tokens_per_sample:.0f} tokens; about {plan.disk_mib:,.0f} MiB of disk.",
    )


def _missing_copies(sweep: SweepSpec) -> list[str]:
    """What a run will ask for; a plan goes without."""
    settings = sweep.trial.evaluation
    names = " ".join(public(settings.tasks))
    if not names or settings.data_folder is not None:
        return []
    return [
        f"A run needs the benchmarks' data: `prunesweep data fetch {names} --to DIR`, then "
        "--set trial.evaluation.data_folder=DIR"
    ]


def sweep_ledgers(storage: Path, name: str | None) -> list[Ledger]:
    """The ledger of each sweep in `storage`, or of one.

    Raises:
        BadInputError: no such sweep.
    """
    pulled(storage, name, rest=False)
    names = sorted(path.parent.name for path in storage.glob(f"*/{SWEEP}"))
    if name is not None and name not in names:
        raise BadInputError(unknown(f"sweep in {shown(storage)}", name, names))
    return [Ledger(storage, n) for n in names if name in (None, n)]


def sweep_status(ledger: Ledger, whole: bool) -> dict[str, Any]:
    """Counts of a sweep, and its trials; with `whole` also how much is left."""
    requests, every = ledger.requests(), ledger.records(every_base=True)
    records = {n: every.get(n) for n in requests}
    owner = lock_holder(ledger.folder)
    states = {
        n: r.status if r is not None else ("running" if owner else "interrupted")
        for n, r in records.items()
    }
    for name in ledger.damaged:  # whose request is damaged may have a record
        states[name] = r.status if (r := ledger.record(name)) is not None else "damaged"
    sweep, again = saved_sweep(ledger.folder), superseded(ledger)
    return {
        "sweep": ledger.sweep,
        "question": sweep.get("question", ""),
        "running": owner,
        "counts": dict(sorted(Counter(s for n, s in states.items() if n not in again).items())),
        "reports": sum(_is_scored(ledger.trials / n) for n in requests),
        "used_up": ended_lines(sweep.get("samples", 0), ledger),
        "progress": progress_of(ledger, whole),
        "damaged": ledger.damaged,
        "errors": {n: r.error for n, r in records.items() if r is not None and r.error},
        "signatures": {
            n: [s.sentence for s in r.signatures]
            for n, r in records.items()
            if r is not None and r.signatures
        },
        "products": {
            n: r.efficiency.products.sentence
            for n, r in records.items()
            if r is not None and r.efficiency and r.efficiency.products
            if r.efficiency.products.by_definition
        },
        "trials": states,
        "rows": _rows(ledger, states) if whole else [],
        "left_out": note_on(other_bases(ledger.folder, [*every.values()])),
    }


def _rows(ledger: Ledger, states: Mapping[str, str]) -> list[TrialRow]:
    """A row for each trial, in the order of the ids; running ones with what they are at."""
    from analysis.frontier import find_frontier

    trials = load_trials(ledger.folder, records=ledger.records())
    rows = trial_rows(trials, find_frontier(trials, standing=False))
    for name in states.keys() - {row.trial_id for row in rows}:
        request = ledger.seen().get(name)
        found: dict[str, Any] = {}
        if states[name] == "running":
            found["stage"], found["stage_seconds"] = at_work(ledger.trials / name)
        if request is not None:
            label = label_of(request.spec, request.origin, request.own_factors)
            found |= {"label": label, "origin": request.origin}
        rows.append(
            TrialRow(**{"label": "", "origin": ""} | found, trial_id=name, status=states[name])
        )
    return sorted(rows, key=lambda row: row.trial_id)


def _is_scored(trial: Path) -> bool:
    """Whether a trial has scores on the report split, its latency measured or not."""
    return any((trial / name).exists() for name in (REPORT, REPORT_SCORES))


def print_status(
    found: list[dict[str, Any]], console: Console, storage: Path, name: str | None
) -> None:
    """Counts of the sweeps; for a single named one its trials too."""
    if not found:
        say(
            console,
            f"No sweep has run in {shown(storage)} yet. `prunesweep run quickstart` starts one.",
        )
    for item in found:
        owner = item["running"]
        where = f", running ({owner.holder})" if owner else ""
        counts = ", ".join(f"{n} {state}" for state, n in item["counts"].items()) or "no trials"
        scored = f"{item['reports']} scored on the report split"
        say(console, Text.assemble((item["sweep"], "bold"), f": {counts}, {scored}{where}"))
        for line in progress_lines(item["progress"]):
            say(console, f"  {line}")
        for line in filter(None, (*item["used_up"], item["left_out"])):
            say(console, f"  {line}")
        for trial, error in item["errors"].items():
            say(console, f"  failed {trial}: {error}")
        for trial, sentences in item["signatures"].items() if name is not None else ():
            for sentence in sentences:
                say(console, f"  {trial}: {sentence}")
        for trial, sentence in item["products"].items() if name is not None else ():
            say(console, f"  {trial}: {sentence}")
        if item["signatures"] and name is None:
            say(
                console,
                f"  signs of failure in {len(item['signatures'])}: "
                f"`prunesweep status {item['sweep']}` says which",
            )
    if name is not None:
        trials_table(found[0]["rows"], name).show(console)
