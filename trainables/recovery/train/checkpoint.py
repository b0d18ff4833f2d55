"""What a recovery keeps in its trial's folder: checkpoint and curves.

The training state is in a form of our own: one safetensors file, for any number of workers.

A ZeRO checkpoint loads only with the same number of workers and damages the weights when it does
not, so the state is kept by parameter name in full precision: weight, both Adam moments, the step
and what the report needs. A checkpoint carries the id of the attempt that wrote it.
"""

import json
import math
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from trainables.common.attempts import owned, owned_here
from trainables.common.copies import is_there, put_files, remote_of, remove
from trainables.common.files import replace_file, replacing
from trainables.common.process_group import broadcast, rank_and_world
from trainables.records import ASKED, CHECKPOINT, CURVES, LOG
from trainables.recovery.train.engine import StepResult
from trainables.specs import Frozen

LOOK_SECONDS = 3.0  # between looks into an object store
_looked = -math.inf
MOMENTS = ("exp_avg", "exp_avg_sq")
OTHER = ("step", "grad_norm", "learning_rate", "skipped")  # what a line holds beside its terms


class Progress(Frozen):
    """How far the recovery is, and what its report has to remember."""

    step: int = 0
    tokens: int = 0
    samples: int = 0
    flops: float = 0.0
    clipped: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    recent_losses: tuple[float, ...] = ()
    first_terms: dict[str, float] = Field(default_factory=dict)
    first_grad_norms: dict[str, float] = Field(default_factory=dict)


def save_checkpoint(
    folder: Path,
    engine: Any,
    trained: dict[str, nn.Parameter],
    progress: Progress,
    attempt: str,
    content: str,
) -> None:
    """Gather the full state on every worker and let rank 0 write it (beside, then renamed).

    `content` says what is trained and on what, and `attempt` by whom.

    Raises:
        RuntimeError: a newer attempt at this trial has begun; this writer is stale.
    """
    from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

    tensors: dict[str, Tensor] = {}
    for name, parameter in trained.items():
        tensors[f"weight/{name}"] = safe_get_full_fp32_param(parameter)
        for moment in MOMENTS:
            tensors[f"{moment}/{name}"] = safe_get_full_optimizer_state(parameter, moment)
    if rank_and_world()[0] != 0:
        return
    metadata = {"progress": progress.model_dump_json(), "attempt": attempt, "content": content}
    with owned(folder, attempt):
        put_files(folder / CURVES, folder / LOG)  # the lines up to here
    with replacing(folder / CHECKPOINT, owned(folder, attempt)) as part:
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, part, metadata)
    remove(folder / ASKED)


def asked(folder: Path) -> bool:
    """Whether somebody wants a checkpoint now, as the first worker sees it; the same on all."""
    rank, world = rank_and_world()
    found = rank == 0 and _asked_somewhere(folder)
    return bool(broadcast("asked" if found else "")) if world > 1 else found


def _asked_somewhere(folder: Path) -> bool:
    global _looked
    if remote_of(folder) is not None:  # a request each time
        if time.monotonic() - _looked < LOOK_SECONDS:
            return False
        _looked = time.monotonic()
    with suppress(OSError):  # a storage that does not answer now
        return is_there(folder / ASKED)
    return False


def load_progress(folder: Path, content: str) -> Progress | None:
    """The progress stored in the folder's checkpoint; None where no readable one has `content`."""
    try:
        with safe_open(folder / CHECKPOINT, "pt") as file:
            held = file.metadata()
        if held["content"] == content:
            return Progress.model_validate_json(held["progress"])
        print("the checkpoint is of other data or another model; starting over", flush=True)
        return None
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return None


def restore_weights(folder: Path, trained: dict[str, nn.Parameter]) -> None:
    """Put the stored weights into the student before the engine is built.

    The engine takes its full-precision copy from them; setting that copy alone, later, would leave
    the weights that the forward pass reads as they were.

    Raises:
        ValueError: the checkpoint holds other parameters than `trained`.
    """
    with safe_open(folder / CHECKPOINT, "pt") as file:
        stored = {k.split("/", 1)[1] for k in file.keys() if k.startswith("weight/")}
        if stored != set(trained):
            raise ValueError(
                f"the checkpoint in {folder} holds {len(stored)} trained tensors, the student has "
                f"{len(trained)}; remove the trial's folder to start it over"
            )
        for name, parameter in trained.items():
            parameter.data.copy_(file.get_tensor(f"weight/{name}"))


def restore_state(
    folder: Path, engine: Any, trained: dict[str, nn.Parameter], progress: Progress
) -> None:
    """Put the stored moments and the progress's step into an engine that has taken one step.

    There is no random state to restore: every step seeds its own (see `loop`).
    """
    from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

    with safe_open(folder / CHECKPOINT, "pt") as file:
        for name, parameter in trained.items():
            # Again, since weights in half precision lost the low digits on the way.
            safe_set_full_fp32_param(parameter, file.get_tensor(f"weight/{name}"))
            for moment in MOMENTS:
                value = file.get_tensor(f"{moment}/{name}")
                safe_set_full_optimizer_state(parameter, value, moment)
    applied = progress.step - progress.skipped  # a skipped step never reached the optimizer
    optimizer = engine.optimizer
    while hasattr(optimizer, "optimizer"):
        optimizer = optimizer.optimizer
    for state in optimizer.state.values():
        if "step" in state:
            state["step"].fill_(applied)
    engine.global_steps = progress.step


class Curves:
    """The course: a JSON line per step; a resumed recovery drops those after its checkpoint."""

    def __init__(self, folder: Path, resumed_at: int, attempt: str) -> None:
        """Keep the first `resumed_at` lines of the file.

        Raises:
            RuntimeError: a newer attempt at this trial has begun, here and in `write`.
        """
        path = folder / CURVES
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = "".join(f"{line}\n" for line in lines[:resumed_at])
        replace_file(path, kept.encode(), owned(folder, attempt))
        self._folder, self._path, self._attempt = folder, path, attempt

    def write(self, step: int, result: StepResult, learning_rate: float) -> None:
        """Add a step; values that are not finite become null."""
        row: dict[str, float | str | None] = {
            "step": step,
            "grad_norm": _finite(result.grad_norm),
            "learning_rate": learning_rate,
            **{name: _finite(value) for name, value in result.terms.items()},
        }
        if result.skipped:
            row["skipped"] = result.skipped
        with (
            owned_here(self._folder, self._attempt),
            self._path.open("a", encoding="utf-8") as file,
        ):
            file.write(json.dumps(row) + "\n")

    def mean(self, steps: int) -> dict[str, float]:
        """Each term's mean over the last `steps` lines, those before a resume included.

        Skipped steps do not count.
        """
        lines = self._path.read_text(encoding="utf-8").splitlines()[-steps:]
        rows = [row for row in map(json.loads, lines) if "skipped" not in row]
        names = [name for name in (rows or [{}])[0] if name not in OTHER]
        return {name: float(np.mean([row[name] for row in rows])) for name in names}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
