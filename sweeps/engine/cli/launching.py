"""`prunesweep launch`: a sweep as a job of a cluster."""

import sys
from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from analysis.text_table import say, say_command
from sweeps.engine.cli.app import Overrides, SweepName, TrackingUri, app, out
from trainables.common.files import replace_file, writing
from trainables.common.names import unknown
from trainables.common.objects import is_url

PLACE = 1.5
START = {"slurm": "sbatch {}", "kuberay": "kubectl apply -f {}", "ray-up": "ray up {}"}


@app.command()
def launch(
    sweep: SweepName,
    on: Annotated[str, typer.Option("--on", help="slurm, kuberay or ray-up.")],
    nodes: Annotated[int, typer.Option(min=1, help="Machines that run trials.")] = 1,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs of each.")] = 1,
    cpus: Annotated[int | None, typer.Option(min=1, help="CPUs of each; 8 for a GPU.")] = None,
    hours: Annotated[float, typer.Option(min=0.1, help="How long it may run at a time.")] = 24.0,
    storage: Annotated[
        Path | None,
        typer.Option(
            envvar="PRUNESWEEP_STORAGE",
            help="Folder that all nodes see; /shared/runs, on SLURM runs in this folder.",
        ),
    ] = None,
    set_: Overrides = None,
    queue: Annotated[
        str | None, typer.Option(help="SLURM's partition, or Kueue's local queue.")
    ] = None,
    image: Annotated[str | None, typer.Option(help="Kubernetes: holds prunesweep.")] = None,
    claim: Annotated[
        str | None, typer.Option(help="Kubernetes: volume claim that all pods write.")
    ] = None,
    hosts: Annotated[
        str | None,
        typer.Option(help="ray-up: addresses of machines at hand, by commas, the head first."),
    ] = None,
    user: Annotated[str, typer.Option(help="ray-up: who logs in there.")] = "ubuntu",
    tracking_uri: TrackingUri = None,
    to: Annotated[Path | None, typer.Option(help="The file; - prints it.")] = None,
) -> None:
    """Write the job or cluster file of a sweep, filled in; submitted again, it goes on."""
    from sweeps.engine.launch.job_file import SHARED, Cluster, Target, job_file

    if on not in get_args(Target):
        raise ValueError(unknown("target of --on", on, get_args(Target)))
    at_hand = tuple(host.strip() for host in (hosts or "").split(",") if host.strip())
    cluster = Cluster(
        nodes=max(nodes, len(at_hand) - 1), gpus=gpus, cpus=cpus, hours=hours, queue=queue,
        image=image, claim=claim, hosts=at_hand, user=user,
    )  # fmt: skip
    if storage is not None and is_url(str(storage)):
        raise ValueError(
            "launch writes files for a --storage that is a folder; for an object store leave it "
            "out, and put its address into the command of the file (docs/cluster.md)"
        )
    shared = storage or Path("runs" if on == "slurm" else f"{SHARED}/runs")
    printed = to == Path("-")
    file, text = job_file(
        cast(Target, on), sweep, cluster, storage=shared, settings=tuple(set_ or ()),
        tracking_uri=tracking_uri, file=None if printed else to,
    )  # fmt: skip
    if printed:
        sys.stdout.write(text)
        return
    with writing("The file", file.parent):
        replace_file(file, text.encode())
    say(out, f"{file}: read it, and start it with")
    say_command(out, START[on].format(file))
