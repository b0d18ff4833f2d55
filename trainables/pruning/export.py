"""One folder that plain `transformers` loads: merged weights, processor, plan, licence and card."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch

from trainables.models.dense import DenseModel
from trainables.models.recovered import apply_recovered
from trainables.pruning.card import model_card
from trainables.pruning.planner import PrunePlan
from trainables.pruning.surgery import apply_plan
from trainables.records import TrialRecord, write_json

Dtype = Literal["float32", "bfloat16", "float16"]


def export_student(
    dense: DenseModel,
    plan: PrunePlan,
    recovered: Path | None,
    to: Path,
    record: TrialRecord | None = None,
    dtype: Dtype | None = None,
) -> Path:
    """Write the student as one merged checkpoint and return its folder.

    The folder holds safetensors weights (LoRA merged), config, generation config, processor,
    `prune_plan.json`, the base model's licence files and a model card; it loads with the class's
    own `from_pretrained` and with `AutoProcessor`. It is written beside `to` and then renamed.

    Args:
        dense: the model that was pruned.
        plan: what is kept of it.
        recovered: file of `save_recovered`; None exports the student as it was pruned.
        to: a folder that does not exist yet, or an empty one.
        record: of the trial, quoted in the card.
        dtype: of the written weights; None takes that of the model's spec.

    Raises:
        ValueError: if `to` is taken or cannot be written, or the plan is for other weights.
    """
    if plan.weights_digest and plan.weights_digest != dense.weights_digest:
        raise ValueError(
            f"the plan belongs to weights {plan.weights_digest[:12]}, but the model in "
            f"{dense.folder} has weights {dense.weights_digest[:12]}; export with the model that "
            "was pruned"
        )
    dtype = dtype or dense.spec.dtype
    with _new_folder(to) as part:
        student = apply_plan(dense.model, dense.adapter, plan)
        if recovered is not None:
            apply_recovered(student, recovered)
        student.to(getattr(torch, dtype))
        student.config.dtype = getattr(torch, dtype)
        student.save_pretrained(part)
        dense.processor.save_pretrained(part)
        write_json(part / "prune_plan.json", plan)
        if record is not None:
            write_json(part / "trial_record.json", record)
        licences = _copy_licences(dense.folder, part)
        card = model_card(dense.spec, dense.folder, plan, record, dtype, licences)
        (part / "README.md").write_text(card, encoding="utf-8")
    return to


@contextmanager
def _new_folder(to: Path) -> Iterator[Path]:
    """A folder beside `to` that takes its place on success and vanishes on failure."""
    if to.exists() and not (to.is_dir() and not any(to.iterdir())):
        raise ValueError(
            f"{to} exists and is not an empty folder, and nothing is overwritten; name another"
        )
    part = to.with_name(f".{to.name}.{os.getpid()}.part")
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        part.mkdir()
        yield part
        os.replace(part, to)  # replaces an empty folder
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"{to} cannot be written: {reason}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _copy_licences(folder: Path, to: Path) -> list[str]:
    """Names of the base model's licence and notice files, copied."""
    names = []
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name.upper().startswith(("LICENSE", "LICENCE", "NOTICE")):
            shutil.copyfile(path, to / path.name)
            names.append(path.name)
    return names
