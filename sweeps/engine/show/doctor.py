"""A look at this machine: what a sweep needs, and what would slow it down."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from rich.console import Console

from analysis.text_table import Listing, TextTable
from sweeps.engine.plan.estimates import cpu_count
from sweeps.engine.plan.preflight import LEAST_FREE_BYTES
from trainables.common.findings import Finding, Level
from trainables.specs import GIB, Quantization

if TYPE_CHECKING:
    from trainables.trial.examine import Examination

PACKAGES = (
    "ray", "torch", "torchvision", "transformers", "peft", "deepspeed", "datasets", "optuna",
    "mlflow", "lmms-eval",
)  # fmt: skip
# Powers of two, heads of 80 and 96 and their multiples, and what width pruning leaves.
WIDTHS = (64, 80, 96, 128, 160, 192, 240, 333, 1000, 1536)
ANSWERS = 3  # that are shown of each task
SLOT_GIB = 1.6  # a warm slot on CPU with everything imported and the embedded model


def examine(storage: Path) -> list[Finding]:
    """What was found, one `Finding` per subject."""
    found: dict[str, tuple[Level, str]] = {
        "python": ("ok", platform.python_version()),
        **{name: _package(name) for name in PACKAGES},
        "devices": ("ok", _devices()),
        **_processor(),
        "memory": _memory(),
        "storage": _disk(storage),
        "bytecode": _bytecode(),
    }
    return [Finding(what=what, level=level, text=text) for what, (level, text) in found.items()]


def print_findings(findings: list[Finding], console: Console) -> None:
    """The findings as a table."""
    colours = {"ok": "green", "warning": "yellow", "error": "red"}
    Listing([(f.level, f.what, f.text) for f in findings], styles=colours).show(console)


def print_examination(found: Examination, console: Console) -> None:
    """What was found of a model, and below it what it answered."""
    print_findings(list(found.findings), console)
    if not found.answers:
        return
    rows, seen = [], Counter[str]()
    for row in found.answers:
        seen[row.task] += 1
        if seen[row.task] <= ANSWERS:
            right = " or ".join(row.truth)
            rows.append((row.task, row.question, right, row.answer, f"{row.score:.0f}"))
    console.print()
    TextTable(
        ("task", "question", "right", "answered", "score"), rows, "`--json` has all of them"
    ).show(console)


def _package(name: str) -> tuple[Level, str]:
    try:
        return "ok", importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "error", "not installed; run `make install`"


def _devices() -> str:
    cpus = f"{cpu_count()} CPU cores"
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        found = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return f"{cpus}, no GPU: fine for the embedded model, not for a model of billions"
    return "; ".join([cpus, *found.stdout.strip().splitlines()])


def _processor() -> dict[str, tuple[Level, str]]:
    """What libraries choose kernels by, and whether quantized products are right with these."""
    import torch

    from trainables.common.device import processor_name
    from trainables.models.quantizers import LIBRARIES

    found: dict[str, tuple[Level, str]] = {"processor": ("ok", processor_name(torch.device("cpu")))}
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        for quantization in LIBRARIES:
            found[f"{quantization} on {device}"] = _products(quantization, device)
    return found


def _products(quantization: Quantization, device: str) -> tuple[Level, str]:
    from trainables.efficiency.quantize import probed_products

    try:
        products = probed_products(quantization, WIDTHS, device)
    except (ValueError, ImportError, OSError) as error:
        return "warning", str(error)
    wrong = products.by_definition
    if not wrong:
        return "ok", f"{products.library} is right at all of {len(WIDTHS)} widths tried"
    widths = ", ".join(str(shape.inputs) for shape in wrong)
    return "warning", (
        f"{products.library} is wrong at {len(wrong)} of {len(WIDTHS)} widths tried ({widths}); "
        "trials take the format's definition there, transformers alone does not"
    )


def _memory() -> tuple[Level, str]:
    free = psutil.virtual_memory().available / GIB
    needed = SLOT_GIB * cpu_count() + 2
    text = f"{free:.1f} GiB available; {cpu_count()} slots need about {needed:.1f} GiB"
    if free >= needed:
        return "ok", text
    fewer = max(1, int((free - 2) / SLOT_GIB))
    return "warning", f"{text}; use --set resources.slots={fewer}"


def _disk(storage: Path) -> tuple[Level, str]:
    place = next((p for p in (storage, *storage.resolve().parents) if p.exists()), Path())
    free = shutil.disk_usage(place).free
    if not os.access(place, os.W_OK):
        return "error", f"{place} cannot be written"
    level: Level = "ok" if free >= LEAST_FREE_BYTES else "error"
    return level, f"{free / GIB:.1f} GiB free for {storage}"


def _bytecode() -> tuple[Level, str]:
    if not os.environ.get("PYTHONDONTWRITEBYTECODE"):
        return "ok", "compiled modules are kept"
    return "warning", "PYTHONDONTWRITEBYTECODE is set, so every start is slow for ever; unset it"
