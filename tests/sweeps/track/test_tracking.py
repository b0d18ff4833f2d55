"""The MLflow mirror on a real SQLite store: contract, idempotence, and what is never logged."""

from __future__ import annotations

import csv
import hashlib
import itertools
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from helpers.ledgers import UNTRAINED, old_quickstart
from helpers.trials import make_dense, make_trial, write_gallery, write_sweep

from analysis.answers.side_by_side import find_answers
from analysis.load import Trial, load_sweep, load_trials
from analysis.output.effect_files import write_effects
from analysis.output.frontier_files import write_frontier
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.ledger import Ledger
from sweeps.engine.track.answer_table import SHOWN, TABLE
from sweeps.engine.track.experiment_page import KEPT, NOTE
from sweeps.engine.track.mirroring import MirrorThread
from sweeps.engine.track.store import default_uri
from sweeps.engine.track.tracking import Mirror
from trainables.records import Signature

NAMES = (f"sweep{i}" for i in itertools.count())


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def sweep(storage: Path) -> str:
    """A name of its own for each test, so that all share one database (6 s to make)."""
    return next(NAMES)


@pytest.fixture
def global_store(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' database as MLflow's global store, which `load_table` searches."""
    # Not by `set_tracking_uri`: handing it back what was in force sets the variable for good, to a
    # database in the working directory, and later sweeps of this process are mirrored there.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", default_uri(storage))


def some_trials(sweep: str) -> list[Trial]:
    common: dict[str, Any] = {"sweep": sweep}
    return [
        make_trial("a", 0.5, weights_mib=6.0, ratio=0.6, **common),
        make_trial("b", 0.8, weights_mib=8.0, method="widthwise", origin="sampler", **common),
        make_trial("c", 0.7, weights_mib=9.0, scope="none", **common),
        make_trial("bad", status="failed", **common),
        make_trial("cut", 0.99, weights_mib=1.0, status="early_stopped", **common),
        make_dense(**common),
    ]


def sync(mirror: Mirror, folder: Path, **more: Any) -> None:
    mirror.sync(load_trials(folder), load_sweep(folder), **more)


def children(mirror: Mirror, query: str = "") -> dict[str, Any]:
    parts = [f"tags.`mlflow.parentRunId` = '{mirror.parent_id()}'", *([query] if query else [])]
    found = mirror._client.search_runs([mirror.experiment_id], " and ".join(parts))
    assert len({run.data.tags["trial_id"] for run in found}) == len(found)
    return {run.data.tags["trial_id"]: run for run in found}


def everything(mirror: Mirror) -> dict[str, Any]:
    """All that a store holds of the children, histories included."""
    held = {}
    for trial_id, run in children(mirror).items():
        histories = {
            name: [
                (m.value, m.step, m.timestamp)
                for m in mirror._client.get_metric_history(run.info.run_id, name)
            ]
            for name in run.data.metrics
        }
        held[trial_id] = (run.info.run_id, run.info.status, run.data.params, histories)
    return held


def csv_ids(folder: Path) -> set[str]:
    return {row["trial_id"] for row in csv.DictReader(write_frontier(folder).csv.open())}


def test_search_for_the_frontier_tag_equals_the_csv(storage: Path, sweep: str) -> None:
    folder = write_sweep(storage, some_trials(sweep), sweep)
    mirror = Mirror(storage, sweep)
    sync(mirror, folder)
    assert set(children(mirror, "tags.frontier = 'true'")) == csv_ids(folder) == {"a", "b", "dense"}
    parent = mirror._client.get_run(mirror.parent_id())
    assert "frontier" not in parent.data.tags
    assert set(children(mirror, "tags.trial_id != ''")) == {t.trial_id for t in load_trials(folder)}

    # A better and smaller model moves the front: the tags of its siblings are rewritten.
    write_sweep(storage, [make_trial("star", 0.9, weights_mib=5.0, sweep=sweep)], sweep)
    sync(mirror, folder)
    assert set(children(mirror, "tags.frontier = 'true'")) == csv_ids(folder) == {"star", "dense"}


def test_syncing_again_changes_nothing_and_a_new_mirror_finds_its_runs(
    storage: Path, sweep: str
) -> None:
    folder = write_sweep(storage, some_trials(sweep), sweep)
    sync(Mirror(storage, sweep), folder)
    before = everything(Mirror(storage, sweep))
    again = Mirror(storage, sweep)
    sync(again, folder)
    assert everything(again) == before
    runs = again._client.search_runs([again.experiment_id])
    assert len(runs) == len(before) + 1  # and one parent


def test_a_half_written_run_is_completed_not_repeated(storage: Path, sweep: str) -> None:
    folder = write_sweep(storage, some_trials(sweep)[:2], sweep)
    mirror = Mirror(storage, sweep)
    sync(mirror, folder)
    whole = everything(mirror)
    run = children(mirror)["a"]
    mirror._client.delete_tag(run.info.run_id, "prunesweep.mirrored")  # a crash came before it
    again = Mirror(storage, sweep)
    sync(again, folder)
    assert everything(again) == whole


def test_what_was_written_is_not_looked_at_again_until_the_end(
    storage: Path, sweep: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_sweep(storage, some_trials(sweep), sweep)
    mirror = Mirror(storage, sweep)
    sync(mirror, folder)
    asked: list[str] = []
    for name in ("search_runs", "create_run", "set_tag", "log_batch"):
        call = getattr(mirror._client, name)

        def counted(*args: Any, name: str = name, call: Any = call, **named: Any) -> Any:
            asked.append(name)
            return call(*args, **named)

        monkeypatch.setattr(mirror._client, name, counted)
    write_sweep(storage, [make_trial("late", 0.1, weights_mib=20.0, sweep=sweep)], sweep)
    sync(mirror, folder)
    # The parent is looked for and written; of the children the new one alone.
    assert Counter(asked) == {"search_runs": 1, "create_run": 1, "log_batch": 2}
    child = children(mirror)["a"]
    mirror._client.delete_run(child.info.run_id)
    sync(mirror, folder)
    assert "a" not in children(mirror)
    sync(mirror, folder, finished=True)
    assert children(mirror)["a"].data.params == child.data.params


@pytest.mark.parametrize("what", ["parent", "experiment"])
def test_what_was_deleted_in_mlflow_is_there_after_the_next_sync(
    storage: Path, sweep: str, what: str
) -> None:
    folder = write_sweep(storage, some_trials(sweep), sweep)
    mirror = Mirror(storage, sweep)
    sync(mirror, folder)
    whole = everything(mirror)
    if what == "parent":
        mirror._client.delete_run(mirror.parent_id())
    else:
        mirror._client.delete_experiment(mirror.experiment_id)
    sync(mirror, folder)  # the same mirror: a sweep is running
    assert everything(mirror) == whole, "the same children below whichever parent"
    assert len(mirror._client.search_runs([mirror.experiment_id])) == len(whole) + 1


def test_trials_of_another_base_are_taken_off_and_come_back(storage: Path, sweep: str) -> None:
    folder = write_sweep(storage, some_trials(sweep), sweep)
    mirror = Mirror(storage, sweep)
    sync(mirror, folder)
    trials = load_trials(folder)
    now = [t for t in trials if t.trial_id not in ("a", "b")]
    mirror.sync(now, {"question": "?"}, others=("a", "b"))
    assert children(mirror).keys() == {t.trial_id for t in now}
    mirror.sync(trials, {"question": "?"})
    assert children(mirror).keys() == {t.trial_id for t in trials}


def test_what_others_put_into_the_experiment_is_passed_over(storage: Path, sweep: str) -> None:
    folder = write_sweep(storage, some_trials(sweep), sweep)
    mirror = Mirror(storage, sweep)
    sync(mirror, folder)
    whole = everything(mirror)
    below = {"mlflow.parentRunId": mirror.parent_id()}
    foreign = {
        mirror._client.create_run(mirror.experiment_id, tags=tags).info.run_id
        for tags in ({}, below, {**below, "trial_id": "unknown"}, {"trial_id": "a"})
    }
    for each in (mirror, Mirror(storage, sweep)):
        sync(each, folder, finished=True)
    runs = mirror._client.search_runs([mirror.experiment_id])
    ours = {run.info.run_id for run in runs} - foreign
    assert ours == {mirror.parent_id(), *(run_id for run_id, *_ in whole.values())}
    assert not any(run.data.metrics for run in runs if run.info.run_id in foreign)


def test_a_database_that_was_given_keeps_its_files_in_the_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in `mlruns` of whatever folder the command was given in."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    storage, uri = tmp_path / "runs", f"sqlite:///{tmp_path}/other.db"
    folder = write_sweep(storage, [make_trial("a")])
    sync(Mirror(storage, "demo", uri), folder, files=[folder / "sweep.json"])
    assert list(Path.cwd().iterdir()) == []
    assert len(list((storage / "mlartifacts" / "demo").rglob("sweep.json"))) == 1


def test_a_database_that_cannot_grow_is_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As on a full disk, of which MLflow prints hundreds of lines."""
    write_sweep(tmp_path, [make_trial("a"), make_dense()])
    Mirror(tmp_path, "demo").parent_id()
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        database.execute("DROP TABLE runs")
    told: list[str] = []
    ledger, sweep = Ledger(tmp_path, "demo"), SweepSpec(name="demo", question="?")
    mirror = MirrorThread(ledger, sweep, None, told.append)
    capfd.readouterr()
    mirror.finish([])
    assert mirror.error == "no such table: runs"
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", ["per%20cent", "what?x", "a#b", "a b: é"])
def test_the_database_lies_in_the_storage_whatever_its_name(tmp_path: Path, name: str) -> None:
    storage = tmp_path / name
    mirror = Mirror(storage, "demo")
    sync(mirror, write_sweep(storage, [make_trial("a")]))
    assert (storage / "mlflow.db").stat().st_size > 0
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert set(children(mirror)) == {"a"}


def test_each_split_has_names_of_its_own_and_the_quoted_retention_is_the_reports(
    storage: Path, sweep: str
) -> None:
    folder = write_sweep(
        storage, [make_trial("a", 0.9, sweep=sweep), make_dense(sweep=sweep)], sweep
    )
    mirror = Mirror(storage, sweep)
    sync(mirror, folder)
    first = children(mirror)["a"]
    assert first.data.metrics["retention"] == first.data.metrics["search/retention"] == 0.9
    assert not [name for name in first.data.metrics if name.startswith("report/")]
    assert "latency_ms" not in first.data.metrics
    # The report's retention is lower: MLflow must show it although the other one is the maximum.
    write_sweep(storage, [make_trial("a", 0.9, report=0.85, latency_ms=20.0, sweep=sweep)], sweep)
    sync(mirror, folder)
    second = children(mirror)["a"]
    assert second.info.run_id == first.info.run_id
    shown = second.data.metrics
    assert (shown["retention"], shown["report/retention"], shown["search/retention"]) == (
        0.85, 0.85, 0.9,
    )  # fmt: skip
    # Points of a task, 1 above and below the average: 96 times the retention.
    assert shown["search/score/tiny_counting"] == pytest.approx(96 * 0.9 - 1)
    assert shown["report/score/tiny_counting"] == pytest.approx(96 * 0.85 - 1)
    assert not [name for name in shown if name.startswith(("score/", "difference/"))]
    assert shown["latency_ms"] == 20.0
    assert second.data.tags["split"] == "report"
    history = mirror._client.get_metric_history(second.info.run_id, "retention")
    assert [(m.step, m.value) for m in history] == [(0, 0.9), (0, 0.85)], "one step: a bar, no line"


def test_contract_of_a_child_run(storage: Path, sweep: str) -> None:
    folder = write_sweep(storage, some_trials(sweep), sweep)
    mirror = Mirror(storage, sweep)
    sync(mirror, folder)
    run = children(mirror)["b"]
    assert run.info.run_name == "widthwise 0.30 joint ce+l2 20% data [b]"
    assert run.info.status == "FINISHED"
    assert run.data.params == {
        "method": "widthwise", "ratio_target": "0.3", "scope": "joint", "loss_terms": "ce+l2",
        "alpha": "1", "beta": "0", "gamma": "0.5", "data_fraction": "0.2", "lr": "0.0002",
        "lora_rank": "16", "quantization": "none",
        "seed_calibration": "0", "seed_data": "0", "seed_train": "0",
    }  # fmt: skip
    assert set(run.data.metrics) == {
        "retention", "retention_se", "search/retention", "search/retention_se",
        "search/score/average", "search/score/tiny_attribute", "search/score/tiny_counting",
        "ratio", "lm_params", "weights_mib", "memory_mib", "tflops",
        "recovery_tflops",
        "gpu_seconds/prune", "gpu_seconds/recover", "alpha", "beta", "gamma", "data_fraction",
        "recovery/skipped_steps", "recovery/clipped_fraction", "recovery/spent_tflops",
    }  # fmt: skip
    tags = {k: v for k, v in run.data.tags.items() if not k.startswith(("mlflow.", "prunesweep."))}
    assert tags == {
        "sweep": sweep, "trial_id": "b", "status": "completed", "origin": "sampler",
        "method": "widthwise", "size_bucket": "0.30", "split": "search", "frontier": "true",
        "kept": "trained", "standing": "frontier, certain", "plan_digest": "ab",
    }  # fmt: skip


def test_a_trial_that_guesses_is_said_to(storage: Path, sweep: str) -> None:
    guess = make_trial("guess", 0.1, weights_mib=1.0, sweep=sweep)
    mirror = Mirror(storage, sweep)
    sync(mirror, write_sweep(storage, [*some_trials(sweep), guess], sweep))
    assert set(children(mirror, "tags.frontier = 'guessing'")) == {"guess"}
    parent = mirror._client.get_run(mirror.parent_id())
    assert "No better than guessing" in parent.data.tags["mlflow.note.content"]


def test_failed_and_early_stopped_trials_have_no_score(storage: Path, sweep: str) -> None:
    folder = write_sweep(storage, some_trials(sweep), sweep)
    mirror = Mirror(storage, sweep)
    sync(mirror, folder)
    runs = children(mirror)
    for trial_id, status in (("bad", "FAILED"), ("cut", "KILLED")):
        assert runs[trial_id].info.status == status
        assert runs[trial_id].data.tags["frontier"] == "false"
        assert not [m for m in runs[trial_id].data.metrics if "retention" in m or "score/" in m]
    assert runs["bad"].data.tags["error"] == "RuntimeError: loss is NaN"


def test_parent_holds_note_and_artifacts(storage: Path, sweep: str) -> None:
    folder = write_sweep(storage, some_trials(sweep), sweep)
    mirror = Mirror(storage, sweep)
    files = write_frontier(folder)
    sync(mirror, folder, files=files.paths, finished=True)
    parent = mirror._client.get_run(mirror.parent_id())
    assert parent.info.status == "FINISHED"
    note = parent.data.tags["mlflow.note.content"]
    assert "What does it cost?" in note
    assert "3 completed, 1 early-stopped, 1 failed. Beside them: the dense base." in note
    assert files.markdown.read_text().strip() in note
    assert note.count("weights_mib") >= 1
    # (8 - 6) * 0.5 + (16 - 8) * 0.8
    assert parent.data.metrics["hypervolume"] == pytest.approx(7.4)
    held = {item.path for item in mirror._client.list_artifacts(parent.info.run_id)}
    assert held == {path.name for path in files.paths}
    assert (storage / "mlartifacts").is_dir()
    assert mirror.tracking_uri == default_uri(storage)


def test_effects_and_signs_of_failure_are_there_too(storage: Path, sweep: str) -> None:
    sign = Signature(name="image_not_used", value=0.1, threshold=0.25, sentence="Blind.")
    trials = [make_dense(sweep=sweep), make_trial("a", 0.9, sweep=sweep, signatures=(sign,))]
    folder = write_sweep(storage, trials, sweep, "loss_coefficients")
    files = write_effects(folder)
    mirror = Mirror(storage, sweep)
    sync(mirror, folder, files=files.paths, more=files.text)
    parent = mirror._client.get_run(mirror.parent_id())
    assert parent.data.tags["mlflow.note.content"].endswith(files.text)
    held = {item.path for item in mirror._client.list_artifacts(parent.info.run_id)}
    assert held == {"effects.json", "effects.csv", "effects.md", "effects.png"}
    assert set(children(mirror, "tags.signatures = 'image_not_used'")) == {"a"}


def test_settings_are_params_and_other_settings_another_parent(storage: Path, sweep: str) -> None:
    folder = write_sweep(storage, some_trials(sweep)[:3], sweep)
    mirror = Mirror(storage, sweep)

    def sync_with(samples: int) -> Any:
        settings = {"question": "?", "samples": samples, "strata": {"ratio": [0.3, 0.6]}}
        mirror.sync(load_trials(folder), settings)
        return mirror._client.get_run(mirror.parent_id())

    first = sync_with(8)
    assert first.data.params == {
        "samples": "8", "strata.ratio": "[0.3, 0.6]", "space": "frontier", "sampler": "auto",
        "seed": "0", "trial.model.path": "tiny", "trial.model.dtype": "float32",
        "trial.data.conversations": "none", "trial.evaluation.tasks": "[]",
    }  # fmt: skip
    assert sync_with(8).info.run_id == first.info.run_id
    before = everything(mirror)
    write_sweep(storage, [make_dense(sweep=sweep)], sweep)
    second = sync_with(30)
    assert second.data.params == {**first.data.params, "samples": "30"}
    assert mirror._client.get_run(first.info.run_id).info.lifecycle_stage == "deleted"
    assert {name: everything(mirror)[name] for name in before} == before, "below the new parent"
    history = mirror._client.get_metric_history(second.info.run_id, "trials/completed")
    assert [(m.step, m.value) for m in history] == [(3, 3.0), (4, 3.0)]
    assert second.data.metrics["trials/references"] == 1


def test_the_experiment_is_described_unless_somebody_else_does(storage: Path, sweep: str) -> None:
    folder = write_sweep(storage, some_trials(sweep), sweep)
    mirror = Mirror(storage, sweep)
    sync(mirror, folder)
    note = mirror._client.get_run(mirror.parent_id()).data.tags[NOTE]

    def described() -> str:
        return str(mirror._client.get_experiment(mirror.experiment_id).tags[NOTE])

    assert "What does it cost?" in note
    assert described() == note + KEPT
    write_sweep(storage, [make_trial("more", sweep=sweep)], sweep)
    sync(mirror, folder)
    assert "4 completed" in described()
    mirror._client.set_experiment_tag(mirror.experiment_id, NOTE, "Ours.")
    sync(mirror, folder)
    assert described() == "Ours."


def test_files_are_those_of_the_frontier_of_failures_and_of_what_was_designed(
    storage: Path, sweep: str
) -> None:
    own: dict[str, Any] = {"sweep": sweep, "origin": "sampler"}
    trials = [
        make_trial("best", 0.9, weights_mib=6.0, **own),
        make_trial("worse", 0.5, weights_mib=9.0, **own),
        make_trial("bad", status="failed", **own),
        make_trial("planned", 0.4, weights_mib=9.0, sweep=sweep),
    ]
    folder = write_sweep(storage, trials, sweep)
    (folder / "trials" / "bad" / "log.txt").write_text("x" * 2**18 + "the end")
    mirror = Mirror(storage, sweep)

    def held() -> dict[str, set[str]]:
        runs = children(mirror)
        files = {name: mirror._client.list_artifacts(runs[name].info.run_id) for name in runs}
        return {name: {each.path for each in found} for name, found in files.items()}

    sync(mirror, folder)
    assert held() == {
        "best": {"record.json"}, "worse": set(), "bad": {"record.json", "log.txt"},
        "planned": {"record.json"},
    }  # fmt: skip
    log = mirror._client.download_artifacts(children(mirror)["bad"].info.run_id, "log.txt")
    assert Path(log).read_text().endswith("xthe end")
    assert len(Path(log).read_text()) < 2**18 + 200
    # A frontier point falls off and keeps its files; what comes onto it, even of old, gets them.
    write_sweep(storage, [make_trial("worse", 0.95, weights_mib=5.0, **own)], sweep)
    sync(mirror, folder)
    assert held()["worse"] == held()["best"] == {"record.json"}


def test_conversations_are_an_input_and_trained_weights_a_reference(
    storage: Path, sweep: str
) -> None:
    folder = old_quickstart(storage / "old") / "trials"
    trained, cut = "014-layerwise-45-joint-ce+kl", UNTRAINED
    tensors = folder / trained / "recovered.safetensors"
    tensors.write_bytes(b"trained")
    mirror = Mirror(storage, sweep)
    mirror.sync(load_trials(folder.parent), {"question": "?"})
    runs = children(mirror)
    (data,) = runs[trained].inputs.dataset_inputs
    digest = load_trials(folder.parent)[0].record.provenance.data_digest
    assert digest is not None
    assert (data.dataset.name, data.dataset.digest) == ("generated for tiny", digest[:36])
    assert {tag.key: tag.value for tag in data.tags} == {
        "mlflow.data.context": "training", "data_fraction": "0.2",
        "subset_digest": "fc21eb33d3ffb84f",
    }  # fmt: skip
    (other,) = runs[cut].inputs.dataset_inputs
    assert other.tags[0].value == "calibration"
    assert other.dataset.digest == data.dataset.digest
    assert runs["dense"].inputs.dataset_inputs == []
    tags = runs[trained].data.tags
    assert tags["weights_uri"] == tensors.as_uri()
    assert tags["weights_digest"] == "sha256:" + hashlib.sha256(b"trained").hexdigest()
    assert "weights_uri" not in runs[cut].data.tags, "nothing of it was trained"
    assert runs[cut].data.tags["base_weights_digest"] == tags["base_weights_digest"]
    card = mirror._client.download_artifacts(runs[trained].info.run_id, "model_card.md")
    text = Path(card).read_text()
    assert f"prunesweep export quickstart/{trained} --to DIR" in text
    assert "from_pretrained" not in text, "there are no weights beside it"


def test_an_experiment_that_is_no_sweeps_is_left_alone(storage: Path, sweep: str) -> None:
    folder = write_sweep(storage, some_trials(sweep), sweep)
    client = Mirror(storage, "other")._client
    theirs = client.create_experiment(sweep)
    client.create_run(theirs)
    told: list[str] = []
    mirror = MirrorThread(
        Ledger(storage, sweep), SweepSpec(name=sweep, question="?"), None, told.append
    )
    mirror.finish([])
    assert mirror.error == (
        f"its experiment '{sweep}' holds runs that are no sweep's; rename the experiment there, or "
        "the sweep"
    )
    assert len(client.search_runs([theirs])) == 1
    assert NOTE not in client.get_experiment(theirs).tags
    assert load_sweep(folder)["name"] == sweep


@pytest.mark.usefixtures("global_store")
def test_answers_are_a_table_with_pictures_that_is_replaced_not_appended_to(
    storage: Path, sweep: str
) -> None:
    import mlflow
    from PIL import Image

    trials = [make_dense(sweep=sweep, report=1.0), make_trial("a", 0.9, report=0.9, sweep=sweep)]
    folder = write_sweep(storage, trials, sweep)

    def show(mirror: Mirror, text: str, score: float) -> Any:
        write_gallery(folder, {"dense": [("1", 100.0), ("2", 100.0)], "a": [(text, score)] * 2})
        answers = find_answers(folder, load_trials(folder), {"a"})
        sync(mirror, folder, answers=answers)
        return mirror._client.load_table(mirror.experiment_id, TABLE, run_ids=[mirror.parent_id()])

    mirror = Mirror(storage, sweep)
    held = show(mirror, "three <b>", 0.0)
    assert list(held.columns) == [
        "picture", "task", "question", "truth", "dense", "layerwise 0.30 joint ce+l2 20% data [a]",
    ]  # fmt: skip
    assert list(held["truth"]) == ["truth 0", "truth 1"]
    assert list(held["dense"]) == ["✓ 1", "✓ 2"]
    assert list(held[held.columns[-1]]) == ["✗ three <b>"] * 2
    for place, entry in enumerate(held["picture"]):
        assert entry["type"] == "image"
        file = mlflow.artifacts.download_artifacts(
            run_id=mirror.parent_id(), artifact_path=entry["filepath"]
        )
        with Image.open(file) as picture:
            assert (picture.size, picture.getpixel((0, 0))) == ((4, 3), (10 * place, 0, 0))
    paths = list(held["picture"])
    again = Mirror(storage, sweep)  # a resumed sweep
    assert list(show(again, "three <b>", 0.0)["picture"]) == paths, "nothing was written again"
    changed = show(again, "five", 100.0)
    assert list(changed[changed.columns[-1]]) == ["✓ five"] * 2, "two rows, not four"
    again._client.delete_tag(again.parent_id(), SHOWN)  # a crash came before it
    assert len(show(again, "five", 100.0)) == 2


def test_a_given_uri_takes_the_same_path(storage: Path, sweep: str) -> None:
    folder = write_sweep(storage, some_trials(sweep), sweep)
    sync(Mirror(storage, sweep), folder)
    given = Mirror(storage / "elsewhere", sweep, default_uri(storage))
    before = everything(given)
    sync(given, folder)
    assert everything(given) == before
    assert not (storage / "elsewhere").exists()
