"""The conversations that a trial read, as an input of its MLflow run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.load import Trial

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

DIGEST_CHARACTERS = 36  # MLflow's most


def training_data(trial: Trial) -> list[DatasetInput]:
    """The conversations by name, digest and place; empty where the trial read none.

    The context is `training`, or `calibration` where only importance was computed on them. All
    trials on the same conversations share one entry, so what differs between them, the share that
    was used, is a tag of the input.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag

    record = trial.record
    digest = record.provenance.data_digest
    if digest is None or trial.is_reference:
        return []
    given = record.spec.data.conversations
    path = None if given is None else Path(given)
    entry = Dataset(
        name=path.name if path else f"generated for {record.spec.model.path}",
        digest=digest[:DIGEST_CHARACTERS],
        source_type="local",
        source=json.dumps({"uri": path.absolute().as_uri() if path else "prunesweep:generated"}),
    )
    tags = {"mlflow.data.context": "training" if trial.loss else "calibration"}
    if trial.loss:
        tags["data_fraction"] = f"{trial.data_fraction:g}"
        if record.recovery and record.recovery.data_digest:
            tags["subset_digest"] = record.recovery.data_digest
    return [DatasetInput(entry, [InputTag(key, value) for key, value in tags.items()])]
