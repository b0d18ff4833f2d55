"""Artifacts of a trial's run: record, plan, model card and log. Its weights stay where they are.

Files take most of the time that a mirrored trial takes a server, so the sampler's trials have them
only once they are on the frontier, or have failed: the ledger has all of them.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from analysis.load import Trial
from trainables.common.contents import file_digest
from trainables.common.copies import uri_of
from trainables.common.files import read_if_sound
from trainables.records import LOG, PLAN, RECORD, REPORT, TRAINED

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

CARD = "model_card.md"
MOST_BYTES = 2**23  # of a file; a plan for 32 layers lists 350,000 neurons in 2 MiB
LOG_BYTES = 2**18  # of the end of the log


def has_files(trial: Trial, on_front: bool) -> bool:
    """Whether the trial's run holds its files."""
    record = trial.record
    return trial.folder is not None and (
        on_front or record.status == "failed" or record.origin != "sampler"
    )


def log_files(client: MlflowClient, run_id: str, trial: Trial) -> None:
    """Put the trial's files on its run, in place of older ones."""
    with TemporaryDirectory() as folder:
        copy_files(trial, Path(folder))
        client.log_artifacts(run_id, folder)


def copy_files(trial: Trial, to: Path) -> None:
    """Write the files that MLflow holds of a trial into a folder: the small ones, and a card."""
    folder = trial.folder
    assert folder is not None
    for name in (RECORD, REPORT, PLAN):
        path = folder / name
        if path.exists() and path.stat().st_size <= MOST_BYTES:
            shutil.copyfile(path, to / name)
    for name, text in ((LOG, _end_of(folder / LOG)), (CARD, trial_card(trial))):
        if text is not None:
            (to / name).write_text(text, encoding="utf-8")


def _end_of(path: Path) -> str | None:
    if not path.exists():
        return None
    with path.open("rb") as file:
        if skipped := max(0, path.stat().st_size - LOG_BYTES):
            file.seek(skipped)
        text = file.read().decode(errors="replace")
    return f"(the last {LOG_BYTES // 1024} KiB of {path})\n{text}" if skipped else text


def trial_card(trial: Trial) -> str | None:
    """The card that the exported model would have, but for how it loads; None without a plan."""
    from trainables.models.families.registry import model_folder
    from trainables.pruning.model_card import model_card
    from trainables.pruning.planning.planner import PrunePlan

    record = trial.record
    if trial.folder is None or trial.is_reference or record.status != "completed":
        return None
    if (plan := read_if_sound(trial.folder / PLAN, PrunePlan)) is None:
        return None
    try:
        dense = model_folder(record.spec.model)
    except ValueError:  # it has been moved since
        dense = None
    return model_card(
        record.spec.model,
        dense or Path(record.spec.model.path),
        plan,
        record,
        record.spec.model.dtype,
        [],
        f"These weights are not written yet: `{export_command(trial)}` does.",
        trial.report,
        exported=False,
    )


def export_command(trial: Trial) -> str:
    """What writes the trial's model as a checkpoint."""
    return f"prunesweep export {trial.record.sweep}/{trial.trial_id} --to DIR"


def weights_tags(trial: Trial) -> dict[str, str]:
    """Where the student's weights are, and what they are: `weights_uri`, `weights_digest`.

    They are those of the base model, cut by the plan, and the trained tensors where there are any:
    the digest is the file's SHA-256. Empty where there is nothing to point to.
    """
    record, folder = trial.record, trial.folder
    base = record.provenance.weights_digest
    tags = {"base_weights_digest": base} if base else {}
    if record.pruning is not None:
        tags["plan_digest"] = record.pruning.plan_digest
    if folder is None or record.status != "completed" or not record.has_trained:
        return tags
    path = folder.absolute() / TRAINED
    if not path.exists():  # removed to save space
        return tags
    return tags | {"weights_uri": uri_of(path), "weights_digest": f"sha256:{file_digest(path)}"}
