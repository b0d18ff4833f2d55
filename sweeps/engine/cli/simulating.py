"""The command that tries a sweep's search out, without running a trial."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from analysis.text_table import say
from sweeps.engine.cli.app import RUNS, AsJson, Overrides, SweepName, app, err, out, print_json

PLACE = 1.5  # in the help, after the commands that run a sweep


@app.command()
def simulate(
    sweep: SweepName,
    objective: Annotated[
        str, typer.Option(help="What trials come to: `table` (measured) or `analytic`.")
    ] = "table",
    slots: Annotated[int, typer.Option(min=1, help="Trials at a time.")] = 1,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of the search and the noise; the sweep's by default.")
    ] = None,
    set_: Overrides = None,
    storage: Annotated[
        Path | None, typer.Option(help="Keep the simulated ledger here; by default it is dropped.")
    ] = None,
    json: AsJson = False,
) -> None:
    """What a sweep's search would find when: its own decisions, a simulated clock, no Ray."""
    from analysis.bases import Base
    from sweeps.engine.plan.base import changed_base
    from sweeps.engine.show.simulation import print_simulation
    from sweeps.engine.simulate.clock import simulate as run
    from sweeps.engine.simulate.found import follow
    from sweeps.engine.simulate.objectives import objective_called
    from sweeps.engine.spec.endings import ended_lines
    from sweeps.engine.spec.ledger import Ledger
    from sweeps.engine.spec.loading import load_sweep

    given = [] if seed is None else [f"seed={seed}"]
    spec = load_sweep(sweep, [*(set_ or []), *given])
    if changed := changed_base(spec, Base(trial=spec.trial), Ledger(RUNS, spec.name)):
        say(err, f"As it is here, {changed}. `prunesweep run` would refuse to go on with it.")
    answers = objective_called(objective)
    with tempfile.TemporaryDirectory(prefix="prunesweep-simulate-") as folder:
        ledger = Ledger(storage or Path(folder), spec.name)
        found = follow(spec, answers, slots, run(spec, answers, ledger.storage, slots))
        ended = tuple(ended_lines(spec.samples, ledger))
    found = found.model_copy(update={"ended": ended})
    print_json(found) if json else print_simulation(found, out)
    if storage is not None and not json:
        print(f"Ledger: {storage / spec.name}; `prunesweep status` and `frontier` read it.")
