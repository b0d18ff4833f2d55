"""What a pruning target counts: parameters of the language model, or a size of the whole model.

A ratio is met as nearly as can be, a size is kept: at most that much, and the largest that does.

Either is linear in what is kept, so that one arithmetic serves both:

    total = fixed + sum over kept layers of (layer + kv_group * groups + neuron * neurons)

Torch-free. Parameters of the language model: embeddings, head and final norm are fixed. A size of
the whole model has the vision tower and the projector besides (`Unpruned`).

Activations are not linear, as their peak is one layer's. Memory takes those of the dense model as
fixed: no student has more, so that a bound is kept, and where whole layers are removed, which are
alike, it is exact. Where width is pruned the student takes a little less than is counted.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from trainables.models.families.shape import LanguageShape
from trainables.models.unpruned import Unpruned, Widths
from trainables.models.work import attention_channels, linear_weights
from trainables.specs import MIB, PruningSpec, SizeTarget

TERA = 1e12


@dataclass(frozen=True)
class Cost:
    """Coefficients of the linear count of this module, and what the dense model comes to."""

    fixed: float
    layer: float
    kv_group: float
    neuron: float
    dense: float

    def total(self, kept: Widths) -> float:
        """The count of a model whose layers are `kept`."""
        width = sum(self.kv_group * groups + self.neuron * neurons for groups, neurons in kept)
        return self.fixed + self.layer * len(kept) + width

    def removed_share(self, kept: Widths) -> float:
        """The fraction of the dense model's count that is gone when `kept` is left."""
        return 1 - self.total(kept) / self.dense


@dataclass(frozen=True)
class ModelSize:
    """Sizes of a whole model in the units of `SizeTarget`: what a trial measures before quantizing.

    Attributes:
        params: parameters.
        weights_mib: of the stored weights.
        tflops: of one image and the prompt.
        memory_mib: of answering it, at most: with the dense model's activations. None where those
            are not counted.
    """

    params: int
    weights_mib: float
    tflops: float
    memory_mib: float | None


def model_size(shape: LanguageShape, kept: Widths, unpruned: Unpruned) -> ModelSize:
    """The sizes of the whole model, vision tower and projector included, whose layers are `kept`.

    Args:
        shape: sizes of the dense language model.
        kept: (KV groups, neurons) of every kept layer.
        unpruned: the rest of the model.
    """
    params = unpruned.params + shape.lm_params(kept)
    return ModelSize(
        params=params,
        weights_mib=params * unpruned.bytes_per_weight / MIB,
        tflops=flops(shape, unpruned).total(kept) / TERA,
        memory_mib=(
            None if unpruned.activations is None else memory(shape, unpruned).total(kept) / MIB
        ),
    )


@dataclass(frozen=True)
class Goal:
    """How much is to go: a share of what `cost` counts of the dense model.

    Attributes:
        share: fraction to remove, in (0, 1).
        cost: what is counted.
        asked: the target as the user wrote it, e.g. `ratio=0.3`.
        whole: what the share is a fraction of, in words.
        name: the setting's name.
        unit: of the setting, in what `cost` counts; 0 for a ratio.
        limit: the most that the student may count; None for a ratio, which is not a limit.
    """

    share: float
    cost: Cost
    asked: str
    whole: str = "language model"
    name: str = "ratio"
    unit: float = 0.0
    limit: float | None = None

    def reached_by(self, kept: Widths) -> bool:
        """Whether a student whose layers are `kept` is small enough."""
        if self.limit is None:
            return self.share <= self.cost.removed_share(kept)
        return self.cost.total(kept) <= self.limit

    def more(self, share: float) -> str:
        """Advice that reaches a removal of at least `share`."""
        if not self.unit:
            return f"raise ratio to at least {math.ceil(share * 1e4) / 1e4:.4f}"
        return f"lower {self.name} to at most {self._size(share, math.floor)}"

    def less(self, share: float) -> str:
        """Advice that asks for a removal of at most `share`."""
        if not self.unit:
            return f"lower ratio to at most {math.floor(share * 1e4) / 1e4:.4f}"
        return f"raise {self.name} to at least {self._size(share, math.ceil)}"

    def _size(self, share: float, whole: Callable[[float], int]) -> str:
        value = (1 - share) * self.cost.dense / self.unit
        digits = 1.0 if self.unit == 1 else 10.0 ** (3 - math.floor(math.log10(value)))
        return f"{whole(value * digits) / digits:.10g}"


def goal(shape: LanguageShape, spec: PruningSpec, unpruned: Unpruned) -> Goal:
    """The spec's ratio or size as a share to remove.

    Raises:
        ValueError: the size is that of the dense model or more.
    """
    if spec.size is None:
        return Goal(spec.ratio, parameters(shape), f"ratio={spec.ratio:g}")
    name, value, unit, cost = _size_target(shape, spec, unpruned)
    asked, limit = f"size.{name}={value:.10g}", _most(value, unit)
    if limit >= cost.dense:
        raise ValueError(
            f"{asked}, but the dense model has only {cost.dense / unit:.10g}, so there is nothing "
            f"to remove; lower size.{name}"
        )
    whole = {"tflops": "FLOPs", "memory_mib": "memory"}.get(name, "model")
    return Goal(1 - limit / cost.dense, cost, asked, whole, f"size.{name}", unit, limit)


def _most(value: float, unit: float) -> float:
    """The largest whole count that is at most `value` units; counts are whole, so that it is exact.

    A size that a student was found to have, given back as a target, has to admit that student.
    """
    count = math.floor(value * unit)  # the product may round across a whole number
    count += (count + 1) / unit <= value
    return count - (count / unit > value)


def part_of(
    shape: LanguageShape, spec: PruningSpec, unpruned: Unpruned, fraction: float
) -> PruningSpec:
    """The spec that removes `fraction` of what `spec` removes, in one step."""
    if spec.size is None:
        return spec.model_copy(update={"ratio": spec.ratio * fraction, "steps": 1})
    name, value, unit, cost = _size_target(shape, spec, unpruned)
    part = cost.dense / unit * (1 - fraction) + value * fraction
    size = SizeTarget.model_validate({name: round(part) if name == "params" else part})
    return spec.model_copy(update={"size": size, "steps": 1})


def achieved_size(
    shape: LanguageShape, spec: PruningSpec, unpruned: Unpruned, kept: Widths
) -> float | None:
    """What the student has of the unit that the size target names, as that counts; None without."""
    if spec.size is None:
        return None
    name, *_ = _size_target(shape, spec, unpruned)
    return float(getattr(model_size(shape, kept, unpruned), name))


def parameters(shape: LanguageShape, unpruned: int = 0) -> Cost:
    """Parameters of the language model, and `unpruned` besides."""
    return _linear(lambda kept: shape.lm_params(kept) + unpruned)


def flops(shape: LanguageShape, unpruned: Unpruned) -> Cost:
    """FLOPs of one forward pass of one image and the prompt, logits at every position."""
    tokens = unpruned.image_tokens + unpruned.prompt_tokens

    def total(kept: Widths | None) -> float:
        weights, channels = linear_weights(shape, kept), attention_channels(shape, kept)
        return unpruned.flops + 2 * weights * tokens + 4 * channels * tokens**2

    return _linear(total)


def memory(shape: LanguageShape, unpruned: Unpruned) -> Cost:
    """Bytes of answering one image and the prompt, with the activations of the dense model."""
    assert unpruned.activations is not None
    activations = unpruned.activations

    def total(kept: Widths | None) -> float:
        weights = (unpruned.params + shape.lm_params(kept)) * unpruned.bytes_per_weight
        return weights + kv_cache_bytes(shape, kept, unpruned) + activations

    return _linear(total)


def kv_cache_bytes(shape: LanguageShape, kept: Widths | None, unpruned: Unpruned) -> int:
    """Bytes of the keys and values when the last token is generated, which is not read again."""
    tokens = unpruned.image_tokens + unpruned.prompt_tokens + unpruned.new_tokens - 1
    groups = sum(groups for groups, _ in shape.widths(kept))
    return 2 * groups * shape.head_dim * tokens * unpruned.bytes_per_weight


def _linear(total: Callable[[Widths | None], float]) -> Cost:
    """The coefficients of a count that is linear in what is kept; None is the dense model."""
    fixed = total(())
    return Cost(
        fixed=fixed,
        layer=total(((0, 0),)) - fixed,
        kv_group=total(((1, 0),)) - total(((0, 0),)),
        neuron=total(((0, 1),)) - total(((0, 0),)),
        dense=total(None),
    )


def _size_target(
    shape: LanguageShape, spec: PruningSpec, unpruned: Unpruned
) -> tuple[str, float, float, Cost]:
    """(setting, asked value, its unit in what the cost counts, cost)."""
    assert spec.size is not None
    name, value = spec.size.target
    if name == "memory_mib":
        return name, value, MIB, memory(shape, unpruned)
    if name == "tflops":
        return name, value, TERA, flops(shape, unpruned)
    cost = parameters(shape, unpruned.params)
    return name, value, MIB / unpruned.bytes_per_weight if name == "weights_mib" else 1.0, cost
