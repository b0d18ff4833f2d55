"""The recovery of a trial: a second try with half the micro-batch, and teachers that do not fit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numpy as np
import pytest
import torch
from helpers.conversations import write_conversations
from helpers.jobs import few_steps, make_spec, start_job
from helpers.recoveries import assert_close
from safetensors.torch import load_file

from trainables.common.clock import Clock
from trainables.common.process_group import destroy_process_group, fresh_single_process_group
from trainables.common.store import Store
from trainables.models.families.registry import TINY_FOLDER
from trainables.models.teachers import refuse_foreign_teacher
from trainables.records import TRAINED
from trainables.recovery.loss.objective import RecoveryObjective
from trainables.specs import (
    LossSpec,
    ModelSpec,
    TeacherSpec,
)
from trainables.trial.inputs import Inputs, _encoder, load_inputs
from trainables.trial.jobs import Caches
from trainables.trial.plan import importance_scores, make_plan
from trainables.trial.recover import recover_student


@pytest.fixture
def trial(tmp_path: Path) -> Iterator[Any]:
    """Prunes the embedded model by a third and recovers it; returns (report, folder)."""
    images = tmp_path / "images"
    images.mkdir()
    conversations = write_conversations(images, 16)

    def go(name: str, caches: Caches | None = None, **recovery: Any) -> Any:
        fresh_single_process_group()
        spec = make_spec(conversations, few_steps(**{"scope": "projector", **recovery}))
        job = start_job(tmp_path / name, spec, caches=caches or Caches())
        inputs: Inputs = load_inputs(spec, Store(job.store))
        plan = make_plan(inputs, importance_scores(inputs))
        return recover_student(job, inputs, plan, Clock(), None), job.folder

    yield go
    destroy_process_group()


def _memory_for(samples: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let a forward pass of more samples ask for more memory than any machine has."""
    whole, sizes = RecoveryObjective.forward, []
    alive = WeakSet[RecoveryObjective]()

    def forward(self: Any, batch: Any, *rest: Any) -> Any:
        alive.add(self)
        assert len(alive) == 1, "the first try still holds its memory"
        sizes.append(len(batch["input_ids"]))
        if sizes[-1] > samples:
            torch.empty(2**60)
        return whole(self, batch, *rest)

    monkeypatch.setattr(RecoveryObjective, "forward", forward)
    return sizes


def test_out_of_memory_halves_the_micro_batch_once(
    trial: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, whole = trial("plain")
    sizes = _memory_for(4, monkeypatch)
    report, folder = trial("halved")
    assert sizes[0] == 8
    assert set(sizes[1:]) == {4}
    assert report.micro_batch_halved
    assert not plain.micro_batch_halved
    assert report.steps == plain.steps
    assert "half the micro-batch" in capsys.readouterr().out
    for name, value in load_file(folder / TRAINED).items():
        torch.testing.assert_close(value, load_file(whole / TRAINED)[name], rtol=1e-3, atol=1e-4)


def test_out_of_memory_twice_fails(trial: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _memory_for(2, monkeypatch)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        trial("failed")


def test_another_error_is_not_tried_again(trial: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def forward(self: Any, *rest: Any) -> Any:
        calls.append(1)
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(RecoveryObjective, "forward", forward)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        trial("broken")
    assert len(calls) == 1


def test_another_model_may_teach(trial: Any, tmp_path: Path) -> None:
    """A copy of the dense model as teacher of its own gives what the dense model gives."""
    other = tmp_path / "teacher"
    shutil.copytree(TINY_FOLDER, other)
    loss = LossSpec(alpha=0.5, beta=0.3, gamma=0.2, hidden_layers=2, layer_map="kept")
    _, a = trial("own", loss=loss)
    _, b = trial("other", loss=loss, teacher=TeacherSpec(model=ModelSpec(path=str(other))))
    assert_close(a, b)


MIXTURES = {
    "logits": LossSpec(alpha=0.5, beta=0.5),
    "hidden": LossSpec(alpha=0.5, gamma=0.5, hidden_layers=3, layer_map="kept"),
    "both": LossSpec(alpha=0.4, beta=0.3, gamma=0.3, logits="js", logits_tokens="text"),
}


@pytest.mark.parametrize("name", MIXTURES)
def test_cached_answers_train_the_same_student(trial: Any, name: str) -> None:
    settings = {"loss": MIXTURES[name], "scope": "joint", "max_tokens_per_step": 200}
    online, a = trial("online", **settings)
    cached, b = trial("cached", teacher=TeacherSpec(mode="cached"), **settings)
    assert (online.teacher, cached.teacher) == ("online", "cached")
    for term, value in online.last_terms.items():
        assert cached.last_terms[term] == pytest.approx(value, rel=1e-4), term
    first, second = load_file(a / TRAINED), load_file(b / TRAINED)
    for key, value in first.items():
        assert float((value - second[key]).norm()) <= 2e-3 * float(value.norm()), key


def test_the_top_k_of_everything_is_close(trial: Any) -> None:
    loss = LossSpec(alpha=0.5, beta=0.5)
    whole, _ = trial("whole", loss=loss)
    top, _ = trial("top", loss=loss, teacher=TeacherSpec(mode="cached", form="top_k", top_k=32))
    assert top.teacher == "cached top_k"
    assert top.last_terms["reverse_kl"] == pytest.approx(whole.last_terms["reverse_kl"], rel=0.05)


def test_an_int8_teacher_is_close(trial: Any) -> None:
    loss = LossSpec(alpha=0.5, gamma=0.5)
    whole, _ = trial("whole", loss=loss)
    small, _ = trial("small", loss=loss, teacher=TeacherSpec(quantize="int8"))
    assert small.last_terms["l2"] != whole.last_terms["l2"]
    assert small.last_terms["l2"] == pytest.approx(whole.last_terms["l2"], rel=0.05)


def test_a_cache_without_room_is_refused(trial: Any) -> None:
    with pytest.raises(ValueError, match=r"teacher's cache would take .* raise teacher.max_cache"):
        trial(
            "full", loss=LossSpec(gamma=1), teacher=TeacherSpec(mode="cached", max_cache_gib=1e-9)
        )


def test_auto_obeys_the_driver_and_does_without_where_there_is_no_room(
    trial: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    caches, loss = Caches(teacher=True), LossSpec(gamma=1)
    cached, _ = trial("cached", caches=caches, loss=loss)
    assert cached.teacher == "cached"
    full = TeacherSpec(max_cache_gib=1e-9)
    without, _ = trial("without", caches=caches, loss=loss, teacher=full, lora_rank=2)
    assert without.teacher == "cached", "what is kept already takes no more room"
    other = LossSpec(gamma=1, hidden_layers=2)
    without, _ = trial("other", caches=caches, loss=other, teacher=full)
    assert without.teacher == "online"
    assert "no cache: the teacher's cache would take" in capsys.readouterr().out


def test_an_image_beyond_the_trials_own_data_may_be_broken(trial: Any, tmp_path: Path) -> None:
    """Blocks are filled up with samples that the trial does not train on."""
    settings = {"data_fraction": 0.25, "teacher": TeacherSpec(mode="cached")}
    _, whole = trial("whole", loss=LossSpec(gamma=1), **settings)
    shutil.rmtree(tmp_path / "store" / "teacher")
    order = np.random.default_rng(0).permutation(16)
    (tmp_path / "images" / f"{order[10]}.png").write_bytes(b"no image")
    _encoder.cache_clear()
    _, folder = trial("broken", loss=LossSpec(gamma=1), **settings)
    first, second = load_file(whole / TRAINED), load_file(folder / TRAINED)
    for name, value in first.items():
        assert float((value - second[name]).norm()) <= 2e-3 * float(value.norm()), name


def _changed(tmp_path: Path, file: str, path: tuple[str, ...], value: Any) -> Path:
    """A copy of the embedded model's folder with one JSON value changed."""
    folder = tmp_path / "changed"
    shutil.copytree(TINY_FOLDER, folder)
    content = json.loads((folder / file).read_text())
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    (folder / file).write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("file", "path", "value", "said"),
    [
        ("config.json", ("text_config", "vocab_size"), 999, "vocabulary sizes differ.*999"),
        ("config.json", ("vision_config", "image_size"), 48, "tokens of an image differ"),
        ("config.json", ("image_token_index",), 5, "image token ids differ"),
        ("processor_config.json", ("image_processor", "image_mean"), [0, 0, 0], "processor_config"),
        ("tokenizer.json", ("version",), "2.0", "tokenizer.json of student and teacher differ"),
    ],
)
def test_a_teacher_that_reads_other_tokens_is_refused(
    tmp_path: Path, file: str, path: tuple[str, ...], value: Any, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        refuse_foreign_teacher(TINY_FOLDER, _changed(tmp_path, file, path, value))
    refuse_foreign_teacher(TINY_FOLDER, TINY_FOLDER)
