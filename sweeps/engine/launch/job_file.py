"""A sweep as a file for what starts it: a SLURM job, a KubeRay RayJob, a Ray cluster file.

Each runs the same command as a user would, with Ray's token authentication on, and may be started
again after any stop: `prunesweep run` goes on where it was.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import Field

from sweeps.engine.spec.loading import SUFFIXES, BadInputError, load_sweep
from trainables.specs import Frozen

Target = Literal["slurm", "kuberay", "ray-up"]
FILES: dict[Target, tuple[str, str]] = {  # the template, and what its files are called
    "slurm": ("slurm.sh.jinja", "{name}.sbatch"),
    "kuberay": ("rayjob.yaml.jinja", "{name}-rayjob.yaml"),
    "ray-up": ("cluster.yaml.jinja", "{name}-cluster.yaml"),
}
SHARED = "/shared"
CPUS, MEMORY_GIB = 8, 64  # for each GPU: data loading, lmms-eval, a copy of a 7B model
NOTICE_SECONDS = 300


class Cluster(Frozen):
    """What a sweep is started on.

    Attributes:
        nodes: machines that run trials.
        gpus: of each.
        cpus: of each; None is 8 for each GPU.
        hours: how long it may run at a time.
        queue: SLURM's partition, Kueue's local queue.
        image: of the pods; holds prunesweep.
        claim: persistent volume claim that all pods write.
        hosts: addresses of machines at hand, the head first; none are rented then.
        user: who logs in there.
    """

    nodes: Annotated[int, Field(ge=1)] = 1
    gpus: Annotated[int, Field(ge=0)] = 1
    cpus: Annotated[int, Field(ge=1)] | None = None
    hours: Annotated[float, Field(gt=0)] = 24.0
    queue: str | None = None
    image: str | None = None
    claim: str | None = None
    hosts: tuple[str, ...] = ()
    user: str = "ubuntu"


def job_file(
    target: Target,
    sweep: str,
    cluster: Cluster,
    *,
    storage: Path,
    settings: tuple[str, ...] = (),
    tracking_uri: str | None = None,
    file: Path | None = None,
) -> tuple[Path, str]:
    """The file's path, and its text.

    Args:
        target: what starts it.
        sweep: its name, or its Python or YAML file.
        cluster: what it is started on.
        storage: folder that all nodes see.
        settings: what `--set` takes.
        tracking_uri: an MLflow server.
        file: where the text is to go; by default a name from the sweep's.

    Raises:
        BadInputError: no such sweep, or it does not fit the cluster.
    """
    loaded = load_sweep(sweep, list(settings))
    if cluster.gpus and loaded.trial.workers > cluster.nodes * cluster.gpus:
        raise BadInputError(
            f"trial.workers={loaded.trial.workers} takes as many GPUs, and {cluster.nodes} x "
            f"{cluster.gpus} are asked for; raise --nodes or --gpus"
        )
    template, usual = FILES[target]
    name = re.sub(r"[^a-z0-9]+", "-", loaded.name.lower()).strip("-")[:40].rstrip("-")
    path = file or Path(usual.format(name=name))
    known: dict[str, Any] = {
        **cluster.model_dump(),
        "sweep": loaded.name,
        "name": name,
        "file": str(path),
        "cpus": cluster.cpus or CPUS * max(1, cluster.gpus),
        "script": None,
    }
    script = Path(sweep) if Path(sweep).suffix in SUFFIXES else None
    if target == "slurm":
        storage, sweep = storage.absolute(), str(script.absolute()) if script else sweep
        known |= _slurm(cluster)
    elif not storage.is_absolute():
        raise BadInputError(
            f"--storage {storage} is a folder of this machine; give the whole path of one that "
            f"all nodes see, such as {SHARED}/runs"
        )
    elif script is not None:
        folder = "/sweep" if target == "kuberay" else "~"
        text = script.read_text(encoding="utf-8")
        known |= {"script": text, "script_name": script.name, "script_path": str(script)}
        sweep = f"{folder}/{script.name}"
    words = ["run", sweep, "--address", "auto", "--storage", str(storage)]
    words += [word for setting in settings for word in ("--set", setting)]
    words += ["--tracking-uri", tracking_uri] if tracking_uri else []
    # A leading ~ is the shell's there.
    command = " ".join(w if re.fullmatch(r"~/[\w./-]+", w) else shlex.quote(w) for w in words)
    known |= {"command": f"prunesweep {command}", "storage": str(storage)}
    if target == "kuberay":
        known |= _kuberay(cluster, storage)
    elif target == "ray-up":
        known |= _ray_up(command, storage)
    return path, _templates().get_template(template).render(known)


def _templates() -> Environment:
    found = Environment(  # autoescape is HTML's, and this is YAML and shell
        loader=FileSystemLoader(os.path.dirname(__file__)), undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    found.filters |= {"quote": shlex.quote, "json": json.dumps}
    return found


def _slurm(cluster: Cluster) -> dict[str, Any]:
    minutes = round(cluster.hours * 60)
    time = f"{minutes // 1440}-{minutes // 60 % 24:02d}:{minutes % 60:02d}:00"
    return {"environment": sys.prefix, "time": time, "notice": NOTICE_SECONDS}


def _kuberay(cluster: Cluster, storage: Path) -> dict[str, Any]:
    if not cluster.image or not cluster.claim:
        raise BadInputError(
            "pods need --image NAME, which holds prunesweep (`uv pip install` of this folder), "
            "and --claim NAME of a volume that all of them write"
        )
    return {
        "mount": f"/{storage.parts[1]}",
        "ray": version("ray"),
        "seconds": round(cluster.hours * 3600),
        "memory": MEMORY_GIB * max(1, cluster.gpus),
    }


def _ray_up(command: str, storage: Path) -> dict[str, Any]:
    bin_ = "~/prunesweep/.venv/bin"
    return {
        "mount": f"/{storage.parts[1]}",
        "remote": f"RAY_AUTH_MODE=token {bin_}/prunesweep {command}",
        "start": f"RAY_AUTH_MODE=token RAY_worker_niceness=0 {bin_}/ray start",
    }
