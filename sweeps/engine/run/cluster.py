"""Ray for a sweep: quiet start-up, and slots."""

import gc
import logging
import os
import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps.engine.plan.estimates import cpu_count
from sweeps.engine.run.nodes import check_nodes
from sweeps.engine.run.shares import slots_in
from sweeps.engine.run.watch import ANSWER_SECONDS
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.loading import BadInputError
from trainables.common.names import first_line
from trainables.specs import GIB, MIB

SETTINGS = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # a traceback of Ray's own; we say it in a line
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends the run at once; the ledger resumes it
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "inf",  # Tune's own state, of all trials; the ledger is what counts
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # What a trial that is stopped at a rung has to end before its process takes the next one.
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "600",
    # Added to the driver's own; Ray's 15 halves the speed of a machine that others use too.
    "RAY_worker_niceness": "0",
}
EXCLUDES = [".venv", "runs", ".git", "**/__pycache__", "*.egg-info", ".*_cache", "tests"]
OBJECT_STORE_BYTES = 128 * MIB  # jobs are small values; nothing large goes through Ray
CONNECT_SECONDS = 3.0


@dataclass(frozen=True)
class Slots:
    """How many trials run at once at most, on what device, and what a worker of one holds."""

    count: int
    device: str
    worker: dict[str, float]


def check_address(address: str) -> None:
    """Refuse an address where no Ray cluster answers; `ray.init` takes minutes to give up.

    Raises:
        BadInputError: says why nobody does, or that the cluster wants another token.
    """
    client, _, place = address.rpartition("://")
    try:
        if ":" not in place:  # `auto`, or no address at all
            from ray._private.services import canonicalize_bootstrap_address_or_die

            place = canonicalize_bootstrap_address_or_die(address)
        host, _, port = place.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
        if client or _serves(place, address):  # a client's port is a proxy's
            return
        reason = "another service listens there"
    except BadInputError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
    raise BadInputError(
        f"no Ray cluster answers at {address!r} ({reason}); give the HOST:PORT that `ray start "
        "--head` printed, or leave --address out, and Ray is started here"
    )


def _serves(place: str, address: str) -> bool:
    """Whether Ray's head answers there.

    Raises:
        BadInputError: it does, but takes no token from this process; `ray.init` would try for half
            a minute, in lines of its own.
    """
    import grpc
    from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]

    tokens, found = AuthenticationTokenLoader.instance(), address == "auto"  # which Ray looks for
    held = tokens.get_token_for_http_header(found) if tokens.has_token(found) else {}
    with grpc.insecure_channel(place) as channel:
        try:
            alive = channel.unary_unary("/ray.rpc.NodeInfoGcsService/CheckAlive")  # of Ray's protos
            return bool(alive(b"", timeout=ANSWER_SECONDS, metadata=tuple(held.items())))
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAUTHENTICATED:
                return False
    raise BadInputError(
        f"the cluster at {address!r} wants its token, and this process "
        f"{'has another one' if held else 'shows none'}; set RAY_AUTH_MODE=token, with the "
        "cluster's token in ~/.ray/auth_token, or where RAY_AUTH_TOKEN_PATH says"
    )


@contextmanager
def ray_for(sweep: SweepSpec, storage: Path, address: str | None) -> Iterator[Slots]:
    """Start Ray on this machine, or join the cluster at `address`; shut down at the end.

    Raises:
        BadInputError: no cluster there, a Ray that does not start, too few resources, or a node
            that lacks something (`nodes.py`).
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # it would make every worker import slowly
    import ray

    on_sigterm = signal.getsignal(signal.SIGTERM)
    session: Path | None = None  # Ray's folder of logs and sockets, where it is started here
    common: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address:
        try:
            ray.init(address=address, runtime_env=_upload(), **common)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise _refused(address, error) from None
    else:
        asked = sweep.resources
        wanted = (asked.slots or 1) * asked.cpus_per_slot * sweep.trial.workers
        try:
            context = ray.init(
                address="local",
                num_cpus=max(cpu_count(), round(wanted)),
                include_dashboard=sweep.trial.grouped,  # Train's cleaner asks the State API
                object_store_memory=OBJECT_STORE_BYTES,
                **common,
            )
        except Exception as error:  # Ray raises plain ones, after half a minute of trying
            raise BadInputError(
                f"Ray did not start on this machine ({first_line(error)}). No trial was begun: try "
                "again when it is less busy, or with room in /tmp and /dev/shm"
            ) from error
        session = Path(context.address_info["session_dir"])
    try:
        _quiet()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_sigterm)  # Ray's own prints a stack trace
        check_nodes(sweep, storage)
        yield _slots(sweep, node_resources())
    finally:
        # Actor handles in reference cycles, freed after the shutdown or in another thread during
        # it, end the whole process ("core worker has already been shutdown").
        gc.collect()
        ray.shutdown()
        if session is not None:
            _remove(session)


def _refused(address: str, error: Exception) -> BadInputError:
    """Why a cluster cannot be joined; Ray's lines on versions name the cluster's and ours."""
    said = " ".join(str(error).split())
    if "ersion mismatch" in said:
        return BadInputError(
            f"the cluster at {address!r} runs other versions than this process ({said}); run "
            "prunesweep with the cluster's Python and Ray, or start the cluster with these"
        )
    return BadInputError(f"no Ray cluster answers at {address!r}: {said}")


def _quiet() -> None:
    """Print nothing that Ray says by itself; what ends a run is raised.

    Its servers send a screenful of each worker that died, whatever `log_to_driver` says, and Tune
    logs the traceback of each file that it could not write for a restore, which we never ask for.
    """
    from ray._private import worker

    for name in ("ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    worker.print_to_stdstream = lambda *told, **more: None


def _remove(session: Path) -> None:
    """Delete the folder of a Ray that is down; what a trial said is in its own log.txt."""
    latest = session.with_name("session_latest")
    if latest.is_symlink() and latest.resolve() == session.resolve():
        latest.unlink(missing_ok=True)
    shutil.rmtree(session, ignore_errors=True)


def _upload() -> dict[str, Any]:
    """This checkout as `working_dir`, so that every node runs the same code; none if installed."""
    root = Path(__file__).resolve().parents[3]
    if not (root / "pyproject.toml").exists():
        return {}
    return {"working_dir": str(root), "excludes": EXCLUDES}


def node_resources() -> list[dict[str, float]]:
    """What each node that is alive has, by Ray's resource; memory in bytes."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _slots(sweep: SweepSpec, nodes: list[dict[str, float]]) -> Slots:
    workers, asked = sweep.trial.workers, sweep.resources
    gpus, memory = asked.gpus_per_slot, asked.memory_gib_per_slot
    if gpus is None or gpus == "measured":
        gpus = 1.0 if any(node.get("GPU") for node in nodes) else 0.0
    worker = {"CPU": asked.cpus_per_slot, "GPU": gpus}
    if memory is not None and memory != "measured":
        worker["memory"] = round(memory * GIB)
    worker = {name: amount for name, amount in worker.items() if amount}
    if slots_in(nodes, worker) < workers:
        have = [_said({name: node.get(name, 0.0) for name in worker}) for node in nodes]
        raise BadInputError(
            f"one trial needs {workers} x ({_said(worker)}), but Ray's nodes have "
            f"{'; '.join(have)}; lower trial.workers or resources.*, or start Ray on a larger "
            "machine"
        )
    alone = asked.gpus_per_slot != "measured" or sweep.trial.grouped
    held = worker if alone else {"CPU": asked.cpus_per_slot}  # at least, and what else is measured
    room = slots_in(nodes, held) // workers
    return Slots(min(asked.slots or room, room), "GPU" if gpus else "CPU", worker)


def _said(amounts: dict[str, float]) -> str:
    return ", ".join(
        f"{amount / GIB:,.1f} GiB of memory" if name == "memory" else f"{amount:g} {name}"
        for name, amount in amounts.items()
    )


def has_room(slots: Slots, workers: int) -> bool:
    """Whether the nodes that are alive have room for a trial of so many workers."""
    return slots_in(node_resources(), slots.worker) >= workers
