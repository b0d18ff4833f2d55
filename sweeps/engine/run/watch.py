"""Ends a run whose Ray has died, or whose nodes are gone.

Tune waits for ever for the driver's own node and for nodes that do not come back, and a driver
without its GCS is ended by Ray after a minute, in the middle of whatever it does. The ledger is
safe against all of it, so all that is missing is a word and an end.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, NoReturn

from sweeps.engine.ended import GOES_ON

CHECK_SECONDS, ANSWER_SECONDS = 3.0, 3.0
GONE_SECONDS = 10.0
# A cluster's GCS may be started again, and a server that is stopped or starved may wake; Ray itself
# gives up after 60 s.
PATIENCE_SECONDS = 45.0
FAILED = 1


class Health(Enum):
    """What a server of Ray says of itself: nothing where it is stopped, or starved."""

    WELL = "well"
    SILENT = "silent"
    GONE = "gone"


def health(place: str) -> Health:
    """How a server is at HOST:PORT, as gRPC's health check tells, which asks for no token."""
    import grpc

    with grpc.insecure_channel(place) as channel:
        try:
            check = channel.unary_unary("/grpc.health.v1.Health/Check")
            return Health.WELL if check(b"", timeout=ANSWER_SECONDS) else Health.GONE
        except grpc.RpcError as error:
            silent = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            return Health.SILENT if silent else Health.GONE


@dataclass(frozen=True)
class Server:
    """A process of Ray that the driver cannot do without, and how long it may be gone."""

    name: str
    address: str
    seconds: float


def give_up(before_exit: Callable[[], None], why: str) -> NoReturn:
    """End the process with one line and exit code 1, from whatever thread.

    What it waits for may never come, and Ray's own shutdown would wait for what is gone.
    """
    before_exit()
    print(f"\nerror: {why}", file=sys.stderr, flush=True)
    os._exit(FAILED)


class Others(NamedTuple):
    """What a run on a cluster has to do with its nodes.

    Attributes:
        room: whether those that are alive have room for a trial.
        drained: is told that some are about to be taken away (`ray drain-node`, spot machines).
    """

    room: Callable[[], bool]
    drained: Callable[[], object]


@contextmanager
def ended_with_ray(
    end: Callable[[str], None], others: Others | None, tidy: Callable[[], object] | None = None
) -> Iterator[None]:
    """During the block, `end` is told why no trial can run any more, once that is so.

    Args:
        end: is called from another thread, and ends the run.
        others: the nodes, where Ray was running before; None where the driver has started it.
        tidy: is called every few seconds, and may raise what Ray does.
    """
    stopped = threading.Event()

    def tell(why: str) -> None:
        if not stopped.is_set():
            end(why)

    watching = (_servers(others is not None), others, tidy, stopped, tell)
    threading.Thread(target=_watch, args=watching, name="ray-watch", daemon=True).start()
    try:
        yield
    finally:
        stopped.set()


def _servers(cluster: bool) -> tuple[Server, ...]:
    import ray

    context = ray.get_runtime_context()
    here = next(node for node in ray.nodes() if node["NodeID"] == context.get_node_id())
    raylet = f"{here['NodeManagerAddress']}:{here['NodeManagerPort']}"
    head = context.gcs_address
    patience = PATIENCE_SECONDS if cluster else GONE_SECONDS
    return (
        Server("Ray's server on this machine (the raylet)", raylet, GONE_SECONDS),
        Server(f"the head of Ray (its GCS, {head})", head, patience),
    )


def _leaving() -> set[str]:
    """The nodes that are drained."""
    from ray._private.worker import global_worker

    return set(global_worker.gcs_client.get_draining_nodes())


def _watch(
    servers: tuple[Server, ...],
    others: Others | None,
    tidy: Callable[[], object] | None,
    stopped: threading.Event,
    tell: Callable[[str], None],
) -> None:
    last = dict.fromkeys((*servers, others), time.monotonic())  # when it was well
    leaving = set[str]()
    while not stopped.wait(CHECK_SECONDS):
        for server in servers:
            found = health(server.address)
            if found is Health.WELL:
                last[server] = time.monotonic()
            patience = server.seconds if found is Health.GONE else PATIENCE_SECONDS
            if time.monotonic() - last[server] > patience:
                return tell(
                    f"{server.name} no longer answers (killed, or out of memory), and without it "
                    f"no trial can run. {GOES_ON}"
                )
        if tidy is not None:
            with suppress(Exception):  # of Ray, whose GCS may just have died
                tidy()
        if others is None:
            continue
        with suppress(Exception):
            if others.room():
                last[others] = time.monotonic()
            if (found_leaving := _leaving()) - leaving:
                others.drained()
            leaving = found_leaving
        if time.monotonic() - last[others] > PATIENCE_SECONDS:
            return tell(
                f"no node of the cluster has had room for a trial for {PATIENCE_SECONDS:.0f} s: "
                f"those that had are gone (ended, taken away, or out of memory). {GOES_ON}"
            )
    return None
