"""Taylor importance and magnitude by their definition: autograd and loops over units."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch

from trainables.pruning.scoring.importance import score_importance
from trainables.pruning.scoring.taylor import score_taylor
from trainables.specs import ImportanceSpec, PruningSpec

MODES = ("batch", "per_sample", "vectorize", "second_order")
_LLAMA = {
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "o": "self_attn.o_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
}
_PHI = {part: path for part, path in _LLAMA.items() if part in "qkv"}
_PHI |= {"o": "self_attn.dense", "up": "mlp.fc1", "down": "mlp.fc2"}


def _sample_gradients(family):
    """Per sample: the gradient of its mean loss by parameter name of the decoder layers (float64).

    The loss of one sample is that of the whole batch with all other labels taken away.
    """
    model = copy.deepcopy(family.model).double().requires_grad_(True)
    prefix = f"{family.adapter.layers}."
    named = {n: p for n, p in model.named_parameters() if n.startswith(prefix)}
    inputs = {name: tensor for name, tensor in family.batch.items() if name != "labels"}
    inputs["pixel_values"] = inputs["pixel_values"].double()
    gradients, counts = [], []
    for row in range(len(inputs["input_ids"])):
        labels = torch.full_like(family.batch["labels"], -100)
        labels[row] = family.batch["labels"][row]
        loss = model(**inputs, labels=labels).loss
        found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
        gradients.append(dict(zip(named, found, strict=True)))
        counts.append(int((labels[:, 1:] != -100).sum()))
    return {n: p.detach() for n, p in named.items()}, gradients, counts


def _taylor_values(weights, gradients, counts, mode):
    """The value of every weight, before the sum over its row or column."""
    total = sum(counts)
    values = {}
    for name, w in weights.items():
        if gradients[0][name] is None:
            continue
        each = [g[name] for g in gradients]
        mean = sum(g * n / total for g, n in zip(each, counts, strict=True))
        values[name] = {
            "batch": (w * mean).abs(),
            "vectorize": w * mean,
            "per_sample": torch.stack([(w * g).abs() for g in each]).mean(0),
            "second_order": (
                0.5 * w**2 * torch.stack([g**2 for g in each]).mean(0) - w * mean
            ).abs(),
        }[mode]
    return values


def _group_scores(family, values, reduction="sum", biases=True):
    """(heads, neurons): the values of each unit, put together as LLM-Pruner does."""
    text = family.model.config.text_config
    layers = len(family.model.get_submodule(family.adapter.layers))
    heads, neurons = [], []
    for layer in range(layers):
        prefix = f"{family.adapter.layers}.{layer}."
        own = {n.removeprefix(prefix): v for n, v in values.items() if n.startswith(prefix)}
        parts = _parts(family, own)
        groups = text.num_key_value_heads
        mlp = [part for part in ("gate", "up", "down") if part in parts]
        count = parts["down"][0].shape[0]
        heads.append([_unit(parts, "qkvo", g, groups, reduction, biases) for g in range(groups)])
        neurons.append([_unit(parts, mlp, n, count, reduction, biases) for n in range(count)])
    return np.array(heads), np.array(neurons)


def _unit(parts, names, index, units, reduction, biases):
    """A unit channel by channel: the magnitude of each row's sum, the tensors put together, added.

    Where query heads share a KV head, a channel of a head has a row of each.
    """
    channels = min(len(parts[name][0]) for name in names) // units
    tensors = []
    for name in names:
        weight, bias = parts[name]
        size = len(weight) // units
        sums = np.zeros(channels)
        for row in range(size):
            at = index * size + row
            counted = bias is not None and biases
            value = float(weight[at].sum()) + (float(bias[at]) if counted else 0.0)
            sums[row % channels] += abs(value)
        tensors.append(sums)
    return {"sum": np.sum, "mean": np.mean, "max": np.max}[reduction](tensors, axis=0).sum()


def _parts(family, own):
    """Part -> (weight with the units along its rows, bias of those rows)."""
    if family.name == "internvl-phi3":
        text = family.model.config.text_config
        head = text.hidden_size // text.num_attention_heads
        sizes = [text.num_attention_heads * head] + [text.num_key_value_heads * head] * 2
        rows = dict(zip("qkv", own["self_attn.qkv_proj.weight"].split(sizes), strict=True))
        rows["gate"], rows["up"] = own["mlp.gate_up_proj.weight"].chunk(2)
        rows |= {"o": own["self_attn.o_proj.weight"].T, "down": own["mlp.down_proj.weight"].T}
        return {part: (weight, None) for part, weight in rows.items()}
    parts = {}
    for part, path in (_PHI if family.name == "llava-phi" else _LLAMA).items():
        weight = own[f"{path}.weight"]
        across = part in ("o", "down")
        parts[part] = (weight.T if across else weight, None if across else own.get(f"{path}.bias"))
    return parts


def _close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-6 * np.abs(expected).max())


def test_every_family_equals_the_definition_in_every_mode(family):
    weights, gradients, counts = _sample_gradients(family)
    assert len(set(counts)) > 1  # unequal samples, so that the kinds of mean differ
    found = {}
    for mode in MODES:
        spec = ImportanceSpec(taylor=mode)
        scores = found[mode] = score_taylor(family.model, family.adapter, [family.batch], spec)
        values = _taylor_values(weights, gradients, counts, mode)
        heads, neurons = _group_scores(family, values)
        _close(scores.heads, heads)
        _close(scores.neurons, neurons)
        assert scores.heads.dtype == scores.neurons.dtype == np.float32
        assert scores.metadata.tokens == sum(counts)
        scores.require(family.adapter.language_shape(family.config))
    for one, other in itertools.pairwise(MODES):
        assert not np.allclose(found[one].heads, found[other].heads, rtol=1e-2)


def test_the_study_counts_no_biases(families):
    family = families["llava-phi"](text={"num_hidden_layers": 2})
    values = _taylor_values(*_sample_gradients(family), "batch")
    spec = PruningSpec(method="widthwise", ratio=0.3, preset="study")
    scores = score_importance(family.model, family.adapter, [family.batch], spec)
    for biases, equal in ((False, True), (True, False)):
        heads, neurons = _group_scores(family, values, biases=biases)
        assert np.allclose(scores.heads, heads, rtol=2e-4) == equal
        assert np.allclose(scores.neurons, neurons, rtol=2e-4) == equal


@pytest.mark.parametrize("name", ["llava-phi", "internvl-phi3", "qwen2-vl"])
@pytest.mark.parametrize("reduction", ["sum", "mean", "max"])
@pytest.mark.parametrize("mode", ["batch", "vectorize"])
def test_reductions_and_biases(families, name, reduction, mode):
    family = families[name](text={"num_hidden_layers": 2})
    weights, gradients, counts = _sample_gradients(family)
    values = _taylor_values(weights, gradients, counts, mode)
    for biases in (True, False):
        spec = ImportanceSpec(taylor=mode, reduction=reduction, biases=biases)
        scores = score_taylor(family.model, family.adapter, [family.batch], spec)
        heads, neurons = _group_scores(family, values, reduction, biases)
        _close(scores.heads, heads)
        _close(scores.neurons, neurons)


@pytest.mark.parametrize("reduction", ["sum", "max"])
def test_magnitude_of_every_family(family, reduction):
    weights, gradients, _ = _sample_gradients(family)
    values = {name: w.abs() for name, w in weights.items() if gradients[0][name] is not None}
    for biases in (True, False):
        importance = ImportanceSpec(groups="magnitude", reduction=reduction, biases=biases)
        spec = PruningSpec(method="widthwise", importance=importance)
        scores = score_importance(family.model, family.adapter, [], spec, weights_digest="w")
        heads, neurons = _group_scores(family, values, reduction, biases)
        _close(scores.heads, heads)
        _close(scores.neurons, neurons)
        assert scores.metadata.weights_digest == "w"
