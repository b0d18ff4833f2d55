"""Commands that answer questions about finished trials."""

import os
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer

from analysis.axes import DEFAULT_X, x_axes
from analysis.frontier import find_frontier
from analysis.tables import frontier_table, task_rows, tasks_table
from analysis.text_table import say, say_command
from sweeps.engine.cli.app import (
    RUNS,
    AsJson,
    Maximum,
    Minimum,
    Published,
    Storage,
    SweepName,
    TrackingUri,
    app,
    limits,
    out,
    print_json,
    storage_option,
    sweep_folder,
    sweep_trials,
)
from sweeps.engine.track.saved_view import UI_HOST, UI_PORT
from trainables.common.files import reading_many
from trainables.common.names import unknown
from trainables.specs import Split

PLACE = 2
X = Annotated[str, typer.Option("--x", help=f"{', '.join(x_axes()[:-1])} or {x_axes()[-1]}.")]


@app.command()
@reading_many()
def frontier(
    sweep: SweepName,
    x: X = DEFAULT_X,
    tasks: Annotated[
        bool, typer.Option("--tasks", help="Scores task by task instead of costs.")
    ] = False,
    published: Published = None,
    storage: Storage = RUNS,
    json: AsJson = False,
) -> None:
    """The accuracy/efficiency frontier; writes its csv, json and pngs."""
    from analysis.output.frontier_files import find_overlay, write_frontier
    from analysis.published.overlay import overlay_table

    folder = sweep_folder(storage, sweep)
    trials = (loaded := sweep_trials(folder)).trials
    found = find_frontier(trials, x)
    rows = task_rows(trials, found) if tasks else []
    overlay = find_overlay(trials, published, x) if published else None
    if json:
        under = {} if overlay is None else {"published": overlay}
        left_out = {"left_out": loaded.note} if loaded.note else {}
        print_json(rows if tasks else found.model_dump(mode="json") | under | left_out)
    elif tasks:
        tasks_table(rows, f"Frontier of {found.sweep}, task by task").show(out)
    else:
        frontier_table(found).show(out)
    if overlay is not None and not json:
        out.print()
        overlay_table(overlay).show(out)
    # After the answer: pictures take seconds.
    note = loaded.note
    files = write_frontier(folder, x, trials, published=published, frontier=found, note=note)
    if not json:
        written = (files.png, files.spider, files.csv)
        print("\n" + "\n".join(str(path) for path in written if path is not None))


@app.command()
def spider(
    sweep: SweepName,
    trials: Annotated[
        list[str] | None, typer.Argument(help="Trial ids; the frontier's by default.")
    ] = None,
    split: Annotated[
        Split | None, typer.Option(help="By default the one that the frontier quotes.")
    ] = None,
    published: Published = None,
    storage: Storage = RUNS,
    json: AsJson = False,
) -> None:
    """Retention task by task against the dense base; writes spider.png."""
    from analysis.draw.spider import chosen_spider, default_trials
    from analysis.output.frontier_files import write_spider

    folder = sweep_folder(storage, sweep)
    loaded = sweep_trials(folder).trials
    front = find_frontier(loaded, split=split)
    names = trials or default_trials(front)
    found = chosen_spider(loaded, names, front.split, published)
    if json:
        print_json(found)
    png = write_spider(folder, found)
    if not json:
        print(png)


@app.command()
def effects(sweep: SweepName, storage: Storage = RUNS, json: AsJson = False) -> None:
    """What each factor does, with intervals; writes it as csv, json, md and png.

    For sweeps over loss coefficients also the best mixture and those that equal it.
    """
    from analysis.effects.effect_texts import effects_markdown, show_effects
    from analysis.output.effect_files import find_effects, write_effects

    folder = sweep_folder(storage, sweep)
    found = find_effects(folder, sweep_trials(folder).trials)
    if json:
        print_json(found)
    elif out.is_terminal:
        show_effects(found, out)
    else:
        print(effects_markdown(found), flush=True)
    files = write_effects(folder, found)  # after the answer: pictures take seconds
    if not json:
        print(f"{files.png}\n{files.csv}")


@app.command()
def answers(
    sweep: SweepName,
    trial: Annotated[
        list[str] | None,
        typer.Argument(help="Trials to show beside the dense base; the frontier's by default."),
    ] = None,
    storage: Storage = RUNS,
    json: AsJson = False,
) -> None:
    """A fixed handful of samples and what each model answered to them.

    Without TRIAL it also writes them as json; with their pictures they are in the report.
    """
    from analysis.answers.answers_page import write_answers
    from analysis.answers.side_by_side import answers_plain, answers_table, find_answers

    folder = sweep_folder(storage, sweep)
    trials = sweep_trials(folder).trials
    given = [name.rpartition("/")[2] for name in trial or ()]
    scored = [t.trial_id for t in trials if t.report is not None]
    for name in given:
        if name not in scored:
            raise ValueError(unknown(f"trial of {sweep} on the report split", name, scored))
    found = find_answers(folder, trials, given or find_frontier(trials).trial_ids)
    if found is None:
        raise ValueError(
            f"'{folder}' keeps no pictures and answers; a sweep with gallery > 0 keeps them "
            "when it scores the report split, at its end"
        )
    if json:
        print_json(found)
    elif out.is_terminal:
        out.print(answers_table(found))
    else:
        print(answers_plain(found), flush=True)
    path = None if given else write_answers(folder, found)
    if path and not json:
        print(f"\n{path}")


@app.command()
@reading_many()
def recommend(
    sweep: SweepName,
    max_: Maximum = None,
    min_: Minimum = None,
    recipe: Annotated[
        bool,
        typer.Option("--recipe", help="The recipes that win, by size and data; writes a picture."),
    ] = False,
    storage: Storage = RUNS,
    json: AsJson = False,
) -> None:
    """The trial to ship within limits, the sweep's own besides; exit code 1 when nothing fits."""
    from analysis.recommend import UNSCORED, with_own_limits
    from analysis.recommend import recommend as choose

    folder = sweep_folder(storage, sweep)
    most, least = with_own_limits(folder, limits(max_, "--max"), limits(min_, "--min"))
    if recipe:
        _recommend_recipes(folder, most, least, json)
        return
    found = choose(sweep_trials(folder).trials, max=most, min=least)
    if json:
        print_json(found)
    else:
        say(out, found.message)
        where = storage_option(storage)
        if UNSCORED in found.left_out:
            say_command(out, f"prunesweep score {folder.name}/TRIAL{where}")
        if found.trial is not None:
            trial = f"{folder.name}/{found.trial.trial_id}"
            say_command(out, f"prunesweep export {trial} --to DIR{where}")
    if found.trial is None:
        raise typer.Exit(1)


def _recommend_recipes(
    folder: Path, most: dict[str, float], least: dict[str, float], json: bool
) -> None:
    from analysis.findings.recipe_report import find_recipes, recipe_table
    from analysis.output.recipe_files import write_recipes
    from analysis.recommend import within
    from search_spaces.spaces import decision_flow

    trials = sweep_trials(folder).trials
    found = find_recipes(folder, trials, decision_flow, within(trials, most, least))
    if json:
        print_json(found)
    elif found.answered:
        recipe_table(found).show(out)
    else:
        say(out, " ".join(found.notes))
    if not found.answered:
        raise typer.Exit(1)
    png = write_recipes(folder, found)  # after the answer: pictures take seconds
    if not json:
        print(f"\n{png}")


@app.command()
def ui(
    storage: Storage = RUNS,
    port: Annotated[int, typer.Option(min=1, max=65535)] = UI_PORT,
    host: Annotated[str, typer.Option(help="Only this machine by default.")] = UI_HOST,
    tracking_uri: TrackingUri = None,
) -> None:
    """Show the sweeps in MLflow's web page."""
    from sweeps.engine.track.store import own_uri, sweep_links

    uri = own_uri(storage, tracking_uri)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ValueError(
                f"port {port} on {host} cannot be used ({error.strerror}); choose another "
                "with --port"
            ) from None
    print(f"MLflow shows {uri} on port {port} of {host}; Ctrl-C ends it.", flush=True)
    for sweep, link in sweep_links(uri, host, port).items():
        print(f"{sweep}: {link}", flush=True)
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    command += ["--host", host, "--port", str(port), "--workers", "1"]
    os.execv(sys.executable, command)
