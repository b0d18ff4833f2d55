"""What the page of a sweep's experiment shows beside its runs: kind, saved views, description."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sweeps.engine.track.saved_view import KIND

if TYPE_CHECKING:
    from mlflow.entities import Experiment
    from mlflow.tracking import MlflowClient

NOTE = "mlflow.note.content"  # shown as the description of a run or an experiment
KEPT = "\n\n*prunesweep keeps this text up to date; without this line it leaves it as it is.*"


def write_page(
    client: MlflowClient, experiment: Experiment, views: Mapping[str, str], note: str
) -> None:
    """Write what would show something else by now; what somebody chose or wrote there is left.

    Args:
        client: of the tracking store.
        experiment: the sweep's, as it stands.
        views: tags of the saved views.
        note: the description.
    """
    held, tags = experiment.tags, dict(views)
    kind, ours = KIND
    if held.get(kind, "_inferred").endswith("_inferred"):  # the page's guess, not a choice
        tags[kind] = ours
    if held.get(NOTE, KEPT).endswith(KEPT):
        tags[NOTE] = note + KEPT
    for key, value in tags.items():
        if held.get(key) != value:
            client.set_experiment_tag(experiment.experiment_id, key, value)
