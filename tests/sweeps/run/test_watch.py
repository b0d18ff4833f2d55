"""A run ends once a server that it cannot do without is silent for long."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SERVER = """
import socket, time
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
time.sleep(600)
"""
# A driver that watches two servers of the ports it is given, and ends by itself after a while.
DRIVER = """
import sys, time
from sweeps.engine.run import watch

watch.CHECK_SECONDS = 0.1
one, two = (watch.Server(f"server {i}", ("127.0.0.1", int(port)), 0.5)
            for i, port in enumerate(sys.argv[1:]))
watch._servers = lambda cluster: (one, two)
with watch.ended_with_ray(lambda: print("in order", flush=True), cluster=False):
    print("watching", flush=True)
    sys.stdin.readline()
time.sleep(1.5)  # whatever dies after the block is nobody's business
print("the end", flush=True)
"""


@pytest.fixture
def servers() -> list[subprocess.Popen[str]]:
    """Two processes that listen, on the ports that they have printed."""
    command = [sys.executable, "-c", SERVER]
    return [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]


@pytest.mark.parametrize("victim", [0, 1, None])
def test_the_death_of_either_server_ends_the_run(
    servers: list[subprocess.Popen[str]], victim: int | None
) -> None:
    ports = [s.stdout.readline().strip() for s in servers if s.stdout]
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, *ports],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=Path(__file__).parents[3],
    )  # fmt: skip
    try:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "watching\n"
        if victim is not None:
            servers[victim].kill()
            assert driver.wait() == 1  # though nothing was sent to its main thread
            said, errors = driver.communicate()
            assert said == "in order\n"
            (line,) = errors.strip().splitlines()
            assert line.startswith(f"error: server {victim} no longer answers")
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
