"""Ends a run whose Ray has died.

Tune waits for ever for the driver's own node, and a driver without its GCS is ended by Ray after a
minute, in the middle of whatever it does. The ledger is safe against both, so all that is missing
is a word and an end.
"""

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

CHECK_SECONDS = 3.0
GONE_SECONDS = 10.0
HEAD_GONE_SECONDS = 45.0  # a cluster's GCS may be started again; Ray itself gives up after 60 s
FAILED = 1


@dataclass(frozen=True)
class Server:
    """A process of Ray that the driver cannot do without, and how long it may be silent."""

    name: str
    address: tuple[str, int]
    seconds: float


@contextmanager
def ended_with_ray(before_exit: Callable[[], None], cluster: bool) -> Iterator[None]:
    """During the block, one line and exit code 1 once Ray's servers no longer answer.

    Args:
        before_exit: called first, from another thread; puts the terminal in order.
        cluster: whether Ray was running before, maybe on other machines.
    """
    stopped = threading.Event()

    def give_up(server: Server) -> None:
        if stopped.is_set():
            return
        before_exit()
        print(
            f"\nerror: {server.name} no longer answers (killed, or out of memory), and without it "
            "no trial can run. Nothing that was finished is lost: the same command goes on from "
            "here.",
            file=sys.stderr,
            flush=True,
        )
        os._exit(FAILED)  # Ray's own shutdown would wait for what is gone

    watching = (_servers(cluster), stopped, give_up)
    threading.Thread(target=_watch, args=watching, name="ray-watch", daemon=True).start()
    try:
        yield
    finally:
        stopped.set()


def _servers(cluster: bool) -> tuple[Server, ...]:
    import ray

    context = ray.get_runtime_context()
    host, _, port = context.gcs_address.rpartition(":")
    here = next(node for node in ray.nodes() if node["NodeID"] == context.get_node_id())
    raylet = (str(here["NodeManagerAddress"]), int(here["NodeManagerPort"]))
    head = (host.strip("[]"), int(port))
    patience = HEAD_GONE_SECONDS if cluster else GONE_SECONDS
    return (
        Server("Ray's server on this machine (the raylet)", raylet, GONE_SECONDS),
        Server(f"the head of Ray (its GCS, {host}:{port})", head, patience),
    )


def _watch(
    servers: tuple[Server, ...], stopped: threading.Event, give_up: Callable[[Server], None]
) -> None:
    answered = dict.fromkeys(servers, time.monotonic())
    while not stopped.wait(CHECK_SECONDS):
        for server in servers:
            try:
                socket.create_connection(server.address, timeout=CHECK_SECONDS).close()
                answered[server] = time.monotonic()
            except OSError:
                if time.monotonic() - answered[server] > server.seconds:
                    return give_up(server)
