"""The parent run of a sweep: its settings, its note, and how far it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from analysis.frontier import Frontier
from analysis.load import Trial
from sweeps.engine.track.experiment_page import NOTE
from sweeps.engine.track.run_values import METRICS_PER_BATCH, batches, metrics, milliseconds
from sweeps.engine.track.sweep_values import counts
from trainables.specs import digest

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

SETTINGS = "prunesweep.settings"  # digest of the params that the run holds
PARAMS_PER_BATCH = 100  # MLflow refuses more


def find_parent(client: MlflowClient, experiment_id: str, sweep: str) -> Run | None:
    """The sweep's parent run; None where there is none."""
    query = f"tags.sweep = '{sweep}' and tags.role = 'parent'"
    found = client.search_runs([experiment_id], query, max_results=1)
    return found[0] if found else None


def make_parent(
    client: MlflowClient, experiment_id: str, sweep: str, trials: Sequence[Trial]
) -> Run:
    """A new parent run, which began with the first trial."""
    tags = {"sweep": sweep, "role": "parent"}
    return client.create_run(experiment_id, start_time=begun(trials), tags=tags, run_name=sweep)


def with_settings(
    client: MlflowClient, parent: Run, params: Mapping[str, str], trials: Sequence[Trial]
) -> Run:
    """The parent run that holds these params.

    No param of a run can be changed. Where settings are other ones than they were, a new run takes
    the place of `parent`, which goes to MLflow's trash: it has its name and its curves, and the
    trials' runs are hung below it.
    """
    from mlflow.entities import Param

    state, tags, held = digest(dict(params)), parent.data.tags, parent.data.params
    if tags.get(SETTINGS) == state:
        return parent
    other = any(held.get(name, value) != value for name, value in params.items())
    if SETTINGS in tags or other:
        old = client.get_run(parent.info.run_id)  # with all that it holds by now
        experiment = old.info.experiment_id
        parent = make_parent(client, experiment, tags["sweep"], trials)
        for name in old.data.metrics:
            history = client.get_metric_history(old.info.run_id, name)
            for batch in batches(history, METRICS_PER_BATCH):
                client.log_batch(parent.info.run_id, metrics=batch)
        client.delete_run(old.info.run_id)
    for batch in batches([Param(*item) for item in params.items()], PARAMS_PER_BATCH):
        client.log_batch(parent.info.run_id, params=batch)
    client.set_tag(parent.info.run_id, SETTINGS, state)  # last: after a crash it starts again
    return client.get_run(parent.info.run_id)


def write_parent(
    client: MlflowClient,
    parent: Run,
    trials: Sequence[Trial],
    frontier: Frontier,
    note: str,
    question: str,
    finished: bool,
) -> None:
    """Note, question, numbers of trials and hypervolume, and whether the sweep has ended."""
    from mlflow.entities import RunTag

    values = {
        **{f"trials/{ended}": number for ended, number in counts(trials).items()},
        "hypervolume": frontier.hypervolume,
        "hypervolume_share": frontier.hypervolume_share,
    }
    ends = (milliseconds(t.record.provenance.finished) for t in trials)
    when = max((e for e in ends if e is not None), default=0)
    # The step rises with the ledger, so the value that MLflow shows is that of the last sync.
    step = len(trials) + sum(t.report is not None for t in trials)
    tags = {NOTE: note, "question": question}
    client.log_batch(
        parent.info.run_id,
        metrics=metrics(values, when, step),
        tags=[RunTag(key, value) for key, value in tags.items()],
    )
    if finished:
        client.set_terminated(parent.info.run_id, "FINISHED")
    elif parent.info.status != "RUNNING":
        client.update_run(parent.info.run_id, status="RUNNING")


def begun(trials: Sequence[Trial]) -> int | None:
    """When the first trial started, in milliseconds since 1970; None where no record says."""
    starts = (milliseconds(t.record.provenance.started) for t in trials)
    return min((s for s in starts if s is not None), default=None)
