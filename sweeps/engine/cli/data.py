"""Commands about data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweeps.engine.cli.common import (
    AsJson,
    app,
    err,
    out,
    print_json,
    refusing,
)

data = typer.Typer(help="Training conversations.", no_args_is_help=True)
app.add_typer(data, name="data")


@data.command("check")
def check_data(
    file: Annotated[
        Path, typer.Argument(help="Conversations: JSON, JSON lines, or InternVL's meta JSON.")
    ],
    image_folder: Annotated[
        Path | None, typer.Option(help="What image paths start from; FILE's folder by default.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A model's name or folder: count tokens as it does.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=16, help="Longest sample, in tokens.")] = 2048,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; one per core by default.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Read every sample and decode every image; exit code 1 when something is broken."""
    from sweeps.engine.cluster import cpu_count
    from sweeps.engine.data_check import print_report, progress_bars
    from trainables.recovery.check import check_data as check
    from trainables.specs import DataSpec

    folder = None if image_folder is None else str(image_folder)
    spec = DataSpec(conversations=str(file), image_folder=folder, max_tokens=max_tokens)
    with refusing(), progress_bars(err) as show:
        report = check(spec, model, workers or cpu_count(), show)
    print_json(report.model_dump(mode="json")) if json else print_report(report, out)
    if report.broken:
        raise typer.Exit(1)
