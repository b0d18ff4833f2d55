"""Quantized weights are what their definitions say, in every family and any pruned shape."""

from __future__ import annotations

import builtins
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from helpers.quantized import ADAPTER, llm_int8, nf4, one_linear, weight_bytes
from helpers.same_model import close
from torch.nn import functional

from analysis.published.study import load_published
from trainables.efficiency.definitions import DefinedLinear
from trainables.efficiency.latency import measure_latency
from trainables.efficiency.measure import measure
from trainables.efficiency.quantize import products_of, quantize, quantized_efficiency
from trainables.models.families.registry import language_shape
from trainables.models.quantizers import LIBRARIES, check_quantization, loading_config
from trainables.pruning.planning.planner import plan_pruning
from trainables.pruning.planning.scores import ImportanceScores, ScoreMetadata
from trainables.pruning.surgery import apply_plan
from trainables.specs import EfficiencySpec, ImportanceSpec, ModelSpec, PruningSpec

KINDS = tuple(LIBRARIES)


@pytest.mark.parametrize(("rows", "columns"), [(96, 160), (97, 61), (33, 64)])
def test_nf4_is_its_definition(rows: int, columns: int) -> None:
    model = one_linear(rows, columns)
    linear, x = model.layers[0].fc, torch.randn(2, 5, columns)
    product = nf4(linear.weight.numpy(), x.numpy()) + linear.bias.numpy()
    expected = torch.tensor(product, dtype=torch.float32)
    quantize(model, ADAPTER, "nf4")
    torch.testing.assert_close(model.layers[0].fc(x), expected, rtol=1e-4, atol=1e-5)
    values, blocks = rows * columns, -(-rows * columns // 64)
    described = weight_bytes(model.layers[0].fc) - 4 * 16
    assert -(-values // 2) + 4 * blocks <= described <= -(-values // 2) + 4 * blocks + 100


@pytest.mark.parametrize(("rows", "columns"), [(96, 160), (97, 61)])
def test_llm_int8_is_its_definition(rows: int, columns: int) -> None:
    model = one_linear(rows, columns)
    linear, x = model.layers[0].fc, torch.randn(7, columns).half().float()
    x[2, 3], x[5, 3], x[:, 11] = 40.0, -7.0, 0.5
    expected = llm_int8(linear.weight.numpy(), x.numpy()) + linear.bias.double().numpy()
    plain = linear(x)
    quantize(model, ADAPTER, "llm_int8")
    found = model.layers[0].fc(x[None])[0]
    # A value that lies between two steps may be rounded the other way in half precision.
    off = np.abs(found.numpy() - expected)
    assert np.median(off) < 1e-4
    assert off.max() < 0.02
    assert (found - plain).norm() / plain.norm() < 0.01
    assert weight_bytes(model.layers[0].fc) == rows * columns + 4 * rows + 1


@pytest.mark.parametrize(("rows", "columns"), [(96, 160), (97, 61)])
def test_int8_weight_only_is_its_definition(rows: int, columns: int) -> None:
    model = one_linear(rows, columns)
    linear, x = model.layers[0].fc, torch.randn(2, 5, columns)
    weight = linear.weight.double()
    scale = weight.abs().amax(1, keepdim=True) / 127.5
    rounded = (weight / scale).round().clamp(-128, 127) * scale
    expected = functional.linear(x.double(), rounded, linear.bias.double())
    quantize(model, ADAPTER, "int8_weight_only")
    found = model.layers[0].fc(x).double()
    # One weight of a row may lie on a tie.
    torch.testing.assert_close(found, expected, rtol=0, atol=float(scale.max() * x.abs().max()))
    assert (found - expected).abs().median() < 1e-6
    assert weight_bytes(model.layers[0].fc) == rows * columns + 4 * rows + rows  # and zero points


@pytest.mark.parametrize("kind", KINDS)
def test_every_family_keeps_all_but_its_decoder_linears(kind: Any, family: Any) -> None:
    model, adapter = family.model, family.adapter
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    logits = model(**family.batch).logits
    found = quantize(model, adapter, kind)
    assert found is model
    decoder = {f"{adapter.layers}.{i}.{p.path}" for i in range(4) for p in adapter.projections}
    kept = [name for name in before if name.rpartition(".")[0] not in decoder]
    assert len(kept) < len(before)
    after = model.state_dict()
    for name in (*kept, *(f"{path}.bias" for path in decoder if f"{path}.bias" in before)):
        assert torch.equal(after[name], before[name]), name
    for path in decoder:
        assert weight_bytes(model.get_submodule(path)) < before[f"{path}.weight"].nbytes / 2
    assert next(model.parameters()).dtype == model.dtype == torch.float32
    answered = model(**family.batch).logits
    assert not torch.equal(answered, logits)
    agreement = functional.cosine_similarity(answered.flatten(), logits.flatten(), dim=0)
    assert agreement > (0.8 if kind == "nf4" else 0.99)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["llava-llama", "internvl-phi3", "qwen2-vl", "idefics3"])
def test_transformers_loads_the_same_model(
    name: str, kind: Any, families: Any, tmp_path: Path
) -> None:
    made = families[name]()
    made.model.save_pretrained(tmp_path)
    from torchao.quantization import Int8WeightOnlyConfig
    from transformers import BitsAndBytesConfig, TorchAoConfig

    names = {"BitsAndBytesConfig": BitsAndBytesConfig, "TorchAoConfig": TorchAoConfig}
    names["Int8WeightOnlyConfig"] = Int8WeightOnlyConfig
    config = builtins.eval(loading_config(kind, made.adapter, "float32"), names)
    kind_of_model = getattr(transformers, made.adapter.model_class)
    loaded = kind_of_model.from_pretrained(
        tmp_path, dtype=torch.float32, quantization_config=config, device_map="cpu"
    ).eval()
    ours = quantize(made.model, made.adapter, kind)
    # Equal codes and scales: what multiplies them is the library's kernels there, right or wrong.
    for path, module in ours.named_modules():
        if isinstance(module, DefinedLinear):
            packed = loaded.get_submodule(path).weight
            assert torch.equal(packed.flatten(), module.weight[: packed.numel()]), path
            assert torch.equal(packed.quant_state.absmax, module.scale), path
    if products_of(ours, kind).by_definition:
        return
    with torch.no_grad():
        close(loaded(**made.batch).logits, ours(**made.batch).logits)


@pytest.mark.parametrize("kind", KINDS)
def test_layers_of_odd_and_differing_widths(kind: Any, families: Any) -> None:
    from torch._dynamo.utils import counters

    made = families["llava-llama"](text={"intermediate_size": 75})
    shape = made.adapter.language_shape(made.config)
    spec = PruningSpec(
        method="widthwise",
        ratio=0.3,
        ranking="global",
        importance=ImportanceSpec(groups="random"),
    )
    rng = np.random.default_rng(0)
    scores = ImportanceScores(
        ScoreMetadata(method="widthwise"),
        heads=rng.random((4, shape.num_key_value_heads), dtype=np.float32),
        neurons=rng.random((4, 75), dtype=np.float32),
    )
    plan = plan_pruning(scores, shape, spec)
    student = apply_plan(made.model, made.adapter, plan)
    widths = {neurons for _, neurons in plan.kept_counts}
    assert len(widths) > 1
    assert any(width % 2 for width in widths)
    settings = EfficiencySpec(prompt_tokens=4, new_tokens=2, latency_repeats=3)
    plain = measure(student, made.adapter, settings, "bfloat16")
    linears = [
        student.get_submodule(f"{made.adapter.layers}.{i}.{p.path}")
        for i in range(len(plan.layers))
        for p in made.adapter.projections
    ]
    half = sum(2 * linear.weight.numel() for linear in linears)
    frames = counters["frames"].total()
    quantize(student, made.adapter, kind)
    with torch.no_grad():
        student(**made.batch)
    report = quantized_efficiency(plain, student, kind, "bfloat16")
    now = sum(
        weight_bytes(student.get_submodule(f"{made.adapter.layers}.{i}.{p.path}"))
        for i in range(len(plan.layers))
        for p in made.adapter.projections
    )
    assert report.weights_mib == pytest.approx(plain.weights_mib - (half - now) / 2**20)
    assert (report.params, report.tflops) == (plain.params, plain.tflops)
    assert report.quantization == kind
    assert counters["frames"].total() == frames, "something was compiled"
    latency = measure_latency(student, made.model, made.adapter, settings)
    assert latency.median_ms > 0
    assert latency.dense_median_ms > 0


def test_the_process_is_left_as_it_was(families: Any) -> None:
    torch.set_float32_matmul_precision("highest")
    made = families["llava-llama"]()
    quantize(made.model, made.adapter, "int8_weight_only")
    assert torch.get_float32_matmul_precision() == "highest"


def test_none_changes_nothing(families: Any) -> None:
    made = families["llava-llama"]()
    before = made.model.get_submodule(f"{made.adapter.layers}.0.self_attn.q_proj").weight
    assert quantize(made.model, made.adapter, "none") is made.model
    assert made.model.get_submodule(f"{made.adapter.layers}.0.self_attn.q_proj").weight is before


def test_a_missing_library_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "bitsandbytes" else find(name, *rest),
    )
    with pytest.raises(ValueError, match=r"'nf4' needs bitsandbytes.*or choose one of none, int8_"):
        check_quantization("nf4")
    check_quantization("int8_weight_only")
    check_quantization("none")


def test_a_device_that_bitsandbytes_does_not_know_is_refused(families: Any) -> None:
    made = families["llava-llama"]()
    with pytest.raises(ValueError, match=r"of type 'meta', but bitsandbytes runs on .*cpu"):
        quantize(made.model.to("meta"), made.adapter, "llm_int8")


def test_the_study_quantized_the_decoders_linears_and_nothing_else() -> None:
    """Table 4 in thousand MiB: the decoder's linears in int8 fit, with the tower's they do not."""
    shape = language_shape(ModelSpec(path="llava-hf/llava-1.5-7b-hf"))
    published = load_published()
    printed = {
        row["nominal_ratio"]: row["memory_gib"]
        for row in published["quantization"]
        if row["quantization"] == "llm.int8"
    }
    unquantized = {
        row["nominal_ratio"]: row["allocated_memory_mib"]
        for row in published["cost"]
        if (row["table"], row["model"]) == (7, "llava-v1.5-7b")
    }
    norms = shape.norms_per_layer * shape.hidden_size
    linears = shape.layer_params(shape.num_key_value_heads, shape.intermediate_size) - norms
    tower = 24 * (4 * 1024**2 + 2 * 1024 * 4096) / 2**20  # CLIP-L's linears
    for ratio, layers in ((0, 32), (0.15, 27), (0.3, 22)):
        decoder = unquantized[ratio] - layers * linears / 2**20
        assert printed[ratio] == pytest.approx(decoder / 1000, abs=0.15)
        assert printed[ratio] > (decoder - tower) / 1000 + 0.25
