"""What is in the store's keys: each ingredient is changed in turn, and what must not matter, too.

A further ingredient is a line of `CHANGES`, a further kind of entry a line of `_asked`.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.conversations import write_conversations
from helpers.jobs import few_steps, make_spec
from PIL import Image
from safetensors.torch import load_file, save_file

from trainables.common import contents
from trainables.common.clock import Clock
from trainables.common.store import Store
from trainables.models.families.registry import TINY_FOLDER
from trainables.specs import (
    DataSpec,
    EvaluationSpec,
    ImportanceSpec,
    LossSpec,
    ModelSpec,
    PruningSpec,
    TeacherSpec,
    TrialSpec,
)
from trainables.trial import evaluate, keys, plan, recover, shared_recovery, teacher
from trainables.trial.inputs import Inputs, embedded_data, load_inputs
from trainables.trial.jobs import Caches

DATA = {"importance", "iterative-plan", "hidden-scale", "recovery", "checkpoint", "teacher"}
MODEL = DATA | {"dense", "student"}
SCORES = {"dense", "student"}
TRAINED = {"recovery", "checkpoint", "teacher"}
SHOWN = 6  # conversations, of which four calibrate: not number 2


class _Asked(BaseException):
    """Ends a computation where it asks the store; its argument is the key."""


class _Asking(Store):
    def get_or_create(self, kind: str, key: Any, build: Any) -> Any:
        raise _Asked(key)


def _caught(what: Callable[[], Any]) -> Any:
    with pytest.raises(_Asked) as asked:
        what()
    return asked.value.args[0]


def _keys(inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The key of every kind of entry that a trial asks for."""

    def stop(*given: Any, **_: Any) -> Any:
        raise _Asked(given)

    pruning = inputs.spec.pruning
    stepwise, whole = (
        replace(inputs, spec=inputs.spec.model_copy(update={"pruning": other}))
        for other in (pruning.model_copy(update={"steps": 2}), PruningSpec(ratio=0.0))
    )
    uncut = plan.make_plan(whole, None)
    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "keep_in", stop)
        folder = inputs.store.root
        _, student = _caught(lambda: evaluate.keep_scores(inputs, uncut, folder, "search", False))
        patch.setattr(teacher, "cached_teacher", stop)
        teach = functools.partial(teacher.trial_teacher, inputs, uncut, Caches(teacher=True))
        _, content, *_, blocks, source = _caught(lambda: teach(Clock()))
    states = (inputs.dense.shape.num_hidden_layers,)
    found = {
        "importance": _caught(lambda: plan.importance_scores(inputs)),
        "iterative-plan": _caught(lambda: plan._plan_in_steps(stepwise, None, None)),
        "hidden-scale": _caught(lambda: recover._hidden_scale(inputs, inputs.teacher, states)),
        "recovery": shared_recovery.recovery_key(inputs, uncut),
        "checkpoint": shared_recovery.begun_on(inputs, uncut),
        "teacher": [content, [source.key(i) for block in blocks for i in block]],
        "dense": _caught(lambda: evaluate.dense_scores(inputs, "search")),
        "student": student,
    }
    return {kind: json.dumps(key, sort_keys=True) for kind, key in found.items()}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Where the embedded questions lie; nothing is ever built in it."""
    return _Asking(tmp_path_factory.mktemp("store"))


@pytest.fixture
def asked(store: Store, monkeypatch: pytest.MonkeyPatch) -> Callable[[TrialSpec], dict[str, str]]:
    """A function that gives the keys of the trial of a spec, with its files as they are now."""
    return lambda spec: _keys(load_inputs(spec, store), monkeypatch)


@pytest.fixture
def spec(tmp_path: Path) -> TrialSpec:
    """A trial on files of its own, `model` and `data`, that asks the store for everything."""
    shutil.copytree(TINY_FOLDER, tmp_path / "model")
    (tmp_path / "data").mkdir()
    path = write_conversations(tmp_path / "data", SHOWN)
    loss = LossSpec(alpha=1.0, beta=0.5, gamma=0.5)
    return make_spec(
        path, few_steps(scope="joint", loss=loss), model=ModelSpec(path=str(tmp_path / "model"))
    )


def _edit(name: str, change: Callable[[Any], None]) -> Callable[[Path], None]:
    """Change a JSON file."""

    def edit(root: Path) -> None:
        said = json.loads((root / name).read_text())
        change(said)
        (root / name).write_text(json.dumps(said))

    return edit


def _other_weights(root: Path) -> None:
    path = root / "model" / "model.safetensors"
    tensors = load_file(path)
    name = next(name for name in tensors if name.endswith("q_proj.weight"))
    tensors[name] = tensors[name] * 2
    save_file(tensors, path, metadata={"format": "pt"})


def _swap_words(said: Any) -> None:
    vocab = said["model"]["vocab"]
    vocab["red"], vocab["circle"] = vocab["circle"], vocab["red"]


def _system_prompt(root: Path) -> None:
    path = root / "model" / "chat_template.jinja"
    path.write_text("is the circle red ? " + path.read_text())


def _picture(number: int, root: Path) -> None:
    """Another picture under the same name, of the same size in bytes and with the same time."""
    path = root / "data" / f"{number}.png"
    before, content = path.stat(), path.read_bytes()
    for value in range(1, 255):  # the first other colour that packs into as many bytes
        Image.new("RGB", (36, 36), (value, 90, 200)).save(path)
        if path.stat().st_size == len(content) and path.read_bytes() != content:
            break
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def _answer(said: Any) -> None:
    said[1]["conversations"][1]["value"] = "blue"


CHANGES: dict[str, tuple[Callable[[Path], None], set[str]]] = {
    "weights": (_other_weights, MODEL),
    "a config value": (
        _edit("model/config.json", lambda c: c["text_config"].update(rms_norm_eps=1e-5)),
        MODEL,
    ),
    "code": (lambda root: (root / "model" / "modeling.py").write_text("own = 1\n"), MODEL),
    "processor": (
        _edit("model/processor_config.json", lambda p: p["image_processor"].update(resample=2)),
        MODEL,
    ),
    "tokenizer": (_edit("model/tokenizer.json", _swap_words), MODEL),
    "chat template": (_system_prompt, MODEL),
    "where an answer ends": (
        _edit("model/generation_config.json", lambda g: g.update(eos_token_id=[2, 3])),
        SCORES,
    ),
    "a picture under the same name": (functools.partial(_picture, 1), DATA),
    "one that calibrates nothing": (functools.partial(_picture, 2), TRAINED),
    "an answer": (_edit("data/data.json", _answer), DATA),
    "the order of the rows": (_edit("data/data.json", list.reverse), DATA),
    "one row more": (_edit("data/data.json", lambda rows: rows.append(rows[0])), DATA),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_ingredient_is_missed(
    change: str, spec: TrialSpec, asked: Any, tmp_path: Path
) -> None:
    before = asked(spec)
    assert before == asked(spec)
    make, missed = CHANGES[change]
    make(tmp_path)
    after = asked(spec)
    assert {kind for kind in before if before[kind] != after[kind]} == missed


def _other_pictures(spec: TrialSpec, root: Path) -> TrialSpec:
    folder = root / "pictures"
    shutil.copytree(root / "data", folder)
    Image.new("RGB", (36, 36), (1, 2, 3)).save(folder / "4.png")
    return _with_data(spec, image_folder=str(folder))


def _with_data(spec: TrialSpec, **settings: Any) -> TrialSpec:
    return spec.model_copy(update={"data": spec.data.model_copy(update=settings)})


def _with_samples(spec: TrialSpec, samples: int) -> TrialSpec:
    pruning = PruningSpec(ratio=0.3, importance=ImportanceSpec(samples=samples))
    return spec.model_copy(update={"pruning": pruning})


def _with_fraction(spec: TrialSpec, fraction: float) -> TrialSpec:
    recovery = spec.recovery.model_copy(update={"data_fraction": fraction})
    return spec.model_copy(update={"recovery": recovery})


def _other_teacher(spec: TrialSpec, root: Path) -> TrialSpec:
    """The same weights under another config."""
    shutil.copytree(root / "model", root / "teacher")
    _edit("teacher/config.json", lambda c: c["text_config"].update(rms_norm_eps=1e-5))(root)
    teacher = TeacherSpec(model=ModelSpec(path=str(root / "teacher")))
    recovery = spec.recovery.model_copy(update={"teacher": teacher})
    return spec.model_copy(update={"recovery": recovery})


CALIBRATED = {"importance", "iterative-plan", "hidden-scale", "recovery"}
SETTINGS: dict[str, tuple[Callable[[TrialSpec, Path], TrialSpec], set[str]]] = {
    "another picture folder": (_other_pictures, DATA),
    "other calibration samples": (lambda spec, _: _with_samples(spec, 3), CALIBRATED),
    "another subset": (lambda spec, _: _with_fraction(spec, 0.5), TRAINED - {"teacher"}),
    "more answers at a time": (
        lambda spec, _: spec.model_copy(update={"evaluation": EvaluationSpec(batch_size=8)}),
        SCORES,
    ),
    "another teacher": (_other_teacher, {"hidden-scale", "recovery", "checkpoint", "teacher"}),
    "another limit of tokens": (
        lambda spec, _: _with_data(spec, max_tokens=64), DATA - {"teacher"},  # its ids are the same
    ),
}  # fmt: skip


@pytest.mark.parametrize("setting", SETTINGS)
def test_another_setting_is_missed(
    setting: str, spec: TrialSpec, asked: Any, tmp_path: Path
) -> None:
    before = asked(spec)
    make, missed = SETTINGS[setting]
    after = asked(make(spec, tmp_path))
    assert {kind for kind in before if before[kind] != after[kind]} == missed


@pytest.mark.parametrize(
    ("package", "missed"),
    [
        *((name, MODEL - {"checkpoint"}) for name in ("torch", "transformers", "pillow")),
        ("peft", {"recovery"}),
    ],
)
def test_another_version_of_a_library_is_missed(
    package: str,
    missed: set[str],
    spec: TrialSpec,
    asked: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = asked(spec)

    def versions(*names: str) -> dict[str, str]:
        return {name: "99" for name in names if name == package}

    for module in (keys, shared_recovery):
        found = module.versions
        monkeypatch.setattr(
            module, "versions", lambda *names, found=found: found(*names) | versions(*names)
        )
    after = asked(spec)
    assert {kind for kind in before if before[kind] != after[kind]} == missed


def test_other_code_of_ours_is_missed(
    spec: TrialSpec, asked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = asked(spec)
    monkeypatch.setattr(keys, "code_digest", lambda: "another")
    after = asked(spec)
    assert {kind for kind in before if before[kind] != after[kind]} == MODEL - {"checkpoint"}


def test_the_digest_of_code_follows_the_code_alone(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.py").write_text("x = 1\n")
    first = contents.code_digest(tmp_path)
    (tmp_path / "README.md").write_text("# a package\n")
    contents.code_digest.cache_clear()
    assert contents.code_digest(tmp_path) == first
    (tmp_path / "a" / "b.py").write_text("x = 2\n")
    contents.code_digest.cache_clear()
    assert contents.code_digest(tmp_path) != first


def _moved(spec: TrialSpec, root: Path) -> TrialSpec:
    for name in ("model", "data"):
        (root / "elsewhere").mkdir(exist_ok=True)
        (root / name).rename(root / "elsewhere" / name)
    folder = root / "elsewhere"
    data = DataSpec(conversations=str(folder / "data" / "data.json"))
    return spec.model_copy(update={"data": data, "model": ModelSpec(path=str(folder / "model"))})


def _rewritten(spec: TrialSpec, root: Path) -> TrialSpec:
    """Keys in reverse, other white space, other times; an idle value more."""
    for path in [*root.glob("model/*.json"), root / "data" / "data.json"]:
        said = json.loads(path.read_text(), object_pairs_hook=lambda p: dict(reversed(p)))
        path.write_text(json.dumps(said, indent=3))
    _edit("model/config.json", lambda c: c.update(_name_or_path="/somewhere"))(root)
    for path in root.glob("*/*"):
        os.utime(path, ns=(1, 1))
    return spec


def _unrelated(spec: TrialSpec, root: Path) -> TrialSpec:
    (root / "model" / "README.md").write_text("# a model")
    (root / "model" / "LICENSE").write_text("to all")
    Image.new("RGB", (9, 9)).save(root / "data" / "unused.png")
    _edit("data/data.json", lambda rows: rows[0].update(id="other", note="x"))(root)
    return spec


@pytest.mark.parametrize("change", [_moved, _rewritten, _unrelated])
def test_what_does_not_matter_is_found(
    change: Any, spec: TrialSpec, asked: Any, tmp_path: Path
) -> None:
    before = asked(spec)
    assert asked(change(spec, tmp_path)) == before


def test_another_storage_asks_the_same_questions(
    spec: TrialSpec, store: Store, asked: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, elsewhere = asked(spec), _Asking(tmp_path / "storage" / "store")
    shutil.copytree(store.root, elsewhere.root)
    inputs = load_inputs(spec, elsewhere)
    assert _keys(inputs, monkeypatch)["dense"] == before["dense"]
    for questions in embedded_data("tiny", elsewhere.root).tasks.values():
        shutil.copyfile(questions["report"], questions["search"])
    assert _keys(inputs, monkeypatch)["dense"] != before["dense"]


def test_unreadable_pictures_do_not_stop_a_key(spec: TrialSpec, tmp_path: Path) -> None:
    inputs = load_inputs(spec, Store(tmp_path / "store"))
    all_of_them = np.arange(SHOWN)
    before = keys.sees(inputs, all_of_them)
    (tmp_path / "data" / "2.png").unlink()
    assert keys.sees(inputs, all_of_them) != before
