"""`prunesweep register` on a real store: what the registry holds, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.command_line import invoke, refused
from helpers.ledgers import UNTRAINED, old_quickstart
from helpers.trials import make_dense, make_trial, write_sweep
from mlflow.tracking import MlflowClient

from analysis.load import load_trials
from sweeps.engine.track.store import default_uri
from sweeps.engine.track.tracking import Mirror
from trainables.common.weights import weights_digest

WITHIN = ("--max", "weights_mib=7")  # the best of the quickstart is what needs no training
TRAINED = "013-layerwise-30-joint-ce"  # the best of those with at most 6 MiB


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mirrored quickstart, which all tests share."""
    storage = tmp_path_factory.mktemp("runs")
    Mirror(storage, "quickstart").sync(load_trials(old_quickstart(storage)), {"question": "?"})
    return storage


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's global store would be made in the working directory; it must never be needed."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def client_of(storage: Path) -> MlflowClient:
    return MlflowClient(default_uri(storage), default_uri(storage))


def register(storage: Path, *more: object) -> dict[str, Any]:
    given = ("register", "quickstart", *WITHIN, "--storage", storage, "--json", *more)
    found: dict[str, Any] = json.loads(invoke(*given).stdout)
    return found


def test_the_recommended_trial_becomes_a_version_by_reference(storage: Path) -> None:
    chosen = json.loads(
        invoke("recommend", "quickstart", *WITHIN, "--storage", storage, "--json").stdout
    )["trial"]
    done = register(storage, "--alias", "fits-7mib", "--alias", "shipped")
    assert (done["trial_id"], done["version"], done["new"]) == (chosen["trial_id"], 1, True)
    client = client_of(storage)
    version = client.get_model_version_by_alias("quickstart", "fits-7mib")
    assert int(version.version) == 1
    assert sorted(version.aliases) == ["fits-7mib", "shipped"]
    folder = storage / "quickstart" / "trials" / UNTRAINED
    assert version.tags["weights_uri"] == folder.as_uri()
    assert version.tags["weights_digest"] == done["weights"]["digest"]
    assert f"retention {100 * chosen['retention_corrected']:.1f}" in version.description

    model = client.get_logged_model(done["model_id"])
    assert (model.name, model.status) == (UNTRAINED, "READY")
    assert model.tags["weights_uri"] == folder.as_uri()
    assert model.params["method"] == "layerwise"
    held = {metric.key: metric.value for metric in model.metrics}
    assert held["weights_mib"] == pytest.approx(chosen["weights_mib"])
    assert held["retention"] == pytest.approx(chosen["retention"])
    files = {item.path for item in client.list_logged_model_artifacts(done["model_id"])}
    assert files == {"record.json", "report.json", "plan.json", "model_card.md"}
    (run,) = client.search_runs(["1"], f"tags.trial_id = '{UNTRAINED}'")
    assert [output.model_id for output in run.outputs.model_outputs] == [done["model_id"]]
    assert list(Path.cwd().iterdir()) == []


def test_again_it_is_found_and_an_exported_folder_is_another_version(
    storage: Path, tmp_path: Path
) -> None:
    first = register(storage, "--name", "edge")
    assert register(storage, "--name", "edge", "--alias", "now") == {
        **first, "aliases": ["now"], "new": False,
    }  # fmt: skip
    student = tmp_path / "student"
    invoke("export", f"quickstart/{UNTRAINED}", "--to", student, "--storage", storage)
    second = register(storage, "--name", "edge", "--alias", "now", "--model", student)
    assert (second["version"], second["new"]) == (2, True)
    assert second["weights"] == {
        "uri": student.as_uri(), "digest": f"sha256:{weights_digest(student)}", "loads": True,
    }  # fmt: skip
    client = client_of(storage)
    assert int(client.get_model_version_by_alias("edge", "now").version) == 2
    assert client.get_model_version("edge", "1").aliases == []

    other = refused(
        "register", "quickstart", "--max", "weights_mib=5", "--model", student, "--storage", storage
    )
    assert f"holds quickstart/{UNTRAINED}, but within these limits quickstart/014" in other
    assert "is no folder that `prunesweep export` wrote" in refused(
        "register", "quickstart", *WITHIN, "--model", tmp_path, "--storage", storage
    )


def test_it_says_where_the_weights_are_and_how_to_get_a_checkpoint(storage: Path) -> None:
    said = invoke("register", "quickstart", *WITHIN, "--name", "said", "--storage", storage).stdout
    assert "said version 1: file://" in said
    assert f"prunesweep export quickstart/{UNTRAINED} --to DIR --storage {storage}" in said


def test_trained_weights_that_are_gone_are_refused_and_those_there_are_told_apart(
    storage: Path,
) -> None:
    given = ("register", "quickstart", "--max", "weights_mib=6", "--storage", storage)
    assert f"the weights of quickstart/{TRAINED} are not kept" in refused(*given)
    tensors = storage / "quickstart" / "trials" / TRAINED / "recovered.safetensors"
    digests = []
    for content in (b"one", b"two"):
        tensors.write_bytes(content)
        digests.append(json.loads(invoke(*given, "--json").stdout)["weights"]["digest"])
    tensors.unlink()
    assert len(set(digests)) == 2


@pytest.mark.parametrize(
    ("alias", "why"),
    [
        ("9 GiB", "Names may only contain alphanumerics"),
        ("latest", "MLflow keeps the alias 'latest' for itself"),
        ("v3", "MLflow keeps the alias 'v3' for itself"),
    ],
)
def test_an_alias_that_mlflow_refuses_leaves_nothing_behind(
    storage: Path, alias: str, why: str
) -> None:
    given = ("register", "quickstart", *WITHIN, "--name", "none", "--alias", alias)
    assert why in refused(*given, "--storage", storage)
    assert client_of(storage).search_registered_models("name = 'none'") == []


def test_somebody_elses_model_is_left_alone(storage: Path) -> None:
    client_of(storage).create_registered_model("theirs")
    given = ("register", "quickstart", *WITHIN, "--name", "theirs", "--storage", storage)
    assert "has a model 'theirs' that is not prunesweep's; give another --name" in refused(*given)
    assert "Names cannot contain" in refused(*given[:-3], "a/b", *given[-2:])


def test_nothing_within_the_limits_is_exit_code_1(storage: Path) -> None:
    given = ("register", "quickstart", "--max", "weights_mib=1", "--storage", storage)
    assert "None of 8 trials keeps every limit" in invoke(*given, code=1).stdout
    assert json.loads(invoke(*given, "--json", code=1).stdout)["trial"] is None


def test_a_sweep_without_a_report_split_or_a_run_is_refused(storage: Path) -> None:
    write_sweep(storage, [make_dense(), make_trial("a")])
    given = ("register", "demo", "--storage", storage)
    assert "no trial of demo has a score on the report split" in refused(*given)
    write_sweep(storage, [make_dense(report=1.0), make_trial("a", report=0.9, scope="none")])
    (storage / "demo" / "trials" / "a" / "plan.json").write_text("{}")
    assert "MLflow holds no run of demo/a; `prunesweep run`" in refused(*given)


def test_a_store_that_is_not_there_is_one_line(storage: Path, tmp_path: Path) -> None:
    given = ("register", "quickstart", *WITHIN)
    assert "holds no mlflow.db yet" in refused(*given, "--storage", tmp_path)
    dead = refused(*given, "--storage", storage, "--tracking-uri", "http://127.0.0.1:9")
    assert "MLflow at http://127.0.0.1:9: Connection refused" in dead
    files = refused(*given, "--storage", storage, "--tracking-uri", (tmp_path / "ml").as_uri())
    assert "filesystem tracking backend" in files
