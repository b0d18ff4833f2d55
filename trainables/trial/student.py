"""The student of a trial whose training is over: built again, and written as a checkpoint."""

import hashlib
import json
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import PreTrainedModel

from trainables.common.copies import fetched
from trainables.common.files import read_json
from trainables.efficiency.quantize import quantize
from trainables.models.dense import load_dense
from trainables.models.recovered import apply_recovered
from trainables.pruning.export import export_student
from trainables.pruning.planning.planner import PrunePlan
from trainables.pruning.surgery import apply_plan
from trainables.records import RECORD, REPORT, TRAINED, ClosingReport, TrialRecord
from trainables.specs import Dtype
from trainables.trial.inputs import Inputs
from trainables.trial.plan import load_plan


def recovered_student(inputs: Inputs, plan: PrunePlan, trained: Path | None) -> PreTrainedModel:
    """The dense model, cut by the plan, with the tensors of the file `trained` if there is one."""
    student = apply_plan(inputs.dense.model, inputs.dense.adapter, plan)
    if trained is not None:
        apply_recovered(student, trained)
    return student


def finished_student(inputs: Inputs, plan: PrunePlan, trained: Path | None) -> PreTrainedModel:
    """The student as it is scored: recovered, and quantized if its spec says so."""
    student = recovered_student(inputs, plan, trained)
    return quantize(student, inputs.dense.adapter, inputs.spec.quantization)


def trained_file(folder: Path, record: TrialRecord) -> Path | None:
    """The trained tensors of a finished trial's student; None where it was kept as pruned.

    They are fetched, where they lie in an object store.
    """
    return fetched(folder / TRAINED) if record.has_trained else None


def trained_digest(folder: Path) -> str:
    """Hex SHA-256 of the trained tensors in a trial's folder; empty where there are none.

    Of the tensors, not of the file: safetensors writes its metadata in any order.
    """
    path, total = folder / TRAINED, hashlib.sha256()
    if not path.exists():
        return ""
    with safe_open(path, "pt") as file:
        total.update(json.dumps(file.metadata(), sort_keys=True).encode())
        for name in sorted(file.keys()):
            tensor = file.get_tensor(name)
            total.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
            total.update(tensor.flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()


def no_model(folder: Path, record: TrialRecord) -> ValueError:
    """The error of a trial without a student."""
    reason = f" ({record.error})" if record.error else ""
    return ValueError(f"trial {folder.name} is {record.status}{reason}; it left no model")


def export_trial(folder: Path, to: Path, dtype: Dtype | None = None) -> Path:
    """Write the model of the trial in `folder` into the new folder `to`.

    Raises:
        ValueError: the trial has no result, or `to` is taken.
    """
    record = read_json(folder / RECORD, TrialRecord)
    if record.status != "completed":
        raise no_model(folder, record)
    dense = load_dense(record.spec.model)
    recovered = trained_file(folder, record)
    closed = folder / REPORT
    report = read_json(closed, ClosingReport) if closed.exists() else None
    return export_student(dense, load_plan(folder), recovered, to, record, dtype, report)
