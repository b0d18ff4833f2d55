"""What a recovery asks is refused on the driver, before anything is started."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from sweeps.engine.plan.preflight import check_sweep
from sweeps.engine.spec.loading import BadInputError, load_sweep
from trainables.evaluation.catalog import embedded_tasks
from trainables.models.families.registry import TINY_FOLDER

SWEEP = """
from sweeps.engine.spec import SweepSpec

sweep = SweepSpec(name="s", question="?", designed=({"method": "layerwise", "ratio": 0.45,
    "scope": "joint", "terms": "ce+l2"},), priors=False, strata={"ratio": (0.45,)})
"""


def _check(tmp_path: Path, *overrides: str) -> None:
    path = tmp_path / "sweep.py"
    path.write_text(SWEEP)
    check_sweep(load_sweep(str(path), list(overrides)))


def _teacher(tmp_path: Path, **text: int) -> Path:
    """A copy of the embedded model whose config says something else."""
    folder = tmp_path / "teacher"
    shutil.copytree(TINY_FOLDER, folder)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"] |= text
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("trial.recovery.lora_targets=[query]", "names query, but the linears of llava-llama are"),
        ("trial.recovery.loss.hidden_layers=9", "hidden_layers=9, but the student has only"),
        ("trial.recovery.teacher.model.path=nowhere", "'nowhere' is neither a known model"),
    ],
)
def test_bad_recoveries(tmp_path: Path, override: str, said: str) -> None:
    _check(tmp_path)
    with pytest.raises(BadInputError, match=said):
        _check(tmp_path, override)


def test_another_embedded_model_is_asked_its_own_questions(tmp_path: Path) -> None:
    path = tmp_path / "sweep.py"
    path.write_text(SWEEP)

    def asked(*overrides: str) -> tuple[str, ...]:
        return load_sweep(str(path), overrides).trial.evaluation.tasks

    assert asked("trial.model.path=smol") == embedded_tasks("smol")
    assert asked("trial.model.path=smol", "trial.evaluation.tasks=[gqa]") == ("gqa",)
    assert asked("trial.model.path=smol", "trial.evaluation.task_folders=[own]") == ()
    assert asked() == asked(f"trial.model.path={TINY_FOLDER}") == (), "tiny's, as in old keys"


def test_a_folder_of_tasks_needs_no_list_of_them(tmp_path: Path) -> None:
    (tmp_path / "utils.py").write_text("def look(doc):\n    return []\n")
    (tmp_path / "mine.yaml").write_text(
        "task: mine\ndataset_path: json\ntest_split: test\noutput_type: generate_until\n"
        "doc_to_visual: !function utils.look\ndoc_to_text: q\ndoc_to_target: a\n"
        "metric_list:\n- {metric: exact_match, aggregation: mean, higher_is_better: true}\n"
    )
    _check(tmp_path, f"trial.evaluation.task_folders=[{tmp_path / 'mine.yaml'}]")


def test_teachers_that_do_not_fit(tmp_path: Path) -> None:
    other = _teacher(tmp_path, vocab_size=999)
    with pytest.raises(BadInputError, match=r"vocabulary sizes differ.*999 of the teacher"):
        _check(tmp_path, f"trial.recovery.teacher.model.path={other}")
    shutil.rmtree(other)
    wider = _teacher(tmp_path, hidden_size=320)
    with pytest.raises(BadInputError, match=r"teacher's 320.*loss.width_map=true or gamma=0"):
        _check(tmp_path, f"trial.recovery.teacher.model.path={wider}")
    _check(
        tmp_path,
        f"trial.recovery.teacher.model.path={wider}",
        "trial.recovery.loss.width_map=true",
    )


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["alpha=0"], "alpha, beta and gamma are all 0"),
        (["js_weight=1"], "js_weight=1"),
        (["label_smoothing=1"], "label_smoothing=1"),
    ],
)
def test_bad_mixtures(tmp_path: Path, overrides: list[str], said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        _check(tmp_path, *[f"trial.recovery.loss.{override}" for override in overrides])


def test_top_k_serves_logits_alone(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"form='top_k'.*hidden term"):
        _check(tmp_path, "trial.recovery.teacher.form=top_k", "trial.recovery.loss.gamma=1")


def test_a_quantization_without_its_library_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    _check(tmp_path, "trial.quantization=nf4")
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "bitsandbytes" else find(name, *rest),
    )
    with pytest.raises(BadInputError, match="'nf4' needs bitsandbytes, which is not installed"):
        _check(tmp_path, "trial.quantization=nf4")
    _check(tmp_path)
