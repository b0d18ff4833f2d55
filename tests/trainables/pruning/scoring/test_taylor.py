"""What holds of Taylor importance in every mode; the values themselves are tested apart."""

from __future__ import annotations

import copy
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torch.distributed as dist

from trainables.models.families.llava import LLAVA_LLAMA
from trainables.pruning.scoring import taylor
from trainables.pruning.scoring.importance import score_importance
from trainables.pruning.scoring.taylor import score_taylor
from trainables.specs import ImportanceSpec, PruningSpec

MODES = ("batch", "per_sample", "vectorize", "second_order")


def _close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-6 * np.abs(expected).max())


def _ones(batch):
    """The batch as batches of one sample."""
    return [
        {name: tensor[row : row + 1] for name, tensor in batch.items()}
        for row in range(len(batch["input_ids"]))
    ]


@pytest.mark.parametrize("mode", MODES)
def test_neither_cut_nor_order_of_the_batches_matters(make_llava, make_batch, mode):
    model, batch = make_llava(kv_heads=4), make_batch(samples=4)
    ones, spec = _ones(batch), ImportanceSpec(taylor=mode)
    assert len({int((one["labels"] != -100).sum()) for one in ones}) > 1  # unequal weights
    whole = score_taylor(model, LLAVA_LLAMA, [batch], spec)
    parts = score_taylor(model, LLAVA_LLAMA, ones, spec)
    turned = score_taylor(model, LLAVA_LLAMA, ones[::-1], spec)
    for other in (parts, turned):
        _close(other.heads, whole.heads)
        _close(other.neurons, whole.neurons)
    assert parts.metadata == whole.metadata.model_copy(update={"batches": 4})


@pytest.mark.parametrize("mode", MODES)
def test_two_workers_score_as_one(make_llava, make_batch, mode):
    model, spec = make_llava(kv_heads=4), ImportanceSpec(taylor=mode)
    shared = dist.HashStore()
    ones = _ones(make_batch(samples=3))
    ones[2]["labels"][:] = ones[2]["input_ids"]  # and one share has more tokens in one sample

    def work(rank):
        group = dist.ProcessGroupGloo(shared, rank, 2)
        return score_taylor(
            copy.deepcopy(model),
            LLAVA_LLAMA,
            ones[:1] if rank else ones[1:],
            spec,
            combine=lambda tensor: group.allreduce([tensor]).wait(),
        )

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(work, range(2))
    alone = score_taylor(model, LLAVA_LLAMA, ones, spec)
    assert first.metadata == second.metadata == alone.metadata
    for name in ("heads", "neurons"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
        _close(getattr(first, name), getattr(alone, name))


@pytest.mark.parametrize("mode", MODES)
def test_never_more_than_one_layers_gradients_are_alive(make_llava, make_batch, monkeypatch, mode):
    model, alive, most = make_llava(layers=6), weakref.WeakSet(), [0]
    linears = [m for m in model.get_submodule(LLAVA_LLAMA.layers).modules() if hasattr(m, "bias")]
    one_layer = sum(m.weight.numel() for m in linears) // 6
    make = taylor.weight_gradient

    def counted(inputs, upstream):
        gradient = make(inputs, upstream)
        alive.add(gradient)
        most[0] = max(most[0], sum(tensor.numel() for tensor in alive))
        assert all(parameter.grad is None for parameter in model.parameters())
        return gradient

    monkeypatch.setattr(taylor, "weight_gradient", counted)
    batches = [make_batch(), make_batch(seed=2)]
    score_taylor(model, LLAVA_LLAMA, batches, ImportanceSpec(taylor=mode))
    largest = max(m.weight.numel() for m in linears)
    # One layer's sums (two of them for the Fisher information), and the gradient being added.
    sums = {"per_sample": 0, "second_order": 1}.get(mode, 1)
    assert largest <= most[0] <= sums * one_layer + 2 * largest


def test_neither_vision_tower_nor_projector_nor_head_gets_a_gradient(make_llava, batch):
    model = make_llava(tied=True).requires_grad_(True)
    seen = []
    for name, parameter in model.named_parameters():
        parameter.register_post_accumulate_grad_hook(lambda _, n=name: seen.append(n))
    score_taylor(model, LLAVA_LLAMA, [batch])
    assert seen == []


def _state(model):
    grads = {n: (p.clone(), p.requires_grad, p.grad) for n, p in model.named_parameters()}
    hooks = {
        n: (list(m._forward_hooks), list(m._forward_pre_hooks)) for n, m in model.named_modules()
    }
    return grads, hooks


@pytest.mark.parametrize("fails", [False, True])
def test_leaves_the_model_as_it_was(make_llava, make_batch, monkeypatch, fails):
    model = make_llava()
    model(**{n: t for n, t in make_batch().items() if n != "labels"})  # transformers' own hooks
    projector = model.get_submodule(LLAVA_LLAMA.projector).requires_grad_(True)
    projector.linear_1.weight.grad = torch.ones_like(projector.linear_1.weight)
    grads, hooks = _state(model)
    batches = [make_batch(), make_batch(seed=2)]
    if fails:

        def broken(*_):
            raise RuntimeError("out of memory")

        monkeypatch.setattr(taylor, "weight_gradient", broken)
        with pytest.raises(RuntimeError, match="out of memory"):
            score_taylor(model, LLAVA_LLAMA, batches)
    else:
        score_taylor(model, LLAVA_LLAMA, batches)
    after, hooks_after = _state(model)
    assert hooks_after == hooks
    for name, (weight, required, grad) in grads.items():
        assert torch.equal(after[name][0], weight)
        assert after[name][1] == required
        assert after[name][2] is grad


def test_one_pass_over_the_data(make_llava, batch):
    model, calls = make_llava(), []
    model.register_forward_hook(lambda *_: calls.append(1))
    widthwise = PruningSpec(method="widthwise")
    scores = score_importance(model, LLAVA_LLAMA, [batch], widthwise, data_digest="d")
    assert len(calls) == scores.metadata.batches == 1
    assert scores.metadata.data_digest == "d"
    assert scores.metadata.settings == {
        "criterion": "taylor", "taylor": "batch", "reduction": "sum", "biases": True
    }  # fmt: skip


def test_a_student_with_other_widths_in_each_layer(make_llava, batch):
    model = make_llava(kv_heads=4, layers=2)
    dense = score_taylor(model, LLAVA_LLAMA, [batch])
    mlp = model.get_submodule(f"{LLAVA_LLAMA.layers}.1.mlp")
    with torch.no_grad():
        mlp.down_proj.weight[:, 40:] = 0  # the last eight neurons do nothing
    masked = score_taylor(model, LLAVA_LLAMA, [batch])
    for name in ("gate_proj", "up_proj"):
        module = getattr(mlp, name)
        module.weight = torch.nn.Parameter(module.weight[:40].clone(), requires_grad=False)
        module.out_features = 40
    cut = torch.nn.Parameter(mlp.down_proj.weight[:, :40].clone(), requires_grad=False)
    mlp.down_proj.weight, mlp.down_proj.in_features = cut, 40
    student = score_taylor(model, LLAVA_LLAMA, [batch])
    assert student.neurons.shape == dense.neurons.shape == (2, 48)
    _close(student.heads, masked.heads)
    _close(student.neurons[0], masked.neurons[0])
    _close(student.neurons[1, :40], masked.neurons[1, :40])
    assert (student.neurons[1, 40:] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_sums_do_not_overflow(make_llava, batch, dtype):
    model = make_llava(layers=2)
    layers = model.get_submodule(LLAVA_LLAMA.layers)
    with torch.no_grad():
        model.lm_head.weight.mul_(100)
        for layer in layers:
            layer.mlp.down_proj.weight.mul_(1e-2)
            layer.mlp.up_proj.weight.mul_(100)
    half = copy.deepcopy(model).to(dtype)
    exact = score_taylor(half.float(), LLAVA_LLAMA, [batch])
    scores = score_taylor(half.to(dtype), LLAVA_LLAMA, [batch])
    assert np.isfinite(scores.neurons).all()
    assert np.isfinite(scores.heads).all()
    error = np.linalg.norm(scores.neurons - exact.neurons) / np.linalg.norm(exact.neurons)
    assert error < (0.02 if dtype == torch.float16 else 0.1)


def test_sums_beyond_float16(make_llava, batch, monkeypatch):
    """Every gradient within range, and the sum over a group far beyond 65504."""
    model = make_llava(layers=2).half()
    monkeypatch.setattr(
        taylor, "weight_gradient", lambda x, d: torch.full((d.shape[-1], x.shape[-1]), 6e4)
    )
    scores = score_taylor(model, LLAVA_LLAMA, [batch])
    weights = model.get_submodule(f"{LLAVA_LLAMA.layers}.1.mlp")
    by_hand = weights.gate_proj.weight.double().abs().sum(1)
    by_hand += weights.up_proj.weight.double().abs().sum(1)
    by_hand += weights.down_proj.weight.double().abs().sum(0)
    by_hand *= 6e4 / scores.metadata.tokens
    np.testing.assert_allclose(scores.neurons[1], by_hand, rtol=1e-5)
    assert (by_hand * scores.metadata.tokens > 65504).all()


def test_bad_calibration_data(make_llava, make_batch):
    model, batch = make_llava(), make_batch()
    with pytest.raises(ValueError, match="no calibration batches"):
        score_taylor(model, LLAVA_LLAMA, [])
    text = {name: tensor for name, tensor in batch.items() if name != "pixel_values"}
    with pytest.raises(ValueError, match="none of the 3 calibration samples has an image"):
        score_taylor(model, LLAVA_LLAMA, [text])
    batch["labels"][0] = -100
    score_taylor(model, LLAVA_LLAMA, [batch])
    with pytest.raises(ValueError, match="needs a gradient of each"):
        score_taylor(model, LLAVA_LLAMA, [batch], ImportanceSpec(taylor="per_sample"))
    batch["labels"][:] = -100
    with pytest.raises(ValueError, match="no response token"):
        score_taylor(model, LLAVA_LLAMA, [batch])


def test_gradients_that_are_nan_or_zero_name_the_layer(make_llava, batch, monkeypatch):
    broken = make_llava()
    with torch.no_grad():
        broken.get_parameter(f"{LLAVA_LLAMA.layers}.2.mlp.up_proj.weight")[0, 0] = torch.nan
    with pytest.raises(ValueError, match="layer 2 puts out NaN or infinity for calibration batch"):
        score_taylor(broken, LLAVA_LLAMA, [batch])
    model = make_llava()
    with torch.no_grad():
        model.get_parameter(f"{LLAVA_LLAMA.layers}.3.input_layernorm.weight").zero_()
        model.get_parameter(f"{LLAVA_LLAMA.layers}.3.post_attention_layernorm.weight").zero_()
    with pytest.raises(ValueError, match="gradients of layer 3 are all zero"):
        score_taylor(model, LLAVA_LLAMA, [batch])
    make = taylor.weight_gradient
    monkeypatch.setattr(taylor, "weight_gradient", lambda x, d: make(x, d) * torch.inf)
    with pytest.raises(ValueError, match="gradients of layer 3 are NaN or infinite"):
        score_taylor(make_llava(), LLAVA_LLAMA, [batch])
