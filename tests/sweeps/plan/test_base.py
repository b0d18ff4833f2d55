"""A sweep is not extended from other data, another model or other settings without a word."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.agendas import drain, open_agenda
from helpers.command_line import invoke, refused
from helpers.conversations import repaint, write_conversations
from helpers.ledgers import old_quickstart
from helpers.question_files import draw, rows, write
from safetensors.torch import load_file, save_file

from analysis.load import load_sweep_trials
from sweeps.engine.plan.base import base_of, changed_base, take_base
from sweeps.engine.plan.preflight import check_data
from sweeps.engine.search.rerun import request_again
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.ledger import REFERENCE_ID, Ledger
from sweeps.engine.spec.loading import BadInputError, load_sweep
from trainables.models.families.registry import TINY_FOLDER

SWEEP = """
from sweeps.engine.spec import SweepSpec
from trainables.specs import *

sweep = SweepSpec(
    name="s", question="?", priors=False, strata={{"method": ("layerwise",), "ratio": (0.3,)}},
    designed=({{"method": "layerwise", "ratio": 0.3, "scope": "none"}},),
    trial=TrialSpec(
        model=ModelSpec(path="{model}"),
        data=DataSpec(conversations="{data}"),
        recovery=RecoverySpec(budget=Budget(steps=2), batch_size=8, micro_batch_size=8),
    ),
)
"""


@pytest.fixture
def sweep(tmp_path: Path) -> Callable[..., SweepSpec]:
    """A function that gives the sweep of `sweep.py` with overrides; model and data are its own."""
    shutil.copytree(TINY_FOLDER, tmp_path / "model")
    (tmp_path / "data").mkdir()
    data = write_conversations(tmp_path / "data", 6)
    text = SWEEP.format(model=tmp_path / "model", data=data)
    (tmp_path / "sweep.py").write_text(text)
    return lambda *overrides: load_sweep(str(tmp_path / "sweep.py"), overrides)


def _take(sweep: SweepSpec, storage: Path, new_base: bool = False) -> Ledger:
    """The ledger as a run of this sweep takes it up."""
    ledger = Ledger(storage, sweep.name)
    take_base(sweep, base_of(sweep, check_data(sweep)), ledger, new_base)
    return ledger


def _run(sweep: SweepSpec, storage: Path, new_base: bool = False) -> Ledger:
    """Everything that a run does, answered by an analytic function."""
    ledger = _take(sweep, storage, new_base)
    ledger.open(sweep)
    agenda, ledger = open_agenda(sweep, storage)
    drain(agenda)
    return ledger


def _changed(sweep: SweepSpec, storage: Path) -> str:
    return changed_base(sweep, base_of(sweep, check_data(sweep)), Ledger(storage, sweep.name))


CHANGED = (
    ("trial.pruning.size.weights_mib=3.6", "trial.pruning.size.weights_mib: none -> 3.6"),
    ("trial.recovery.budget.steps=3", "trial.recovery.budget.steps: 2 -> 3"),
    ("trial.recovery.loss.temperature=3", "trial.recovery.loss.temperature: "),
    ("trial.data.max_tokens=64", "trial.data.max_tokens: 2048 -> 64"),
    ("trial.evaluation.search_limit=5", "trial.evaluation.search_limit: none -> 5"),
    ("trial.evaluation.report_limit=5", "trial.evaluation.report_limit: none -> 5"),
    ("trial.evaluation.search_share=0.3", "trial.evaluation.search_share: 0.5 -> 0.3"),
    ("trial.efficiency.prompt_tokens=9", "trial.efficiency.prompt_tokens: 50 -> 9"),
    ("trial.seeds.train=1", "trial.seeds.train: 0 -> 1"),
    ("trial.model.path=tiny", "trial.model.path: "),
)
FREE = (
    "question=another", "samples=9", "seed=3", "replicates=2", "sampler=random",
    "budget.trials=100", "limits.weights_mib=9", "report_candidates=3", "resources.slots=1",
    "rungs.min_trials=4", "confirm.top=2", "trial.workers=2", "trial.data.workers=1",
    "trial.data.skip_broken=true", "trial.recovery.teacher.mode=online",
    "trial.recovery.checkpoint_every_steps=5", "trial.evaluation.blank_image_limit=5",
)  # fmt: skip


@pytest.mark.parametrize(("override", "said"), CHANGED)
def test_what_a_trial_is_may_not_change(
    override: str, said: str, sweep: Any, tmp_path: Path
) -> None:
    _run(sweep(), tmp_path / "runs")
    assert said in _changed(sweep(override), tmp_path / "runs")
    with pytest.raises(BadInputError, match="--set name=NAME, or go on with --new-base"):
        _take(sweep(override), tmp_path / "runs")
    _take(sweep(override, "name=another"), tmp_path / "runs")


@pytest.mark.parametrize("override", FREE)
def test_which_trials_run_and_how_the_work_is_done_may(
    override: str, sweep: Any, tmp_path: Path
) -> None:
    _run(sweep(), tmp_path / "runs")
    assert _changed(sweep(override), tmp_path / "runs") == ""


def _answer(root: Path) -> None:
    path = root / "data" / "data.json"
    rows = json.loads(path.read_text())
    rows[1]["conversations"][1]["value"] = "blue"
    path.write_text(json.dumps(rows))


def _config(root: Path) -> None:
    path = root / "model" / "config.json"
    config = json.loads(path.read_text())
    config["text_config"]["rms_norm_eps"] = 1e-5
    path.write_text(json.dumps(config))


def _template(root: Path) -> None:
    path = root / "model" / "chat_template.jinja"
    path.write_text("is the circle red ? " + path.read_text())


def _weights(root: Path) -> None:
    path = root / "model" / "model.safetensors"
    tensors = load_file(path)
    last = sorted(tensors)[-1]
    save_file({**tensors, last: tensors[last] + 1}, path, metadata={"format": "pt"})


FILES: dict[str, Callable[[Path], None]] = {
    "content of trial.data.conversations": _answer,
    "content of its pictures": lambda root: repaint(root / "data"),
    "content of trial.model (config)": _config,
    "content of trial.model (template)": _template,
    "content of trial.model (weights)": _weights,
}


@pytest.mark.parametrize("what", FILES)
def test_files_may_not_change_under_the_same_name(what: str, sweep: Any, tmp_path: Path) -> None:
    _run(sweep(), tmp_path / "runs")
    FILES[what](tmp_path)
    said = _changed(sweep(), tmp_path / "runs")
    assert f"else: {what}: " in said
    assert ";" not in said, "nothing else is said to have changed"


def test_neither_may_questions_of_ones_own(sweep: Any, tmp_path: Path) -> None:
    (tmp_path / "asked").mkdir()
    path = write(draw(tmp_path / "asked"), rows())
    own = sweep(f"trial.evaluation.tasks=[{path}]")
    _run(own, tmp_path / "runs")
    write(tmp_path / "asked", [*rows()[:-1], {**rows()[-1], "answer": "green"}])
    said = _changed(own, tmp_path / "runs")
    assert "else: content of the questions of mine: " in said
    assert ";" not in said
    write(tmp_path / "asked", rows())
    assert _changed(own, tmp_path / "runs") == ""


def test_times_and_other_files_do_not_matter(sweep: Any, tmp_path: Path) -> None:
    _run(sweep(), tmp_path / "runs")
    (tmp_path / "model" / "README.md").write_text("# a model")
    (tmp_path / "data" / "more.png").write_bytes(b"x")
    for path in tmp_path.glob("*/*"):
        os.utime(path, ns=(1, 1))
    assert _changed(sweep(), tmp_path / "runs") == ""


def test_what_only_workers_see_is_not_compared(sweep: Any, tmp_path: Path) -> None:
    found = base_of(sweep(), check_data(sweep())).contents
    picture = tmp_path / "data" / "0.png"
    data = check_data(sweep())
    picture.unlink()
    assert found.keys() - base_of(sweep(), data).contents.keys() == {"its pictures"}


def test_with_a_new_base_everything_runs_anew_and_ranks_alone(sweep: Any, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    first = set(_run(sweep(), runs).records())
    assert first == {REFERENCE_ID, "001-layerwise-30-none"}
    _answer(tmp_path)
    ledger = _run(sweep(), runs, new_base=True)
    second = set(ledger.records())
    assert second == {"002-dense", "003-layerwise-30-none"}, "the same points, other data"
    assert set(ledger.records(every_base=True)) == first | second
    loaded = load_sweep_trials(runs / "s")
    assert {t.trial_id for t in loaded.trials} == second
    assert set(loaded.others) == first
    assert loaded.note.startswith(
        "2 trials of another base are left out of every ranking (content of "
        "trial.data.conversations: "
    )
    with pytest.raises(BadInputError, match="started from another data, model or settings"):
        request_again(ledger, REFERENCE_ID)
    write_conversations(tmp_path / "data", 6)
    assert set(_run(sweep(), runs, new_base=True).records()) == first, "all of it was done"
    assert set(load_sweep_trials(runs / "s").others) == second


def test_an_interrupted_trial_of_another_base_is_left_alone(sweep: Any, tmp_path: Path) -> None:
    ledger = _take(sweep(), tmp_path / "runs")
    ledger.open(sweep())
    agenda, _ = open_agenda(sweep(), tmp_path / "runs")
    agenda.next()
    _run(sweep("trial.data.max_tokens=64"), tmp_path / "runs", new_base=True)
    assert Ledger(tmp_path / "runs", "s").record(REFERENCE_ID) is None


def test_a_trial_that_read_other_data_meanwhile_is_left_out(sweep: Any, tmp_path: Path) -> None:
    ledger = _run(sweep(), tmp_path / "runs")
    path = ledger.trials / "001-layerwise-30-none" / "record.json"
    record = json.loads(path.read_text())
    record["provenance"]["data_digest"] = "f" * 16
    path.write_text(json.dumps(record))
    loaded = load_sweep_trials(ledger.folder)
    assert [t.trial_id for t in loaded.trials] == [REFERENCE_ID]
    assert "1 trial of another base is left out" in loaded.note


def test_a_ledger_that_knew_no_bases_has_that_of_its_sweep(tmp_path: Path) -> None:
    folder = old_quickstart(tmp_path)
    before = (folder / "sweep.json").read_bytes()
    said = refused("run", "quickstart", "--storage", tmp_path, "--set", "question=x",
                   "--set", "trial.pruning.size.weights_mib=3.6")  # fmt: skip
    assert "has 20 trials that started from something else: trial.pruning.size.weights_mib" in said
    assert (folder / "sweep.json").read_bytes() == before


def test_a_simulation_says_that_a_run_would_refuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    old_quickstart(tmp_path / "runs")
    few = ("simulate", "quickstart", "--objective", "analytic", "--set", "samples=0")
    assert "would refuse" not in invoke(*few).stderr
    said = invoke(*few, "--set", "trial.recovery.budget.epochs=2").stderr
    assert "trial.recovery.budget.epochs: " in said
    assert "`prunesweep run` would refuse to go on with it." in " ".join(said.split())


def test_every_command_says_what_it_leaves_out(sweep: Any, tmp_path: Path) -> None:
    runs, file = tmp_path / "runs", tmp_path / "sweep.py"
    _run(sweep(), runs)
    _answer(tmp_path)
    planned = invoke("plan", file, "--storage", runs).stdout
    assert "As it is here, sweep 's' has 2 trials that started from something else" in planned
    assert "completed" not in planned, "none of its trials is done"
    assert json.loads(invoke("plan", file, "--storage", runs, "--json").stdout)["changed"]
    _run(sweep(), runs, new_base=True)
    note = load_sweep_trials(runs / "s").note
    for command in ("frontier", "recommend", "report"):
        assert note in " ".join(invoke(command, "s", "--storage", runs).stderr.split())
    assert note in " ".join(invoke("status", "s", "--storage", runs).stdout.split())
    assert json.loads(invoke("status", "--storage", runs, "--json").stdout)[0]["left_out"] == note
    assert json.loads(invoke("frontier", "s", "--storage", runs, "--json").stdout)["left_out"]
    for name in ("frontier.md", "frontier.json", "report.html"):
        assert "trial.data.conversations: " in (runs / "s" / name).read_text()
