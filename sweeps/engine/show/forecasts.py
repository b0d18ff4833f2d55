"""A sweep's time by stage, and what a probe measured, as text."""

from rich.console import Console
from rich.text import Text

from analysis.text_table import TextTable, say
from sweeps.engine.plan.forecast import Forecast
from sweeps.engine.plan.probing import Probe
from trainables.common.names import lasting


def print_forecast(forecast: Forecast, console: Console) -> None:
    """Seconds by stage, and what they follow from."""
    rows = [
        (row.stage, lasting(row.seconds), lasting(row.spent) if row.spent else "-", row.basis)
        for row in forecast.stages
    ]
    console.print("[bold]device time by stage[/bold]")
    TextTable(
        ("stage", "time", "spent", "from"),
        rows,
        "time: of the whole sweep, closing pass included, no trial stopped early; "
        "`prunesweep probe` measures what is assumed",
    ).show(console)


def print_probe(probe: Probe, console: Console) -> None:
    """The rates of a probe."""
    rates = probe.rates
    rows = [(f"start of a slot: {k}", f"{v:.3g} s") for k, v in (rates.start or {}).items()]
    rows += [
        (f"importance, {k}", f"{v:.3g} s per sample") for k, v in (rates.importance or {}).items()
    ]
    if rates.cache is not None:
        rows.append(("teacher cache", f"{rates.cache:.3g} s per sample"))
    if rates.recovery is not None:
        fixed, sample, tflop = rates.recovery
        each = f"{fixed:.3g} s, {sample:.3g} s per sample, {tflop:.3g} s per TFLOP"
        rows.append(("recovery", each))
    if rates.comparison is not None:
        rows.append(("comparison", f"{rates.comparison:.3g} s per held-out conversation"))
    if rates.evaluation is not None:
        fixed, sample = rates.evaluation
        rows.append(("evaluation", f"{fixed:.3g} s, {1 / sample:,.0f} samples/s"))
    if rates.preparing is not None:
        rows.append(("prune and measure", f"{rates.preparing:.3g} s per trial"))
    if rates.latency is not None:
        rows.append(("latency", f"{rates.latency:.3g} s per closed trial"))
    say(console, Text(f"{probe.model}, {probe.dtype}, on {probe.device}", "bold"))
    TextTable(("stage", "device time"), rows).show(console)
    say(console, f"Measured in {probe.seconds:.0f} s; `prunesweep plan` of the sweep uses it now.")
