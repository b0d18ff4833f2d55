"""What every node of a cluster must have before a trial starts: packages, storage, files."""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.loading import BadInputError
from sweeps.engine.storage import refusal
from trainables.common.copies import url_of
from trainables.evaluation.own.vqa_file import vqa_files

PACKAGES = ("torch", "transformers", "peft", "deepspeed", "datasets", "lmms_eval", "trainables")


def check_nodes(sweep: SweepSpec, storage: Path) -> None:
    """Ask every node of a cluster of several; one node alone has what the driver has.

    Raises:
        BadInputError: names the nodes that lack something, what it is, and the way out.
    """
    _check_packages()
    if url := url_of(storage):
        _check_objects(url, sweep.trial.grouped)
    else:
        _check_storage(storage)
    _check_files(sweep)


def _check_packages() -> None:
    # Nested functions travel by value: a node that lacks a package could not import them.
    def missing() -> list[str]:
        from importlib.util import find_spec

        return [name for name in PACKAGES if find_spec(name) is None]

    answers = _of_nodes(missing)
    lacking = [f"{host}: {', '.join(names)}" for host, names in answers if names]
    if lacking:
        raise BadInputError(
            f"{len(lacking)} of {len(answers)} nodes lack packages that trials import "
            f"({'; '.join(lacking)}); install prunesweep in the Python that runs Ray there"
        )


def _check_storage(storage: Path) -> None:
    """Refuse storage that only the driver sees: every node must find a file written here."""

    def state(folder: str, token: str) -> str:
        import os

        if not os.path.exists(os.path.join(folder, token)):
            return "see"
        return "" if os.access(folder, os.W_OK | os.X_OK) else "write to"

    token = storage / f".seen-{uuid.uuid4().hex[:8]}"
    token.touch()
    try:
        answers = _of_nodes(state, str(storage), token.name)
    finally:
        token.unlink(missing_ok=True)
    for what in ("see", "write to"):
        if hosts := [host for host, answer in answers if answer == what]:
            raise BadInputError(
                f"{len(hosts)} of {len(answers)} nodes do not {what} the storage {storage} "
                f"({', '.join(hosts)}); give --storage a folder that all nodes share and may "
                "write (NFS or the like)"
            )


def _check_objects(url: str, grouped: bool) -> None:
    """Refuse an object store that a node cannot use; workers of one trial read one folder."""
    answers = _of_nodes(refusal, url)
    for host, why in answers:
        if why:
            raise BadInputError(f"node {host}: {why}")
    if grouped and answers:
        raise BadInputError(
            f"trial.workers > 1 on {len(answers)} nodes needs a folder that all of them share (NFS "
            f"or the like), but the storage is {url}; give one worker to each trial, or such a "
            "folder with --storage"
        )


def _check_files(sweep: SweepSpec) -> None:
    """Refuse models, conversations and questions of the user's that a node does not find."""

    def missing(*paths: str) -> list[str]:
        import os

        return [path for path in paths if not os.path.exists(path)]

    named = _named_paths(sweep)
    answers = _of_nodes(missing, *(str(path) for _, path in named))
    for name, path in named:
        if hosts := [host for host, lacking in answers if str(path) in lacking]:
            raise BadInputError(
                f"{len(hosts)} of {len(answers)} nodes do not see {name}={path} "
                f"({', '.join(hosts)}); give its whole path, in a folder that all nodes share "
                "(NFS or the like)"
            )


def _named_paths(sweep: SweepSpec) -> list[tuple[str, Path]]:
    """Settings that name a file or folder which is here, and where it is."""
    trial = sweep.trial
    data, evaluation, teacher = trial.data, trial.evaluation, trial.recovery.teacher.model
    models = [("trial.model.path", trial.model)]
    models += [("trial.recovery.teacher.model.path", teacher)] if teacher else []
    named = [
        # What is no folder here is an embedded model's name or one of a hub.
        *((name, model.path) for name, model in models if Path(model.path).exists()),
        ("trial.data.conversations", data.conversations),
        ("trial.data.image_folder", data.image_folder),
        ("trial.evaluation.image_folder", evaluation.image_folder),
        *(("trial.evaluation.task_folders", folder) for folder in evaluation.task_folders),
        *(("trial.evaluation.tasks", file.path) for file in vqa_files(evaluation).values()),
    ]
    return [(name, Path(path)) for name, path in named if path is not None]


def _of_nodes(ask: Callable[..., Any], *arguments: str) -> list[tuple[str, Any]]:
    """What each node answers, after its host's name; nothing where there is only one node."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [node for node in ray.nodes() if node["Alive"]]
    if len(nodes) < 2:
        return []
    task = ray.remote(num_cpus=0)(ask)
    answers = [
        task.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(*arguments)
        for node in nodes
    ]
    return [
        (node["NodeManagerHostname"], answer)
        for node, answer in zip(nodes, ray.get(answers), strict=True)
    ]
