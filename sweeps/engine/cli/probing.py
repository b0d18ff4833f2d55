"""`prunesweep probe`: what a plan would otherwise have to assume."""

from typing import Annotated

import typer

from sweeps.engine.cli.app import RUNS, AsJson, Overrides, Storage, SweepName, app, out, print_json

PLACE = 1.5  # in the help, after the commands that run a sweep


@app.command()
def probe(
    sweep: SweepName,
    set_: Overrides = None,
    seconds: Annotated[float, typer.Option(min=10, help="How long to measure, about.")] = 120.0,
    storage: Storage = RUNS,
    json: AsJson = False,
) -> None:
    """Measure training, scoring, answers and latency on this device, for `plan` and budgets."""
    from sweeps.engine.plan.probing import probe_sweep
    from sweeps.engine.show.forecasts import print_probe
    from sweeps.engine.spec.loading import load_sweep

    found = probe_sweep(load_sweep(sweep, set_ or []), storage, seconds)
    print_json(found) if json else print_probe(found, out)
