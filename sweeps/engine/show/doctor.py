"""A look at this machine: what a sweep needs, and what would slow it down."""

import importlib.metadata
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Literal

import psutil
from rich.console import Console
from rich.table import Table

from sweeps.engine.plan.estimates import cpu_count
from sweeps.engine.plan.preflight import LEAST_FREE_BYTES
from trainables.specs import Frozen

PACKAGES = (
    "ray", "torch", "torchvision", "transformers", "peft", "deepspeed", "datasets", "optuna",
    "mlflow", "lmms-eval",
)  # fmt: skip
SLOT_GIB = 1.6  # a warm slot on CPU with everything imported and the embedded model


class Finding(Frozen):
    """One line of the doctor's report."""

    what: str
    level: Literal["ok", "warning", "error"]
    text: str


def examine(storage: Path) -> list[Finding]:
    """What was found, one `Finding` per subject."""
    return [
        Finding(what="python", level="ok", text=platform.python_version()),
        *(_package(name) for name in PACKAGES),
        _devices(),
        _memory(),
        _disk(storage),
        _bytecode(),
    ]


def print_findings(findings: list[Finding], console: Console) -> None:
    """The findings as a table."""
    table = Table(show_header=False, box=None)
    colours = {"ok": "green", "warning": "yellow", "error": "red"}
    for finding in findings:
        level = f"[{colours[finding.level]}]{finding.level}[/]"
        table.add_row(level, finding.what, finding.text)
    console.print(table)


def _package(name: str) -> Finding:
    try:
        return Finding(what=name, level="ok", text=importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(what=name, level="error", text="not installed; run `make install`")


def _devices() -> Finding:
    cpus = f"{cpu_count()} CPU cores"
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        found = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        text = f"{cpus}, no GPU: fine for the embedded model, not for a model of billions"
        return Finding(what="devices", level="ok", text=text)
    gpus = "; ".join(found.stdout.strip().splitlines())
    return Finding(what="devices", level="ok", text=f"{cpus}; {gpus}")


def _memory() -> Finding:
    free = psutil.virtual_memory().available / 2**30
    needed = SLOT_GIB * cpu_count() + 2
    text = f"{free:.1f} GiB available; {cpu_count()} slots need about {needed:.1f} GiB"
    if free >= needed:
        return Finding(what="memory", level="ok", text=text)
    fewer = max(1, int((free - 2) / SLOT_GIB))
    text += f"; use --set resources.slots={fewer}"
    return Finding(what="memory", level="warning", text=text)


def _disk(storage: Path) -> Finding:
    place = next((p for p in (storage, *storage.resolve().parents) if p.exists()), Path())
    free = shutil.disk_usage(place).free
    text = f"{free / 2**30:.1f} GiB free for {storage}"
    if not os.access(place, os.W_OK):
        return Finding(what="storage", level="error", text=f"{place} cannot be written")
    return Finding(what="storage", level="ok" if free >= LEAST_FREE_BYTES else "error", text=text)


def _bytecode() -> Finding:
    if not os.environ.get("PYTHONDONTWRITEBYTECODE"):
        return Finding(what="bytecode", level="ok", text="compiled modules are kept")
    text = "PYTHONDONTWRITEBYTECODE is set, so every start is slow for ever; unset it"
    return Finding(what="bytecode", level="warning", text=text)
