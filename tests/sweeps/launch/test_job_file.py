"""Files that start a sweep elsewhere: they fit their schemas and hold the command as given."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from helpers.command_line import invoke, refused

from sweeps.engine.launch.job_file import FILES, Cluster, job_file

ROOT = Path(__file__).parents[3]
PODS = Cluster(nodes=3, gpus=4, image="registry/prunesweep:1", claim="space", queue="team")
SETTINGS = ("samples=3", 'question="a b $c"')
WORDS = ["--address", "auto", "--storage", "/shared/runs", "--set", SETTINGS[0]]
WORDS += ["--set", SETTINGS[1]]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A sweep file of the user's."""
    path = tmp_path / "mine.py"
    text = "from sweeps.quickstart import sweep as q\n\nsweep = q.model_copy("
    path.write_text(f'{text}update={{"name": "My_own.sweep"}})\n')
    return path


def manifests(sweep: str, cluster: Cluster = PODS) -> list[dict[str, Any]]:
    _, text = job_file("kuberay", sweep, cluster, storage=Path("/shared/runs"), settings=SETTINGS)
    return list(yaml.safe_load_all(text))


def test_a_rayjob_fits_the_schema_of_kuberay_and_runs_the_command() -> None:
    """The schema is an excerpt: every field that is not in it is refused."""
    (job,) = manifests("quickstart")
    schema = json.loads((ROOT / "tests/data/rayjob_schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(job, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**job, "spec": {**job["spec"], "backofLimit": 1}}, schema)
    assert shlex.split(job["spec"]["entrypoint"]) == ["prunesweep", "run", "quickstart", *WORDS]
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    (workers,) = cluster["workerGroupSpecs"]
    assert workers["replicas"] == 3
    pods = [g["template"]["spec"] for g in (cluster["headGroupSpec"], workers)]
    for pod in pods:
        (container,) = pod["containers"]
        assert container["image"] == "registry/prunesweep:1"
        mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounted["shared"] == "/shared"
        assert mounted.keys() == {volume["name"] for volume in pod["volumes"]}
    asked = [pod["containers"][0]["resources"]["limits"].get("nvidia.com/gpu") for pod in pods]
    assert asked == [None, 4], "the head schedules only"
    # A deletion of one status has to come no earlier than a smaller one.
    rules = job["spec"]["deletionStrategy"]["deletionRules"]
    assert "shutdownAfterJobFinishes" not in job["spec"], "KubeRay refuses both"
    assert {rule["condition"]["jobStatus"] for rule in rules} == {"SUCCEEDED", "FAILED"}


def test_a_file_of_the_users_travels_as_a_config_map(own: Path) -> None:
    script, job = manifests(str(own))
    assert script["data"] == {"mine.py": own.read_text()}
    assert job["metadata"]["name"] == "my-own-sweep", "a name as Kubernetes has them"
    assert shlex.split(job["spec"]["entrypoint"]) == ["prunesweep", "run", "/sweep/mine.py", *WORDS]
    pod = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    (volume,) = (v for v in pod["volumes"] if v["name"] == "sweep")
    assert volume["configMap"]["name"] == script["metadata"]["name"]


def test_cluster_yaml_is_what_launch_writes() -> None:
    """One text: `prunesweep launch llava_7b_frontier --on ray-up` with these numbers."""
    cluster = Cluster(nodes=8, gpus=1, cpus=16)
    path, text = job_file(
        "ray-up", "llava_7b_frontier", cluster, storage=Path("/shared/runs"),
        file=Path("cluster.yaml"),
    )  # fmt: skip
    assert (ROOT / path).read_text(encoding="utf-8") == text


@pytest.mark.parametrize("hosts", [(), ("10.0.0.1", "10.0.0.2")])
def test_a_cluster_file_fits_the_schema_of_ray(hosts: tuple[str, ...], own: Path) -> None:
    import ray.autoscaler

    cluster = Cluster(nodes=2, hosts=hosts)
    _, text = job_file("ray-up", str(own), cluster, storage=Path("/shared/runs"))
    config = yaml.safe_load(text)
    schema = Path(os.path.dirname(ray.autoscaler.__file__)) / "ray-schema.json"
    jsonschema.validate(config, json.loads(schema.read_text(encoding="utf-8")))
    start = config["head_start_ray_commands"] + config["worker_start_ray_commands"]
    assert all("RAY_AUTH_MODE=token" in line for line in start if "ray start" in line)
    assert "0.0.0.0" not in " ".join(start)
    assert config["file_mounts"]["~/mine.py"] == str(own)
    if hosts:
        assert config["provider"] == {
            "type": "local", "head_ip": "10.0.0.1", "worker_ips": ["10.0.0.2"]
        }  # fmt: skip
        return
    kinds = config["available_node_types"]
    assert kinds[config["head_node_type"]]["resources"] == {"CPU": 0}
    assert kinds["gpu_worker"]["resources"]["GPU"] == 1
    assert config["provider"]["use_internal_ips"] is True


def test_a_slurm_job_is_a_shell_script_with_the_command(own: Path, tmp_path: Path) -> None:
    cluster = Cluster(nodes=2, gpus=8, hours=36.5, queue="gpu")
    path, text = job_file("slurm", str(own), cluster, storage=tmp_path / "a b", settings=SETTINGS)
    assert path.name == "my-own-sweep.sbatch"
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    options = dict(
        line.removeprefix("#SBATCH --").partition("=")[::2]
        for line in text.splitlines()
        if line.startswith("#SBATCH")
    )
    assert options["time"] == "1-12:30:00"
    assert (options["nodes"], options["gpus-per-node"], options["cpus-per-task"]) == (
        "2",
        "8",
        "64",
    )
    assert options["partition"] == "gpu"
    assert "requeue" in options
    last = text.rpartition("-- \\\n")[2].partition(" &")[0]
    words = [*WORDS]
    words[words.index("/shared/runs")] = str(tmp_path / "a b")
    assert shlex.split(last) == ["prunesweep", "run", str(own), *words]
    assert f"source {sys.prefix}/bin/activate" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--on", "lsf"), "Valid: slurm, kuberay, ray-up"),
        (("--on", "kuberay"), "--image"),
        (("--on", "ray-up", "--storage", "runs"), "such as /shared/runs"),
        (("--on", "slurm", "--set", "trial.workers=4"), "raise --nodes or --gpus"),
        (("--on", "slurm", "--to", "/nowhere/x"), "cannot be written"),
    ],
)
def test_what_cannot_be_launched_is_refused(options: tuple[str, ...], message: str) -> None:
    assert message in refused("launch", "quickstart", *options)


@pytest.mark.parametrize("target", FILES)
def test_the_command_writes_the_file_and_says_how_to_start_it(target: str, tmp_path: Path) -> None:
    options = ("--image", "i", "--claim", "c") if target == "kuberay" else ()
    file = tmp_path / "job"
    said = invoke("launch", "quickstart", "--on", target, *options, "--to", file).stdout
    assert said.split()[-1].endswith("job")
    assert invoke("launch", "quickstart", "--on", target, *options, "--to", "-").stdout
    assert "quickstart" in file.read_text()
