"""A simulated search as it is printed."""

from rich.console import Console

from analysis.text_table import TextTable, say
from sweeps.engine.simulate.found import CellFound, Moment, Simulation


def print_simulation(found: Simulation, console: Console) -> None:
    """Two tables, what was found when and what was best in each cell, and what they mean."""
    TextTable(
        header=("trials", "stopped", "device-hours", "wall-clock hours", "hypervolume %"),
        rows=[_moment(moment) for moment in found.moments],
        title=f"Simulated search of {found.sweep}, {found.slots} slots, seed {found.seed}",
        note="hypervolume: of what the cells can come to, above no recovery, over log cost; mean",
        first=("trials", "hypervolume %", "device-hours"),
        also="--json",
    ).show(console)
    console.print()
    TextTable(
        header=("cell", "trials", "stopped", "hypervolume %", "best", "scored", "true", "TFLOPs"),
        rows=[_cell(cell) for cell in found.cells],
        title="Best of each cell",
        note="scored: retention as the search saw it; true: without noise",
        first=("cell", "scored", "true", "TFLOPs"),
        also="--json",
    ).show(console)
    console.print()
    for share, moment in found.reached.items():
        say(
            console,
            f"{float(share):.0%} of the hypervolume after {moment.trials} trials, "
            f"{moment.device_hours:.3g} device-hours, {moment.wall_hours:.3g} hours.",
        )
    if any(moment.stopped for moment in found.moments):
        lost = ", ".join(found.front_stopped) or "none"
        say(console, f"Stopped, but on the front had they run to their end: {lost}.")
    for line in found.ended:
        say(console, line)
    say(console, f"Objective {found.objective}: {found.about}.")


def _moment(moment: Moment) -> tuple[str, ...]:
    hours = (f"{moment.device_hours:.3g}", f"{moment.wall_hours:.3g}")
    return (str(moment.trials), str(moment.stopped), *hours, f"{100 * moment.share:.1f}")


def _cell(cell: CellFound) -> tuple[str, ...]:
    levels = " ".join(str(level) for level in cell.cell.values()) or "all"
    numbers = [
        "-" if value is None else text.format(value)
        for value, text in (
            (cell.best, "{}"),
            (cell.retention, "{:.3f}"),
            (cell.truth, "{:.3f}"),
            (cell.tflops, "{:.3g}"),
        )
    ]
    counts = (str(cell.trials), str(cell.stopped), f"{100 * cell.share:.1f}")
    return (levels, *counts, *numbers)
