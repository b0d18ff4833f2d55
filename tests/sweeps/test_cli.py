"""What a user sees who gives something wrong: one clear line, exit code 2, nothing started."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sys
import threading
import time
from io import StringIO
from pathlib import Path

import pytest
from helpers.command_line import invoke, refused
from helpers.trials import make_dense, make_trial, write_gallery, write_requests, write_sweep
from rich.console import Console

from sweeps.engine.cli import app
from sweeps.engine.cli.app import trial_folder
from sweeps.engine.run.lock import run_lock
from sweeps.engine.run.progress import View
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.ledger import Ledger, Request
from trainables.common.files import write_json
from trainables.records import Signature

ROOT = Path(__file__).parents[2]


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    trials = [make_dense(report=1.0), make_trial("a", 0.9, report=0.88, weights_mib=8.0)]
    write_sweep(tmp_path, trials)
    return tmp_path


def test_every_command_stands_in_its_place() -> None:
    """Modules are found by themselves; help shows them in the order of a user's day."""
    names = [c.name or c.callback.__name__ for c in app.registered_commands if c.callback]
    expected = (
        "init list plan run status rerun doctor launch probe simulate report frontier spider "
        "effects answers recommend ui register findings study evaluate score export convert"
    )
    assert names == expected.split()
    assert [group.name for group in app.registered_groups] == ["data"]


def test_list_and_plan_speak_json(tmp_path: Path) -> None:
    found = json.loads(invoke("list", "--json").stdout)
    assert {"sweeps", "models", "tasks", "spaces", "architectures"} <= set(found)
    assert "quickstart" in found["sweeps"]
    planned = json.loads(invoke("plan", "quickstart", "--json", "--storage", tmp_path).stdout)
    assert planned["total"] >= 17
    assert len(planned["sizes"]) == 8
    assert list(tmp_path.iterdir()) == [], "plan writes nothing"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trial.model.path=tinny"], "Did you mean 'tiny'"),
        (["trial.model.path=no/such/model"], "neither a known model nor a folder"),
        (["trial.model.path=BAAI/Bunny-v1_0-3B"], "prunesweep convert FOLDER"),
        (["trial.evaluation.tasks=[tiny_countin]"], "tiny_counting"),
        (["trial.data.conversations=missing.json"], "missing.json"),
        (["strata.ratio=[0.01]"], "Raise ratio"),
        (["strata.ratio=[0.99]"], "ratio"),
        (["trial.workers=3"], "multiple of 3"),
        (["name=store"], "names that are taken: store"),
        (["name=mlflow.db"], "the storage keeps something else under that name"),
        ([f"name={'x' * 101}"], "at most 100 characters"),
        (["trial.recovery.loss.alpha=0"], "nothing to train on"),
        (["trial.recovery.budget.steps=0"], "steps=0"),
        (["trial.recovery.vision_cache=on"], "vision_cache"),  # of before
        (["resources.gpus_per_slot=measurd"], "gpus_per_slot='measurd': Input should be a valid n"),
        (["resources.memory_gib_per_slot=0"], "greater than 0, or Input should be 'measured'"),
    ],
)
def test_a_sweep_that_cannot_run(overrides: list[str], message: str, tmp_path: Path) -> None:
    given = [part for o in [*overrides, "designed=[]"] for part in ("--set", o)]
    assert message in refused("run", "quickstart", "--storage", tmp_path / "runs", *given)
    assert not (tmp_path / "runs" / "quickstart").exists()


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("postgresql://host/db", "driver 'psycopg', which is not installed; install prunesweep[p"),
        ("mysql+pymysql://host/db", "driver 'pymysql', which is not installed; install it beside"),
        ("postgresql+nodriver://host/db", "no address of a database"),
    ],
)
def test_a_database_without_its_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, message: str
) -> None:
    for name in ("psycopg", "pymysql"):
        monkeypatch.setitem(sys.modules, name, None)
    storage = tmp_path / "runs"
    assert message in refused("run", "quickstart", "--tracking-uri", uri, "--storage", storage)
    assert not storage.exists()


def test_a_damaged_checkpoint(tmp_path: Path) -> None:
    from trainables.models.families.registry import TINY_FOLDER

    copy = tmp_path / "model"
    shutil.copytree(TINY_FOLDER, copy)
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    message = refused(
        "run", "quickstart", "--storage", tmp_path, "--set", f"trial.model.path={copy}"
    )
    assert "model.safetensors" in message
    weights.unlink()
    message = refused("plan", "quickstart", "--set", f"trial.model.path={copy}")
    assert "no model.safetensors" in message


def test_a_port_that_is_taken(storage: Path) -> None:
    (storage / "mlflow.db").touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        message = refused("ui", "--storage", storage, "--port", port)
    assert str(port) in message
    assert "--port" in message


def test_nothing_to_show_yet(tmp_path: Path) -> None:
    assert "run a sweep first" in refused("ui", "--storage", tmp_path)
    assert "No sweep has run" in invoke("status", "--storage", tmp_path).stdout
    assert "prunesweep run" in refused("frontier", "quickstart", "--storage", tmp_path)


def test_reading_commands_on_a_small_ledger(storage: Path) -> None:
    found = json.loads(invoke("frontier", "demo", "--storage", storage, "--json").stdout)
    assert {p["trial_id"] for p in found["points"]} == {"dense", "a"}
    assert (storage / "demo" / "frontier.png").exists()
    result = invoke("recommend", "demo", "--storage", storage, "--max", "weights_mib=9")
    assert "prunesweep export demo/a" in result.stdout
    invoke("recommend", "demo", "--storage", storage, "--min", "retention=0.879", code=1)


def test_answers_side_by_side(storage: Path) -> None:
    folder = storage / "demo"
    assert "keeps no pictures" in refused("answers", "demo", "--storage", storage)
    write_sweep(storage, [make_trial("b", 0.5, report=0.5, weights_mib=12.0)])
    said = [("1", 100.0), ("a\nb", 0.0)]
    write_gallery(folder, {"dense": said, "a": said[::-1], "b": said})
    shown = invoke("answers", "demo", "--storage", storage).stdout
    assert shown.count("layerwise 0.30") == 2, "trial b is not on the frontier"
    assert str(folder / "answers.json") in shown.replace("\n", "")
    stamp = (folder / "answers.json").stat().st_mtime_ns
    plain = invoke("answers", "demo", "demo/b", "--json", "--storage", storage).stdout
    assert [m["trial_id"] for m in json.loads(plain)["models"]] == ["dense", "b"]
    assert (folder / "answers.json").stat().st_mtime_ns == stamp
    assert "Did you mean" in refused("answers", "demo", "dens", "--storage", storage)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["status", "--nope"], "No such option: --nope; `prunesweep status --help` says"),
        (["run"], "Missing argument 'sweep'"),
        (["frontie"], "Did you mean 'frontier'?; `prunesweep --help` says"),
        (["export", "a", "--to"], "'--to' requires an argument"),
        (["ui", "--port", "abc"], "'--port'"),
        (["evaluate", "tiny", "--split", "test"], "not one of 'search', 'report'; `prunesweep ev"),
        (["data", "nope"], "`prunesweep data --help` says"),
    ],
)
def test_what_does_not_parse_is_one_line_too(arguments: list[str], message: str) -> None:
    assert message in refused(*arguments)


def test_no_arguments_show_the_help() -> None:
    assert "Compress vision-language models" in invoke(code=2).output


def test_a_trial_is_named_by_how_it_begins(storage: Path, tmp_path: Path) -> None:
    write_sweep(storage, [make_trial("abc"), make_trial("abd"), make_trial("xy")])
    named = {name: trial_folder(storage, name).name for name in ("a", "x", "demo/x", "demo/abd")}
    assert named == {"a": "a", "x": "xy", "demo/x": "xy", "demo/abd": "abd"}
    message = refused("export", "ab", "--to", tmp_path / "new", "--storage", storage)
    assert "'ab' may be demo/abc or demo/abd; write more of it" in message
    assert "Valid: none" in refused("export", "*/a", "--to", "new", "--storage", storage)


@pytest.mark.parametrize("to", ["taken", "taken/file/new"])
def test_an_export_looks_at_its_folder_first(storage: Path, tmp_path: Path, to: str) -> None:
    """Before anything is loaded: the trial of this ledger has no model that could be."""
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    message = refused("export", "demo/a", "--to", tmp_path / to, "--storage", storage)
    assert f"{tmp_path / to} " in message
    assert "name another" in message


@pytest.mark.parametrize("service", ["none", "another", "silent"])
def test_an_address_where_no_ray_answers(tmp_path: Path, service: str) -> None:
    """Within ten seconds, and nothing is created."""
    begin = time.monotonic()
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{listening.getsockname()[1]}"
        if service != "none":
            listening.listen()
        if service == "another":
            threading.Thread(target=_greet, args=(listening,), daemon=True).start()
        message = refused("run", "quickstart", "--address", place, "--storage", tmp_path / "runs")
    assert f"no Ray cluster answers at '{place}' (" in message
    assert "--address" in message
    assert time.monotonic() - begin < 10
    assert list(tmp_path.iterdir()) == []


def _greet(listening: socket.socket) -> None:
    listening.accept()[0].sendall(b"HTTP/1.1 200 OK\r\n\r\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["frontier", "demoo"], "did you mean 'demo'"),
        (["frontier", "demo", "--x", "weight_mib"], "weights_mib"),
        (["status", "demoo"], "Did you mean 'demo'"),
        (["frontier", "demo", "--published", "llava"], "did you mean 'llava-v1.5-7b'"),
        (["frontier", "demo", "--x", "latency_ms", "--published", "llava-v1.5-7b"], "latency_ms"),
        (["spider", "demo", "b"], "no trial 'b'"),
        (["spider", "demo"], "at least 3 tasks"),
        (["recommend", "demo", "--max", "weights_mib"], "axis=number"),
        (["recommend", "demo", "--min", "retenton=0.9"], "retention"),
        (["export", "demo/b", "--to", "x"], "demo/a"),
        (["rerun", "c"], "demo/a"),
    ],
)
def test_unknown_names(storage: Path, arguments: list[str], message: str) -> None:
    assert message in refused(*arguments, "--storage", storage)


@pytest.mark.parametrize("arguments", [("again/a",), ("again", "--failed")])
def test_a_rerun_beside_a_run_asks_for_nothing(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """It is refused, and leaves no request that the next run would take up."""
    ledger, record = Ledger(tmp_path, "again"), make_trial("a").record
    request = Request(trial_id="a", index=0, origin="designed", key="k", spec=record.spec)
    failed = record.model_copy(update={"status": "failed"})
    write_json(ledger.add(request) / "record.json", failed)
    write_json(ledger.folder / "sweep.json", SweepSpec(name="again", question="?"))
    before = sorted(ledger.trials.rglob("*.json"))
    with run_lock(ledger.folder):
        message = refused("rerun", *arguments, "--storage", tmp_path)
    assert f"already being run by process {os.getpid()}" in message
    assert sorted(ledger.trials.rglob("*.json")) == before


def test_a_trial_that_fails_again_and_again_has_failed_once(tmp_path: Path) -> None:
    ledger, record = Ledger(tmp_path, "again"), make_trial("a").record
    for index, (name, key) in enumerate((("a", "k"), ("b", "k#2"), ("c", "other"), ("d", "k#3"))):
        request = Request(trial_id=name, index=index, origin="designed", key=key, spec=record.spec)
        failed = record.model_copy(update={"trial_id": name, "status": "failed"})
        write_json(ledger.add(request) / "record.json", failed)
    write_json(ledger.folder / "sweep.json", SweepSpec(name="again", question="?"))
    (found,) = json.loads(invoke("status", "--json", "--storage", tmp_path).stdout)
    assert found["counts"] == {"failed": 2}
    view = View(Console(file=StringIO(), width=80, force_terminal=True, no_color=True))
    view.begin(SweepSpec(name="again", question="?"), 4, ledger)
    view.end()
    assert "0 running, 2 failed" in view.console.file.getvalue()


def test_the_frontier_task_by_task_and_beside_the_study(storage: Path) -> None:
    table = invoke("frontier", "demo", "--tasks", "--storage", storage).stdout
    assert "tiny_counting" in table
    (first, _) = json.loads(
        invoke("frontier", "demo", "--tasks", "--json", "--storage", storage).stdout
    )
    assert first["tasks"]["tiny_counting"]["score"] == pytest.approx(96 * 0.88 - 1)
    options = ("--x", "kept", "--published", "bunny-v1.0-3b", "--storage", storage)
    said = invoke("frontier", "demo", *options).stdout
    assert "not measured here" in said
    assert "frontier-kept-published.png" in said
    found = json.loads(invoke("frontier", "demo", "--json", *options).stdout)
    assert len(found["published"]["points"]) == 13
    assert [p["kept"] for p in found["points"]] == [0.7, 1.0]


def test_plan_says_what_the_sample_limits_can_tell(tmp_path: Path) -> None:
    given = ("--set", "trial.evaluation.search_limit=100", "--storage", tmp_path)
    planned = json.loads(invoke("plan", "quickstart", "--json", *given).stdout)
    sizes = {size["use"]: size for size in planned["samples"]}
    # Five tasks of 100 coin tosses each: 2.8016 * 70.7 / sqrt(500).
    assert sizes["search_limit"]["detectable"] == pytest.approx(8.859, abs=0.001)
    said = invoke("plan", "quickstart", *given).stdout
    assert "search_limit: 8.9 points of the average can be told apart at 100 samples" in said


def test_every_command_of_the_readme_exists() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"```bash\n(.*?)```", readme, re.DOTALL))
    used = set(re.findall(r"(?:^|/)prunesweep (\w+)", blocks, re.MULTILINE))
    known = {c.name or c.callback.__name__ for c in app.registered_commands if c.callback}
    known |= {str(group.name) for group in app.registered_groups}
    assert used
    assert used <= known
    targets = set(re.findall(r"^make (\w+)", blocks, re.MULTILINE))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
    assert {"quickstart", "test"} <= targets


def test_effects_of_a_sweep_over_loss_coefficients(tmp_path: Path) -> None:
    trials = [
        make_dense(),
        make_trial("a", 0.9, loss={"alpha": 1.0}),
        *(
            make_trial(f"{terms}-{seed}", 0.8, report=0.8 + gain * seed, seed=seed,
                       origin="confirm", loss=loss)
            for terms, loss, gain in (("a", {"alpha": 1.0}, 0.001), ("b", {"gamma": 1.0}, 0.01))
            for seed in (1, 2)
        ),
    ]  # fmt: skip
    folder = write_sweep(tmp_path, trials, "mix", "loss_coefficients")
    found = json.loads(invoke("effects", "mix", "--storage", tmp_path, "--json").stdout)
    assert [m["point"]["terms"] for m in found["confirmed"]] == ["ce+l2", "ce"]
    assert json.loads((folder / "effects.json").read_text()) == found
    said = invoke("effects", "mix", "--storage", tmp_path).stdout
    assert "The best mixture is 0.50 ce + 0.50 l2" in said
    assert "effects.png" in said


def test_effects_say_where_there_are_none(storage: Path) -> None:
    said = invoke("effects", "demo", "--storage", storage)
    assert said.exit_code == 0
    assert "What mattered: nothing that can be told." in said.stdout
    assert "not a folder" in refused("effects", "demoo", "--storage", storage)


def test_status_and_frontier_show_signs_of_failure(tmp_path: Path) -> None:
    sign = Signature(
        name="one_answer", value=0.9, threshold=0.75, sentence="90 % of the answers are 'yes'."
    )
    trials = [make_dense(), make_trial("a", 0.9, signatures=(sign,)), make_trial("b", 0.95)]
    write_requests(write_sweep(tmp_path, trials), trials)
    named = invoke("status", "demo", "--storage", tmp_path).stdout
    assert "a: 90 % of the answers are 'yes'." in named
    assert "one_answer" in named
    everything = invoke("status", "--storage", tmp_path).stdout
    assert "signs of failure in 1: `prunesweep status demo`" in everything
    (found,) = json.loads(invoke("status", "demo", "--json", "--storage", tmp_path).stdout)
    assert found["signatures"] == {"a": ["90 % of the answers are 'yes'."]}
    shown = json.loads(invoke("frontier", "demo", "--json", "--storage", tmp_path).stdout)
    signs = {p["trial_id"]: p["signs"] for p in [*shown["points"], *shown["dominated"]]}
    assert signs == {"dense": "", "a": "one_answer", "b": ""}
    table = invoke("frontier", "demo", "--storage", tmp_path).stdout
    assert "b " in table


def test_plan_counts_the_confirm_stage(tmp_path: Path) -> None:
    for sweep in ("loss_coefficients", "llava_7b_loss_coefficients"):
        said = json.loads(invoke("plan", sweep, "--json", "--storage", tmp_path).stdout)
        assert said["confirmed"] == (5 + 4) * 3
        assert said["total"] == len(said["trials"]) + said["sampled"] + said["confirmed"]
    sensitivity = json.loads(invoke("plan", "sensitivity", "--json", "--storage", tmp_path).stdout)
    names = {row["name"] for row in sensitivity["trials"]}
    assert names == {
        "dense",
        "layerwise-15-projector-ce",
        "layerwise-30-joint-ce+l2",
        "widthwise-60-joint-ce+l2",
    }
    # Rates 4, budgets 2, the recipe itself 2 (seeds); with LoRA 2 ranks and 4 weights; 3 seeds.
    assert len(sensitivity["trials"]) == 1 + 3 * (8 + 2 * 14)
