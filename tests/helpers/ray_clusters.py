"""Ray clusters of several nodes on this machine, each in a process of its own."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from helpers.small_sweeps import environment

# Prints the address of its job server where it has one, else that of Ray.
CLUSTER = """
import json, sys
from ray.cluster_utils import Cluster
cpus, dashboard, caches = json.loads(sys.argv[1])
nodes = [{"num_cpus": count} for count in cpus]
for node, cache in zip(nodes, caches):
    node["env_vars"] = {"PRUNESWEEP_CACHE": cache}
nodes[0] |= {"include_dashboard": dashboard, "dashboard_port": 0}
cluster = Cluster(initialize_head=True, head_node_args=nodes[0])
for node in nodes[1:]:
    cluster.add_node(**node)
print(f"http://{cluster.head_node.webui_url}" if dashboard else cluster.address, flush=True)
sys.stdin.readline()
cluster.shutdown()
"""


@contextlib.contextmanager
def ray_cluster(
    *cpus: int, dashboard: bool = False, caches: Sequence[Path] = (), **env: str
) -> Iterator[str]:
    """A head and other nodes with so many CPUs each, `env` besides in their environment.

    Args:
        cpus: of each node, the head's first.
        dashboard: whether the head serves jobs.
        caches: of each node's own, as if each were a machine.
        env: besides in all their environments.

    Yields:
        Its address; with a dashboard that of its job server.
    """
    given = json.dumps([cpus, dashboard, [str(cache) for cache in caches]])
    with subprocess.Popen(
        [sys.executable, "-c", CLUSTER, given], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, env=environment() | env,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.communicate("\n", timeout=60)
