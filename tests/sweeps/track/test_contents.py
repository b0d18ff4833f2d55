"""What the runs of a sweep hold in a real SQLite store, and what is never logged."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from helpers.ledgers import UNTRAINED, old_quickstart
from helpers.mirrors import children, everything, some_trials, sync
from helpers.trials import make_dense, make_trial, write_gallery, write_sweep

from analysis.answers.side_by_side import find_answers
from analysis.load import load_trials
from analysis.output.effect_files import write_effects
from analysis.output.frontier_files import write_frontier
from sweeps.engine.track.answer_table import SHOWN, TABLE
from sweeps.engine.track.experiment_page import KEPT, NOTE
from sweeps.engine.track.store import default_uri
from sweeps.engine.track.tracking import Mirror
from trainables.records import Signature


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
