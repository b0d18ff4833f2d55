"""The command that puts a chosen trial into MLflow's model registry."""

from pathlib import Path
from typing import Annotated

import typer

from analysis.load import load_sweep_trials
from analysis.recommend import recommend, with_own_limits
from analysis.text_table import say, say_command
from sweeps.engine.cli.app import (
    RUNS,
    AsJson,
    Maximum,
    Minimum,
    Storage,
    SweepName,
    TrackingUri,
    app,
    limits,
    out,
    print_json,
    storage_option,
    sweep_folder,
)

PLACE = 2.2  # in the help, after what asks finished trials


@app.command()
def register(
    sweep: SweepName,
    max_: Maximum = None,
    min_: Minimum = None,
    alias: Annotated[
        list[str] | None,
        typer.Option(help="A name for the version, e.g. of the budget; it may be repeated."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the registered model; the sweep's by default.")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(help="The folder that `prunesweep export` wrote the chosen trial to."),
    ] = None,
    storage: Storage = RUNS,
    tracking_uri: TrackingUri = None,
    json: AsJson = False,
) -> None:
    """Register the trial that `recommend` names in MLflow, by reference; nothing is uploaded.

    The version refers to the folder of --model, or to the trial's own folder. Exit code 1 when
    nothing fits.
    """
    from sweeps.engine.track import registering
    from sweeps.engine.track.store import one_line_errors, own_uri
    from sweeps.engine.track.weights import exported_weights, kept_weights

    folder = sweep_folder(storage, sweep)
    uri = own_uri(storage, tracking_uri)
    most, least = with_own_limits(folder, limits(max_, "--max"), limits(min_, "--min"))
    trials = load_sweep_trials(folder).trials
    found = recommend(trials, max=most, min=least)
    where = storage_option(storage)
    chosen = found.trial
    if chosen is None:
        if json:
            print_json(found)
        else:
            say(out, found.message)
        raise typer.Exit(1)
    if found.split != "report":
        raise ValueError(
            f"no trial of {folder.name} has a score on the report split, and the search's own "
            f"flatter what it chose; `prunesweep run` of the sweep to its end, or `prunesweep "
            f"score {folder.name}/TRIAL{where}`, scores it there"
        )
    trial = next(t for t in trials if t.trial_id == chosen.trial_id)
    weights = exported_weights(model, trial) if model else kept_weights(trial, where)
    with one_line_errors(uri):
        done = registering.register(uri, trial, chosen, weights, name or folder.name, alias or ())
    if json:
        print_json(done)
        return
    say(out, found.message)
    called = f", alias {', '.join(done.aliases)}" if done.aliases else ""
    was = "" if done.new else " (it was there)"
    say(out, f"{done.name} version {done.version}{called}{was}: {done.weights.uri}")
    if not done.weights.loads:
        say(out, "To refer to a checkpoint that `transformers` loads, export it and register that:")
        say_command(out, f"prunesweep export {folder.name}/{trial.trial_id} --to DIR{where}")
        say_command(out, f"prunesweep register {folder.name} ... --model DIR{where}")
