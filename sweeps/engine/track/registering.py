"""A trial's student in MLflow's model registry, by reference: a URI and a digest, no upload.

The student becomes a logged model of the trial's run, with its card, plan and record as artifacts,
and a version of a registered model. Where its weights are stands in the tags of both. Registering
the same student again finds what is there; an alias moves to the version that was named last.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from analysis.load import Trial
from analysis.points import Point
from analysis.tables import number, with_interval
from sweeps.engine.spec.loading import BadInputError
from sweeps.engine.track.run_values import trial_metrics, trial_params
from sweeps.engine.track.store import check_server, is_database, open_store
from sweeps.engine.track.trial_files import copy_files, export_command
from trainables.specs import Frozen

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.tracking import MlflowClient

KIND = "pruned vision-language model"
OURS = "prunesweep"  # a tag of every registered model that was made here
URI, DIGEST = "weights_uri", "weights_digest"


class Weights(Frozen):
    """Where weights are, and what they are.

    Attributes:
        uri: of a folder that `transformers` loads, or of the trial's folder in the ledger.
        digest: SHA-256 of the weights in it, after `sha256:`.
        loads: whether `transformers` loads the folder.
    """

    uri: str
    digest: str
    loads: bool


class Registered(Frozen):
    """A version of a registered model.

    Attributes:
        name: of the registered model.
        version: its number.
        aliases: those that were asked for; they lead to this version now.
        trial_id: the trial.
        model_id: of the logged model.
        weights: the reference.
        new: whether this call made the version.
    """

    name: str
    version: int
    aliases: tuple[str, ...]
    trial_id: str
    model_id: str
    weights: Weights
    new: bool


def register(
    uri: str,
    trial: Trial,
    point: Point,
    weights: Weights,
    name: str,
    aliases: Sequence[str] = (),
) -> Registered:
    """Register a trial's student.

    Args:
        uri: of the tracking store, which is the registry too.
        trial: the trial, whose run the store holds.
        point: the same on the report split.
        weights: the reference.
        name: of the registered model, which is made when there is none.
        aliases: names for the version, e.g. of a budget.

    Raises:
        BadInputError: the store has no run of the trial, holds somebody else's model of that name,
            or refuses a name.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.utils.validation import _validate_model_alias_name, _validate_model_name

    try:
        _validate_model_name(name)
        for alias in aliases:
            _validate_model_alias_name(alias)
            if alias.lower() == "latest" or (alias.lower()[:1] == "v" and alias[1:].isdigit()):
                raise BadInputError(f"MLflow keeps the alias {alias!r} for itself; choose another")
    except MlflowException as error:
        raise BadInputError(error.message) from None
    client = open_store(uri)
    check_server(uri)
    experiment, run = _run_of(client, trial)
    _own_model(client, name, trial)
    model = _logged_model(client, experiment, run, trial, weights)
    held = [
        v
        for v in client.search_model_versions(f"name = '{name}'")
        if (v.tags.get("model_id"), v.tags.get(URI)) == (model.model_id, weights.uri)
    ]
    version = held[0] if held else client.create_model_version(
        name,
        # A database looks a logged model up in MLflow's global store, whatever that is.
        source=model.artifact_location if is_database(uri) else model.model_uri,
        run_id=run,
        model_id=model.model_id,
        tags={**_tags(trial, weights), "model_id": model.model_id},
        description=_description(trial, point, weights),
    )  # fmt: skip
    for alias in aliases:
        client.set_registered_model_alias(name, alias, str(version.version))
    return Registered(
        name=name,
        version=int(version.version),
        aliases=tuple(aliases),
        trial_id=trial.trial_id,
        model_id=model.model_id,
        weights=weights,
        new=not held,
    )


def _run_of(client: MlflowClient, trial: Trial) -> tuple[str, str]:
    """Ids of the sweep's experiment and of the trial's run."""
    sweep = trial.record.sweep
    experiment = client.get_experiment_by_name(sweep)
    if experiment is not None and experiment.lifecycle_stage == "active":
        query = f"tags.trial_id = '{trial.trial_id}' and tags.sweep = '{sweep}'"
        for run in client.search_runs([experiment.experiment_id], query, max_results=1):
            return experiment.experiment_id, run.info.run_id
    raise BadInputError(
        f"MLflow holds no run of {sweep}/{trial.trial_id}; `prunesweep run` of the sweep with the "
        "same --storage and --tracking-uri copies what is missing, and runs no trial again"
    )


def _own_model(client: MlflowClient, name: str, trial: Trial) -> None:
    """Make the registered model, or see that it is one of ours."""
    from mlflow.exceptions import MlflowException

    try:
        held = client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        client.create_registered_model(name, {OURS: "true"}, f"Chosen from {trial.record.sweep}.")
        return
    if OURS not in held.tags:
        raise BadInputError(
            f"the registry has a model {name!r} that is not prunesweep's; give another --name"
        )


def _logged_model(
    client: MlflowClient, experiment: str, run: str, trial: Trial, weights: Weights
) -> LoggedModel:
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus, Metric

    tags = _tags(trial, weights)
    query = f"tags.{DIGEST} = '{weights.digest}' AND tags.trial_id = '{trial.trial_id}'"
    for held in client.search_logged_models([experiment], query):
        if held.tags.get(URI) == weights.uri and held.status == LoggedModelStatus.READY:
            return held
    model = client.create_logged_model(
        experiment,
        trial.trial_id,
        source_run_id=run,
        tags=tags,
        params={p.key: p.value for p in trial_params(trial)},
        model_type=KIND,
    )
    with TemporaryDirectory() as folder:
        copy_files(trial, Path(folder))
        client.log_model_artifacts(model.model_id, folder)
    last = {m.key: m for m in trial_metrics(trial) if m.step == 0}  # no curves
    of_model = [
        Metric(m.key, m.value, m.timestamp, 0, model_id=model.model_id, run_id=run)
        for m in last.values()
    ]
    client.log_batch(run, metrics=of_model)
    client.log_outputs(run, [LoggedModelOutput(model.model_id, step=0)])
    return client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)


def _tags(trial: Trial, weights: Weights) -> dict[str, str]:
    return {
        "sweep": trial.record.sweep,
        "trial_id": trial.trial_id,
        URI: weights.uri,
        DIGEST: weights.digest,
        "loads_with_transformers": str(weights.loads).lower(),
    }


def _description(trial: Trial, point: Point, weights: Weights) -> str:
    where = f"`AutoModelForImageTextToText` loads it from `{weights.uri}`."
    if not weights.loads:
        where = (
            f"Its trial's folder is `{weights.uri}`; `{export_command(trial)}` writes a checkpoint "
            "that `transformers` loads."
        )
    return (
        f"{trial.label}: {number(point.weights_mib)} MiB, retention {with_interval(point)} % on "
        f"the {point.split} split (trial {trial.trial_id} of {trial.record.sweep}). {where}"
    )
