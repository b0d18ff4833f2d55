"""Commands that answer questions about finished trials."""

from __future__ import annotations

from typing import Annotated

import typer

from sweeps.engine.cli.common import (
    RUNS,
    AsJson,
    Storage,
    SweepName,
    app,
    out,
    print_json,
    refusing,
    sweep_folder,
)

X = Annotated[
    str, typer.Option("--x", help="weights_mib, memory_mib, tflops, latency_ms or recovery_tflops.")
]


@app.command()
def frontier(
    sweep: SweepName, x: X = "weights_mib", storage: Storage = RUNS, json: AsJson = False
) -> None:
    """The accuracy/efficiency frontier; writes its csv, json, html and png."""
    from analysis.files import write_frontier
    from analysis.frontier import find_frontier
    from analysis.load import load_trials
    from analysis.tables import frontier_plain, frontier_table

    with refusing():
        folder = sweep_folder(storage, sweep)
        trials = load_trials(folder)
        found = find_frontier(trials, x)
        if json:
            print_json(found.model_dump(mode="json"))
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

    with refusing():
        folder = sweep_folder(storage, sweep)
        found = find_effects(folder)
        print_json(found.model_dump(mode="json")) if json else print(effects_markdown(found))
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

    with refusing():
        trials = load_trials(sweep_folder(storage, sweep))
        found = choose(trials, max=_limits(max_, "--max"), min=_limits(min_, "--min"))
    if json:
        print_json(found.model_dump(mode="json"))
    else:
        print(found.message)
        if found.trial is not None:
            print(f"prunesweep export {sweep}/{found.trial.trial_id} --to DIR")
    if found.trial is None:
        raise typer.Exit(1)


@app.command()
def ui(
    storage: Storage = RUNS,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
    host: Annotated[str, typer.Option(help="Only this machine by default.")] = "127.0.0.1",
    tracking_uri: Annotated[str | None, typer.Option(envvar="MLFLOW_TRACKING_URI")] = None,
) -> None:
    """Show the sweeps in MLflow's web page."""
    from sweeps.engine.ui import serve

    with refusing():
        serve(storage, host, port, tracking_uri)


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
