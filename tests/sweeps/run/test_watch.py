"""A run ends once a server that it cannot do without is silent for long."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

# One that is well, in the words of gRPC's health check, as Ray's own servers are.
SERVER = """
import time
from concurrent.futures import ThreadPoolExecutor
import grpc
from grpc import GenericRpcHandler, unary_unary_rpc_method_handler

class Well(GenericRpcHandler):
    def service(self, call):
        assert call.method == "/grpc.health.v1.Health/Check"
        return unary_unary_rpc_method_handler(lambda request, context: b"\\x08\\x01")

server = grpc.server(ThreadPoolExecutor(1))
server.add_generic_rpc_handlers((Well(),))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(port, flush=True)
time.sleep(600)
"""
# A driver that watches two servers of the ports it is given, and ends by itself after a while.
DRIVER = """
import sys, time
from sweeps.engine.run import watch

watch.CHECK_SECONDS, watch.PATIENCE_SECONDS, watch.ANSWER_SECONDS = 0.1, 4.0, 0.5
one, two = (watch.Server(f"server {i}", f"127.0.0.1:{port}", 0.5)
            for i, port in enumerate(sys.argv[2:]))
watch._servers = lambda cluster: (one, two)
watch._leaving = set
others = watch.Others(lambda: sys.argv[1] == "room", lambda: None) if sys.argv[1] else None
end = lambda why: watch.give_up(lambda: print("in order", flush=True), why)
with watch.ended_with_ray(end, others):
    print("watching", flush=True)
    sys.stdin.readline()
time.sleep(1.5)  # whatever dies after the block is nobody's business
print("the end", flush=True)
"""
SILENT = "no longer answers"


@pytest.fixture
def servers() -> list[subprocess.Popen[str]]:
    """Two processes that listen, on the ports that they have printed."""
    command = [sys.executable, "-c", SERVER]
    return [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]


@pytest.mark.parametrize(
    ("room", "victim", "how", "said"),
    [
        ("", 0, signal.SIGKILL, SILENT),
        ("room", 1, signal.SIGKILL, SILENT),
        ("", 1, signal.SIGSTOP, SILENT),  # its port still takes connections
        ("none", None, None, "no node of the cluster has had room"),
        ("room", None, None, ""),
    ],
)
def test_what_no_trial_can_run_without_ends_the_run(
    servers: list[subprocess.Popen[str]],
    room: str,
    victim: int | None,
    how: signal.Signals,
    said: str,
) -> None:
    ports = [s.stdout.readline().strip() for s in servers if s.stdout]
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, room, *ports],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=Path(__file__).parents[3],
    )  # fmt: skip
    try:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "watching\n"
        if victim is not None:
            servers[victim].send_signal(how)
        if said:
            assert driver.wait() == 1  # though nothing was sent to its main thread
            output, errors = driver.communicate()
            assert output == "in order\n"
            (line,) = errors.strip().splitlines()
            assert line.startswith("error: ")
            assert said in line, line
            assert victim is None or f"server {victim} " in line
            assert line.endswith("the same command goes on from here.")
            return
        assert driver.stdin is not None
        driver.stdin.write("leave\n")
        driver.stdin.flush()
        for server in servers:
            server.kill()
        assert driver.communicate() == ("the end\n", "")
        assert driver.returncode == 0
    finally:
        for process in (driver, *servers):
            process.kill()
            process.communicate()
