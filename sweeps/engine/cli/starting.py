"""`prunesweep init`: a sweep file to begin with."""

from pathlib import Path
from typing import Annotated

import typer

from analysis.text_table import say, say_command
from sweeps.engine.cli.app import app, limits, out

PLACE = 0.5


@app.command()
def init(
    file: Annotated[Path, typer.Argument(help="The sweep file to write, e.g. mine.py.")],
    model: Annotated[str, typer.Option(help="A known model, or a checkpoint folder.")] = "tiny",
    data: Annotated[
        Path | None,
        typer.Option(help="Conversations to train on; `tiny` and `smol` bring their own."),
    ] = None,
    image_root: Annotated[
        Path | None, typer.Option(help="What image paths start from; by default the file's folder.")
    ] = None,
    eval_: Annotated[
        list[str] | None,
        typer.Option(
            "--eval", help="A task, a file of questions or a folder of tasks; may be repeated."
        ),
    ] = None,
    benchmarks: Annotated[
        Path | None, typer.Option(help="Folder that `prunesweep data fetch` filled.")
    ] = None,
    max_: Annotated[
        list[str] | None, typer.Option("--max", help="Size to fit into, e.g. weights_mib=9216.")
    ] = None,
) -> None:
    """Write a commented sweep file for a model, data, tasks and a size; it runs as it is."""
    from sweeps.engine.plan.new_sweep import write_sweep

    sweep = write_sweep(
        file,
        model=model,
        conversations=data,
        image_root=image_root,
        tasks=eval_ or (),
        benchmarks=benchmarks,
        limits=limits(max_, "--max"),
    )
    say(out, f"{file}: {sweep.question}")
    say_command(out, f"prunesweep plan {file}")
    say_command(out, f"prunesweep run {file}")
