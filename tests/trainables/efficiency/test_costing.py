"""What a plan is told about a model, against the model itself."""

from __future__ import annotations

from typing import Any

import pytest

from trainables.efficiency.costing import answer
from trainables.efficiency.measure import count_parts, image_flops, unpruned_parts
from trainables.efficiency.memory import activation_bytes
from trainables.efficiency.meta import on_meta
from trainables.models.dense import DenseModel, load_dense
from trainables.models.families.registry import EMBEDDED, model_config
from trainables.models.unpruned import Question
from trainables.pruning.planning.planner import plan_pruning
from trainables.pruning.planning.pruning_target import resolve_target
from trainables.pruning.scoring.importance import score_importance
from trainables.pruning.surgery import apply_plan
from trainables.specs import Dtype, EfficiencySpec, ImportanceSpec, ModelSpec, PruningSpec

RANDOM = ImportanceSpec(layers="random", groups="random")


@pytest.fixture(scope="module")
def embedded() -> DenseModel:
    """The embedded model; not changed."""
    return load_dense(ModelSpec(path=EMBEDDED))


def real_activations(dense: DenseModel, pruning: PruningSpec) -> int:
    """Of a student with all its layers, in bfloat16."""
    scores = score_importance(dense.model, dense.adapter, [], pruning) if pruning.prunes else None
    plan = plan_pruning(scores, dense.shape, pruning, dense.weights_digest)
    student: Any = apply_plan(dense.model, dense.adapter, plan)
    ghost = on_meta(student, "sdpa").bfloat16()
    return activation_bytes(ghost, dense.adapter, EfficiencySpec())


def test_the_embedded_model_and_its_students(embedded: DenseModel) -> None:
    prunings = [
        PruningSpec(),
        PruningSpec(method="layerwise", ratio=0.5, importance=RANDOM),
        PruningSpec(method="widthwise", ratio=0.3, importance=RANDOM),
        PruningSpec(
            method="widthwise", ratio=0.5, importance=RANDOM, units="all", protect_heads=(2, 1)
        ),
    ]
    students = [
        tuple(sorted(set(resolve_target(embedded.shape, pruning).widths))) for pruning in prunings
    ]
    config = model_config(ModelSpec(path=EMBEDDED))
    got = answer(Question(config=config, students=tuple(students)))
    parts = count_parts(embedded.model, embedded.adapter)
    assert (got.vision, got.projector) == (parts.vision, parts.projector)
    assert sum(got.tensors) == parts.vision + parts.projector == got.unpruned.params
    assert got.unpruned.flops == sum(image_flops(embedded.model, embedded.adapter))
    # Every layer of a kind peaks alike, so one of each, not the first, tells what all do.
    expected = [real_activations(embedded, pruning) for pruning in prunings]
    assert list(got.activations) == expected
    assert expected[2] < expected[0]


def test_every_family_is_counted(family: Any) -> None:
    """With a student of mixed widths; Phi-3's fused projections among them."""
    shape = family.adapter.language_shape(family.config)
    dense = (shape.num_key_value_heads, shape.intermediate_size)
    students = ((dense,), ((1, 16), (1, shape.intermediate_size), dense))
    got = answer(Question(config=family.config, students=students))
    assert got.unpruned.params == sum(got.tensors) + (
        family.model.config.get_text_config().hidden_size
        if "next" in family.name  # the row at the end of a line of patches is no tower's
        else 0
    )
    assert all(peak > 0 for peak in got.activations)
    assert got.activations[1] == got.activations[0]  # the dense layers in it are the widest


def _same_as_the_model_says(family: Any, dtype: Dtype) -> None:
    spec = EfficiencySpec(prompt_tokens=7, new_tokens=5)
    dense = tuple(family.adapter.language_shape(family.config).widths()[:1])
    question = Question(config=family.config, students=(dense,), efficiency=spec, dtype=dtype)
    got = answer(question)
    (peak,) = got.activations
    own = unpruned_parts(family.model, family.adapter, spec, dtype, activations=True)
    assert got.unpruned.model_copy(update={"activations": peak}) == own


def test_every_family_is_the_same_by_its_config_and_by_its_model(family: Any) -> None:
    """The driver has the one and a trial the other, and both make the plan of a size.

    In either width of numbers: a half-precision pass has tensors in full precision besides.
    """
    _same_as_the_model_says(family, "float32")
    _same_as_the_model_says(family, "bfloat16")


def test_a_model_of_one_layer_has_no_layer_before_it(families: Any) -> None:
    _same_as_the_model_says(families["llava-llama"](text={"num_hidden_layers": 1}), "float32")
