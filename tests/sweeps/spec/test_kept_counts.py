"""The count that needs torch is asked for once per question, not once per command."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.random_llava import make_model

from sweeps.engine.spec import unpruned_parts
from sweeps.engine.spec.asking import kept_answers
from sweeps.engine.spec.unpruned_parts import target_of, unpruned_of
from trainables.common.store import Store
from trainables.efficiency.memory import computed_memory
from trainables.models.dense import DenseModel
from trainables.models.families.registry import adapter_for
from trainables.pruning.planning.sizes import model_size
from trainables.pruning.surgery import apply_plan
from trainables.specs import (
    MIB,
    EfficiencySpec,
    ImportanceSpec,
    ModelSpec,
    PruningSpec,
    SizeTarget,
    TrialSpec,
)
from trainables.trial.inputs import NO_DATA, Inputs
from trainables.trial.plan import importance_scores, make_plan

TINY = TrialSpec(model=ModelSpec(path="tiny"))


@pytest.fixture(scope="module")
def answers() -> dict[str, Any]:
    """What the process that counts said to each question, for all tests: it takes seconds."""
    return {}


@pytest.fixture
def asked(
    answers: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[list[str]]:
    """The questions that processes are started for, with an empty cache folder."""
    started: list[str] = []
    run = subprocess.run

    def counted(*args: Any, **settings: Any) -> Any:
        question = settings["input"]
        started.append(question)
        if question not in answers:
            answers[question] = run(*args, **settings)
        return answers[question]

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(subprocess, "run", counted)
    unpruned_parts._ask.cache_clear()
    yield started
    unpruned_parts._ask.cache_clear()


def test_a_second_command_reads_the_answer_of_the_first(asked):
    first = unpruned_of(TINY)
    unpruned_parts._ask.cache_clear()  # as in another process
    assert unpruned_of(TINY) == first
    assert len(asked) == 1
    assert first.params > 0


def test_a_broken_answer_is_asked_for_again(asked):
    first = unpruned_of(TINY)
    (path,) = kept_answers().iterdir()
    path.write_text('[{"unpruned": ')
    unpruned_parts._ask.cache_clear()
    assert unpruned_of(TINY) == first
    assert len(asked) == 2


def test_other_code_does_not_take_over_the_answer(asked, monkeypatch):
    unpruned_of(TINY)
    unpruned_parts._ask.cache_clear()
    monkeypatch.setattr(unpruned_parts, "_counted_by", lambda: "another version")
    unpruned_of(TINY)
    assert len(asked) == 2


def test_activations_are_asked_for_where_a_target_bounds_the_memory(asked):
    pruning = {size: PruningSpec(size=SizeTarget(**{size: 6})) for size in SizeTarget.model_fields}
    peaks = {
        size: unpruned_of(TINY.model_copy(update={"pruning": spec})).activations
        for size, spec in pruning.items()
    }
    assert [size for size, peak in peaks.items() if peak is not None] == ["memory_mib"]
    assert len(asked) == 2


def test_a_trial_makes_the_plan_of_a_memory_that_the_driver_foresees(tmp_path: Path) -> None:
    model: Any = make_model()
    model.save_pretrained(tmp_path / "model")
    config = model.config.to_dict()
    adapter = adapter_for(config)
    shape, made = adapter.language_shape(config), ModelSpec(path=str(tmp_path / "model"))
    random = ImportanceSpec(layers="random", groups="random")

    def trial(method: Any, mib: float) -> TrialSpec:
        size = SizeTarget(memory_mib=mib)
        return TrialSpec(
            model=made.model_copy(update={"dtype": "bfloat16"}),
            pruning=PruningSpec(method=method, importance=random, size=size),
            efficiency=EfficiencySpec(prompt_tokens=7, new_tokens=5),
        )

    dense = model_size(shape, shape.widths(), unpruned_of(trial("layerwise", 1))).memory_mib
    assert dense is not None
    layers = sum(shape.layer_params(*widths) for widths in shape.widths())
    target = dense - 0.4 * layers * 2 / MIB
    for method in ("layerwise", "widthwise"):
        spec = trial(method, target)
        loaded = DenseModel(model, None, adapter, shape, {"weights": "1"}, tmp_path, spec.model)
        inputs = Inputs(spec, Store(tmp_path / "store"), loaded, NO_DATA)
        plan = make_plan(inputs, importance_scores(inputs))
        assert plan.kept_counts == target_of(spec, shape).widths
        student = apply_plan(model, adapter, plan)
        weights = 2 * sum(p.numel() for p in student.parameters())
        found = computed_memory(student, adapter, spec.efficiency, weights, spec.model.dtype)
        assert plan.size_achieved is not None
        assert found.total_mib <= plan.size_achieved <= target
