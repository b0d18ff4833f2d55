"""Executes a plan: a new, smaller model with the kept tensors of the dense one.

The student is built from the pruned config and filled with slices, never edited in place, so that
layer indices, sizes and head counts are what transformers itself would make of that config.
"""

import copy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.initialization import no_init_weights

from trainables.models.families.adapter import VLMAdapter
from trainables.models.families.shape import LanguageShape, Projection
from trainables.models.resized import resized_class
from trainables.pruning.planning.planner import PrunePlan
from trainables.pruning.planning.selection import Indices

P = TypeVar("P", bound=PreTrainedModel)


@torch.no_grad()
def apply_plan(model: P, adapter: VLMAdapter, plan: PrunePlan) -> P:
    """A new model that keeps what the plan names; the dense model is left alone.

    A student that a stock config can express is of the dense model's class. One with per-layer
    widths, or with heads that the family's config cannot lower, is of a subclass of it (`resized`).

    Returns:
        The student in eval mode on the dense model's device and in its type; no parameter requires
        a gradient and none shares memory with the dense model.

    Raises:
        ValueError: if the plan is for another model, or the model has per-layer widths already.
    """
    config = model.config.to_dict()
    shape = adapter.language_shape(config)
    if plan.shape != shape:
        raise ValueError(
            f"the plan is for a language model of {plan.shape.num_hidden_layers} layers and width "
            f"{plan.shape.hidden_size}, the model has {shape.num_hidden_layers} and "
            f"{shape.hidden_size} (or differs in heads or neurons); plan for this model"
        )
    if "resized" in config and plan.lm_params != plan.lm_params_dense:
        raise ValueError(
            "the layers of this model differ in width already, and plans are for models whose "
            "layers are alike; prune the dense model further instead"
        )
    stock = is_stock(plan)
    groups, neurons = plan.kept_counts[0] if stock else shape.widths()[0]
    plain = adapter.pruned_config(config, layers=plan.layers, kv_groups=groups, neurons=neurons)
    if not stock:
        plain["resized"] = adapter.resized(shape, plan.kept_counts)
    pruned = type(model.config).from_dict(plain)
    pruned._attn_implementation = model.config._attn_implementation
    kind: Any = type(model)
    student: P = _empty(kind if stock else resized_class(kind), pruned)
    student.load_state_dict(_kept_tensors(model, adapter, plan), strict=True, assign=True)
    student.tie_weights()
    _copy_buffers(model, student)
    student.generation_config = copy.deepcopy(model.generation_config)
    student.requires_grad_(False)
    student.eval()  # type: ignore[no-untyped-call]
    return student


def is_stock(plan: PrunePlan) -> bool:
    """Whether a stock config of the family can express the plan's student."""
    if not plan.uniform:
        return False
    groups, _ = plan.kept_counts[0]
    return groups == plan.shape.num_key_value_heads or not plan.shape.fixed_heads


def _empty(kind: type[P], config: PreTrainedConfig) -> P:
    """A model whose parameters have no memory yet; buffers are real. Draws no random number."""
    from accelerate import init_empty_weights

    with torch.random.fork_rng(), no_init_weights(), init_empty_weights(include_buffers=False):
        return kind(config)


def _kept_tensors(model: nn.Module, adapter: VLMAdapter, plan: PrunePlan) -> dict[str, Tensor]:
    """The student's state dict: copies of the dense tensors, layers renumbered, units sliced."""
    dense, prefix = model.state_dict(), f"{adapter.layers}."
    kept = {name: t.clone() for name, t in dense.items() if not name.startswith(prefix)}
    sliced = _slices(adapter, plan)
    for new, sources in enumerate(plan.sources):
        start = f"{prefix}{sources[0]}."
        for inner in (name.removeprefix(start) for name in dense if name.startswith(start)):
            tensors = [dense[f"{prefix}{old}.{inner}"] for old in sources]
            if inner in sliced:
                axis, per_layer = sliced[inner]
                at = per_layer[new].to(tensors[0].device)
                tensors = [tensor.index_select(axis, at) for tensor in tensors]
            merged = len(tensors) > 1
            kept[f"{prefix}{new}.{inner}"] = (
                torch.stack(tensors).mean(dim=0) if merged else tensors[0].clone()
            )
    return kept


def _slices(adapter: VLMAdapter, plan: PrunePlan) -> dict[str, tuple[int, list[Tensor]]]:
    """Parameter name within a layer -> the axis to slice and the kept indices of each layer."""
    slices: dict[str, tuple[int, list[Tensor]]] = {}
    for projection in adapter.projections:
        kept = plan.kv_groups if projection.unit == "kv_group" else plan.neurons
        if kept is None:
            continue
        indices = [kept_positions(projection, plan.shape, units) for units in kept]
        slices[f"{projection.path}.weight"] = (projection.axis, indices)
        if projection.axis == 0 and projection.has_bias(plan.shape):
            slices[f"{projection.path}.bias"] = (0, indices)
    return slices


def kept_positions(projection: Projection, shape: LanguageShape, units: Indices) -> Tensor:
    """Rows or columns of a projection that belong to the kept units, in their dense order."""
    owners = torch.from_numpy(projection.owners(shape))
    return torch.isin(owners, torch.tensor(units)).nonzero().squeeze(1)


def _copy_buffers(model: nn.Module, student: nn.Module) -> None:
    """Take every buffer from the dense model: rotary frequencies and positions do not change.

    Buffers that are not in the state dict would otherwise be recomputed on the CPU and in another
    type than those of the dense model.
    """
    dense = dict(model.named_buffers())
    for name, buffer in list(student.named_buffers()):
        assert dense[name].shape == buffer.shape, f"buffer {name} changed its shape"
        parent, _, leaf = name.rpartition(".")
        setattr(student.get_submodule(parent), leaf, dense[name].clone())
