"""A size is kept: at most that much, whatever the method, and not one unit of the rest more fits.

Sizes are counted here from the shapes alone (`LanguageShape.lm_params`, and products by hand), not
by the coefficients that plans are made with.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from helpers.shapes import SHAPE
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from trainables.models.families.registry import language_shape
from trainables.models.families.shape import LanguageShape
from trainables.models.unpruned import Unpruned, Widths
from trainables.pruning.planning.planner import plan_pruning
from trainables.pruning.planning.pruning_target import resolve_target
from trainables.specs import Method, ModelSpec, PruningSpec, SizeTarget

# Llama, Phi-2 (biases, no gate), Phi-3 (heads stay), Llama 3 (GQA), Qwen2 (tied, two KV groups),
# Qwen3 (the first three layers stay).
MODELS = {
    name: language_shape(ModelSpec(path=name))
    for name in (
        "llava-hf/llava-1.5-7b-hf",
        "BAAI/Bunny-v1_0-3B",
        "OpenGVLab/Mini-InternVL-Chat-4B-V1-5",
        "HuggingFaceM4/Idefics3-8B-Llama3",
        "Qwen/Qwen2-VL-2B-Instruct",
        "Qwen/Qwen3-VL-4B-Instruct",
    )
}
REST = Unpruned(
    params=325_040_128, flops=4e11, image_tokens=577, prompt_tokens=64, new_tokens=12,
    bytes_per_weight=2, activations=123_456_789,
)  # fmt: skip
QUICK = settings(
    deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)
SETTINGS: dict[str, st.SearchStrategy[Any]] = {
    "units": st.sampled_from(["auto", "all", "heads", "neurons"]),
    "depth_share": st.floats(0.1, 0.9),
    "protect_heads": st.tuples(st.integers(0, 2), st.integers(0, 2)),
    "protect_neurons": st.tuples(st.integers(0, 2), st.integers(0, 2)),
}


def size_of(shape: LanguageShape, kept: Widths, unit: str, rest: Unpruned = REST) -> float:
    """Of a whole model with layers `kept` and the `rest`."""
    params = rest.params + shape.lm_params(kept)
    if unit == "params":
        return params
    if unit == "weights_mib":
        return params * rest.bytes_per_weight / 2**20
    tokens = rest.image_tokens + rest.prompt_tokens
    if unit == "memory_mib":
        assert rest.activations is not None
        cached = sum(2 * g * shape.head_dim * (tokens + rest.new_tokens - 1) for g, _ in kept)
        return ((params + cached) * rest.bytes_per_weight + rest.activations) / 2**20
    channels = [g * shape.heads_per_group * shape.head_dim for g, _ in kept]
    keys = [g * shape.head_dim for g, _ in kept]
    mlp = [(3 if shape.gated else 2) * n for _, n in kept]
    columns = 2 * sum(channels) + 2 * sum(keys) + sum(mlp) + shape.vocab_size
    work = 2 * shape.hidden_size * columns * tokens + 4 * sum(channels) * tokens**2
    return (rest.flops + work) / 1e12


def one_larger(shape: LanguageShape, spec: PruningSpec, kept: Widths) -> Iterator[Widths]:
    """Every student with one unit more, in one layer if layers compete, else in all that are cut.

    A unit is a layer, or a KV group or a multiple of neurons (the last one may be a shorter step).
    """
    dense = (shape.num_key_value_heads, shape.intermediate_size)
    if spec.method == "layerwise":
        yield (*kept, dense)
        return
    for unit, more in enumerate((1, spec.neuron_multiple)):
        cut = [i for i, width in enumerate(kept) if width[unit] < dense[unit]]
        together = [[i] for i in cut] if spec.ranking == "global" else [cut] if cut else []
        for chosen in together:
            larger = [list(width) for width in kept]
            for i in chosen:
                larger[i][unit] = min(larger[i][unit] + more, dense[unit])
            yield tuple((groups, neurons) for groups, neurons in larger)


def check(shape: LanguageShape, spec: PruningSpec, kept: Widths, rest: Unpruned = REST) -> None:
    assert spec.size is not None
    ((unit, target),) = spec.size.model_dump(exclude_none=True).items()
    assert size_of(shape, kept, unit, rest) <= target
    for larger in one_larger(shape, spec, kept):
        assert size_of(shape, larger, unit, rest) > target, (spec, kept[:2], larger[:2])


def refusal(shape: LanguageShape, spec: PruningSpec, rest: Unpruned = REST) -> str:
    """Why the size cannot be had; empty where it can."""
    try:
        resolve_target(shape, spec, rest)
    except ValueError as error:
        return str(error)
    return ""


def size(unit: str, value: float) -> SizeTarget:
    return SizeTarget.model_validate({unit: int(value) if unit == "params" else value})


@pytest.mark.parametrize("unit", list(SizeTarget.model_fields))
@pytest.mark.parametrize("method", get_args(Method))
@pytest.mark.parametrize("name", MODELS)
def test_uniform_students_are_the_largest_that_keep_the_size(
    name: str, method: Method, unit: str
) -> None:
    shape, refused = MODELS[name], []
    dense = size_of(shape, shape.widths(), unit)  # type: ignore[arg-type]

    @settings(QUICK, max_examples=60)
    @given(
        share=st.floats(0.15, 0.9999),
        multiple=st.sampled_from([1, 64, 100, 2048]),
        changes=st.fixed_dictionaries({}, optional=SETTINGS),
    )
    def run(share: float, multiple: int, changes: dict[str, Any]) -> None:
        spec = PruningSpec(
            method=method, size=size(unit, share * dense), neuron_multiple=multiple, **changes
        )
        if not (why := refusal(shape, spec)):
            check(shape, spec, resolve_target(shape, spec, REST).widths)
            return
        refused.append(why)
        assert "\n" not in why
        if said := re.search(rf"raise size\.{unit} to at least ([\d.]+)", why):
            wider = spec.model_copy(update={"size": size(unit, float(said[1]))})
            check(shape, wider, resolve_target(shape, wider, REST).widths)
        else:
            assert re.search(r"lower depth_share|Raise depth_share|protect fewer", why)

    run()
    assert len(refused) < 45, refused


@pytest.mark.parametrize("unit", list(SizeTarget.model_fields))
@pytest.mark.parametrize("method", ["widthwise", "hybrid"])
@pytest.mark.parametrize("kv_heads", [1, 4])
def test_ranked_students_are_the_largest_that_keep_the_size(
    random_scores: Any, method: Method, unit: str, kv_heads: int
) -> None:
    rest = REST.model_copy(update={"params": 1000, "flops": 1e5, "activations": 5000})
    found = []

    @settings(QUICK, max_examples=150)
    @given(
        share=st.floats(0.1, 0.999),
        multiple=st.sampled_from([1, 5, 16]),
        seed=st.integers(0, 5),
        gated=st.booleans(),
        changes=st.fixed_dictionaries({}, optional=SETTINGS),
    )
    def run(share: float, multiple: int, seed: int, gated: bool, changes: dict[str, Any]) -> None:
        shape = SHAPE.model_copy(update={"num_key_value_heads": kv_heads, "gated": gated})
        dense = size_of(shape, shape.widths(), unit, rest)  # type: ignore[arg-type]
        spec = PruningSpec(
            method=method, size=size(unit, share * dense), ranking="global",
            neuron_multiple=multiple, **changes,
        )  # fmt: skip
        assume(not refusal(shape, spec, rest))
        plan = plan_pruning(random_scores(shape, seed), shape, spec, unpruned=rest)
        check(shape, spec, plan.kept_counts, rest)
        assert plan.size_achieved == size_of(shape, plan.kept_counts, unit, rest)
        found.append(plan.digest)

    run()
    assert len(set(found)) > 40
