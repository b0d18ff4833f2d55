"""What the commands share: the application, their options, output, and one-line errors."""

import glob
import json
import logging
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic_core import to_jsonable_python
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from analysis.load import Loaded, load_sweep_trials
from analysis.text_table import say, say_command
from sweeps.engine.ended import EndedError
from sweeps.engine.storage import RUNS as RUNS
from sweeps.engine.storage import pulled as pulled
from sweeps.engine.storage import shown as shown
from sweeps.engine.storage import storage_folder
from sweeps.engine.storage import storage_option as storage_option
from trainables.common.names import unknown
from trainables.records import RECORD

out, err = Console(highlight=False), Console(highlight=False, stderr=True)

BAD_INPUT, INTERRUPTED = 2, 130


class _Said(logging.Handler):
    """What the product warns of, as a line on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        say(err, record.getMessage())


logging.getLogger("prunesweep").addHandler(_Said())


_UsageError: Any = typer.BadParameter.__base__  # click's, or typer's own copy of it


class Refusing(TyperGroup):
    """Commands that turn what the user can mend into one line on stderr and exit code 2.

    What ended from outside is a line, too, and exit code 1.
    """

    def main(self, *args: Any, **extra: Any) -> Any:
        """Parse and run a command line."""
        if not extra.pop("standalone_mode", True):
            return super().main(*args, **extra | {"standalone_mode": False})
        try:
            sys.exit(super().main(*args, **extra | {"standalone_mode": False}))
        except _UsageError as error:
            if type(error).__name__ == "NoArgsIsHelpError":
                error.show()
            else:
                given = " ".join(error.format_message().split()).replace("Value error, ", "")
                path = error.ctx.command_path if error.ctx else "prunesweep COMMAND"
                refuse(f"{given.rstrip('.')}; `{path} --help` says what can be given")
            sys.exit(BAD_INPUT)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # whoever read the output has left: nothing to mend
            raise
        except (ValueError, OSError) as error:
            text = str(error)
            if isinstance(error, OSError) and error.strerror:
                text = f"{error.filename or ''}: {error.strerror}".lstrip(": ")
            refuse(text)
            raise typer.Exit(BAD_INPUT) from None
        except EndedError as error:
            refuse(str(error))
            raise typer.Exit(1) from None


def refuse(text: str) -> None:
    """Say what is wrong, in the form that every error has."""
    say(err, Text.assemble(("error:", "bold red"), " ", text))


app = typer.Typer(
    name="prunesweep",
    cls=Refusing,
    help="Compress vision-language models and map what compression costs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


Storage = Annotated[
    Path,
    typer.Option(
        envvar="PRUNESWEEP_STORAGE",
        help="Folder of ledger, store and MLflow database, or s3://BUCKET/PREFIX.",
        callback=storage_folder,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SweepName = Annotated[str, typer.Argument(help="A sweep's name, or its Python or YAML file.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="key.sub=value, may be repeated.")
]
Maximum = Annotated[
    list[str] | None, typer.Option("--max", help="Upper limit, e.g. weights_mib=9500.")
]
Published = Annotated[
    str | None,
    typer.Option(help="Lay the study's published points under it, e.g. llava-v1.5-7b."),
]
TrackingUri = Annotated[
    str | None, typer.Option(envvar="MLFLOW_TRACKING_URI", help="An MLflow server or store.")
]
Minimum = Annotated[
    list[str] | None,
    typer.Option("--min", help="Lower limit; retention's is tested at its interval's end."),
]
TrialName = Annotated[str, typer.Argument(help="SWEEP/ID of a trial, or ID, or how it begins.")]


def sweep_folder(storage: Path, name: str) -> Path:
    """The folder of a sweep that has run; the name, or a sweep file whose sweep has the name."""
    if name.endswith((".py", ".yaml", ".yml")):
        from sweeps.engine.spec.loading import load_sweep

        name = load_sweep(name).name
    return pulled(storage, name) / name


def sweep_trials(folder: Path) -> Loaded:
    """The trials of a sweep; says on stderr which ones are left out."""
    loaded = load_sweep_trials(folder)
    if loaded.note:
        say(err, loaded.note)
    return loaded


def limits(given: list[str] | None, option: str) -> dict[str, float]:
    """What `axis=number` says, for every time that the option was given.

    Raises:
        ValueError: it says something else.
    """
    found_limits = {}
    for text in given or []:
        axis, found, value = text.partition("=")
        try:
            found_limits[axis.strip()] = float(value)
        except ValueError:
            found = ""
        if not found:
            raise ValueError(f"{option} {text!r} is no limit; write {option} axis=number")
    return found_limits


def say_next(told: Iterable[tuple[str, str]], storage: Path) -> None:
    """Sentences on what to do next, each with its command where it has one."""
    for why, command in told:
        out.print()
        say(out, why)
        if command:
            say_command(out, f"prunesweep {command}{storage_option(storage)}")


def trial_folder(storage: Path, name: str) -> Path:
    """The folder of a finished trial, named by SWEEP/ID or ID, whose end may be left out.

    Raises:
        ValueError: none has that name, or several begin with it.
    """
    sweep, _, trial = name.rpartition("/")
    pulled(storage, sweep or None)
    sweeps = glob.escape(sweep) or "*"
    found = sorted(path.parent for path in storage.glob(f"{sweeps}/trials/*/{RECORD}"))
    matches = [folder for folder in found if folder.name == trial] or [
        folder for folder in found if folder.name.startswith(trial)
    ]
    if len(matches) == 1:
        return matches[0]
    names = [f"{folder.parents[1].name}/{folder.name}" for folder in matches or found]
    if not matches:
        raise ValueError(unknown(f"trial in {shown(storage)}", name, names))
    raise ValueError(f"{name!r} may be {' or '.join(names)}; write more of it")


def quiet_libraries() -> None:
    """Leave out what libraries say of themselves; a command calls it before it loads torch.

    The bars of downloads and of loading stay.
    """
    for name in ("torch.utils._pytree", "DeepSpeed"):
        logging.getLogger(name).addFilter(_is_error)  # DeepSpeed sets its level when it loads
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


def print_json(value: Any) -> None:
    """Records, and lists or dicts of them, as JSON on stdout."""
    print(json.dumps(to_jsonable_python(value), indent=1, ensure_ascii=False))
