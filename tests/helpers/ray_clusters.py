"""Ray clusters of several nodes on this machine, each in a process of its own."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

from helpers.small_sweeps import environment

# Prints the address of its job server where it has one, else that of Ray.
CLUSTER = """
import json, sys
from ray.cluster_utils import Cluster
head, others, dashboard = json.loads(sys.argv[1])
head = {"num_cpus": head, "include_dashboard": dashboard, "dashboard_port": 0}
cluster = Cluster(initialize_head=True, head_node_args=head)
for cpus in others:
    cluster.add_node(num_cpus=cpus)
print(f"http://{cluster.head_node.webui_url}" if dashboard else cluster.address, flush=True)
sys.stdin.readline()
cluster.shutdown()
"""


@contextlib.contextmanager
def ray_cluster(head: int, *others: int, dashboard: bool = False, **env: str) -> Iterator[str]:
    """A head and other nodes with so many CPUs each, `env` besides in their environment.

    Yields:
        Its address; with a dashboard that of its job server.
    """
    given = f"[{head}, {list(others)}, {str(dashboard).lower()}]"
    with subprocess.Popen(
        [sys.executable, "-c", CLUSTER, given], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, env=environment() | env,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.communicate("\n", timeout=60)
