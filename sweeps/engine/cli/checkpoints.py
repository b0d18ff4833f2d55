"""Commands that read and write checkpoints."""

from pathlib import Path
from typing import Annotated

import typer

from analysis.text_table import say
from sweeps.engine.cli.app import (
    RUNS,
    AsJson,
    Storage,
    TrialName,
    app,
    err,
    out,
    print_json,
    quiet_libraries,
    trial_folder,
)
from trainables.common.files import check_free, read_json
from trainables.records import RECORD, TrialRecord
from trainables.specs import Dtype

PLACE = 4


@app.command()
def export(
    trial: TrialName,
    to: Annotated[Path, typer.Option(help="A new folder.")],
    dtype: Annotated[
        Dtype | None, typer.Option(help="Of the written weights; the model's by default.")
    ] = None,
    storage: Storage = RUNS,
) -> None:
    """Write a trial's model as one checkpoint that plain `transformers` loads."""
    folder = trial_folder(storage, trial)
    check_free(to)
    quiet_libraries()
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    from trainables.models.resized import MODULE
    from trainables.trial.student import export_trial

    export_trial(folder, to, dtype)
    quantization = read_json(folder / RECORD, TrialRecord).spec.quantization
    # The modelling file goes along with a student whose layers differ in width.
    trust = ", trust_remote_code=True" if (to / f"{MODULE}.py").exists() else ""
    load = f"AutoModelForImageTextToText.from_pretrained({str(to)!r}{trust})"
    say(out, f"{to}: load it with `{load}`; its README.md says more")
    if quantization != "none":
        say(out, f"the trial was scored as {quantization}, and these weights are not quantized")


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="An original checkpoint folder.")],
    to: Annotated[Path, typer.Option(help="A new folder.")],
    vision_tower: Annotated[
        Path | None,
        typer.Option(help="Checkpoint folder of the vision tower, where SRC only names it."),
    ] = None,
    dtype: Annotated[
        Dtype | None, typer.Option(help="Of the written weights; the checkpoint's by default.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Rewrite an original LLaVA, Bunny or InternVL checkpoint for plain `transformers`."""
    from trainables.models.convert import convert as rewrite

    def show(number: int, of: int, path: Path) -> None:
        size = path.stat().st_size / 2**20
        err.print(f"shard {number}/{of}  {path.name}  {size:,.1f} MiB")

    done = rewrite(
        source,
        to,
        vision_tower=vision_tower,
        dtype=dtype,
        progress=show,
    )
    if json:
        print_json(done)
    else:
        say(out, f"{to}: {done.tensors} tensors, {done.mib:,.1f} MiB {done.dtype}; load it with")
        print(f"`{done.model_class}.from_pretrained({str(to)!r})`")
