"""References to a student's weights: its trial's folder, or a folder that it was exported to."""

from __future__ import annotations

from pathlib import Path

from analysis.load import Trial
from sweeps.engine.spec.loading import BadInputError
from sweeps.engine.track.registering import Weights
from trainables.common.contents import file_digest
from trainables.common.copies import fetched, uri_of
from trainables.common.files import read_json
from trainables.common.weights import weights_digest
from trainables.records import EXPORTED_RECORD, PLAN, TRAINED, TrialRecord
from trainables.specs import digest


def kept_weights(trial: Trial, storage_option: str = "") -> Weights:
    """The trial's folder, which has what is cut and trained of the base model's weights.

    The digest is of the trained tensors' file, of the base's weights, and of the plan.

    Raises:
        BadInputError: the trained tensors are not there.
    """
    record, folder = trial.record, trial.folder
    assert folder is not None
    trained = fetched(folder / TRAINED)
    if record.has_trained and not trained.exists():
        name = f"{record.sweep}/{trial.trial_id}"
        raise BadInputError(
            f"the weights of {name} are not kept: '{trained}' is gone. Give the folder that it was "
            f"exported to with --model, or train it again: `prunesweep rerun {name}"
            f"{storage_option}`"
        )
    parts = {
        "base": record.provenance.weights_digest,
        "plan": file_digest(folder / PLAN),
        "trained": file_digest(trained) if record.has_trained else "",
    }
    whole = digest(parts, length=64)
    return Weights(uri=uri_of(folder), digest=f"sha256:{whole}", loads=False)


def exported_weights(folder: Path, trial: Trial) -> Weights:
    """A folder of `prunesweep export`.

    Raises:
        BadInputError: it is no such folder, or holds another trial's model.
        ValueError: its weights are not all there.
    """
    path = folder / EXPORTED_RECORD
    if not path.exists():
        raise BadInputError(
            f"--model {folder} has no {EXPORTED_RECORD}, so it is no folder that `prunesweep "
            "export` wrote"
        )
    record, own = read_json(path, TrialRecord), trial.record
    given, chosen = (f"{r.sweep}/{r.trial_id}" for r in (record, own))
    if given != chosen:
        raise BadInputError(
            f"--model {folder} holds {given}, but within these limits {chosen} is chosen; export "
            "that one, or change the limits"
        )
    if record != own:
        raise BadInputError(
            f"--model {folder} holds {given} as it was before it ran again; export it anew"
        )
    return Weights(
        uri=folder.absolute().as_uri(), digest=f"sha256:{weights_digest(folder)}", loads=True
    )
