"""What a pruning target counts: parameters of the language model, or a size of the whole model.

Either is linear in what is kept, so that one arithmetic serves both:

    total = fixed + sum over kept layers of (layer + kv_group * groups + neuron * neurons)

Torch-free. Parameters of the language model: embeddings, head and final norm are fixed. A size of
the whole model has the vision tower and the projector besides (`Unpruned`).
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
    """

    share: float
    cost: Cost
    asked: str
    whole: str = "language model"
    name: str = "ratio"
    unit: float = 0.0

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
    asked = f"size.{name}={value:.10g}"
    if value * unit >= cost.dense:
        raise ValueError(
            f"{asked}, but the dense model has only {cost.dense / unit:.10g}, so there is nothing "
            f"to remove; lower size.{name}"
        )
    whole = "FLOPs" if name == "tflops" else "model"
    return Goal(1 - value * unit / cost.dense, cost, asked, whole, f"size.{name}", unit)


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
    """What the student has of the unit that the spec's size target names; None without one."""
    if spec.size is None:
        return None
    _, _, unit, cost = _size_target(shape, spec, unpruned)
    return cost.total(kept) / unit


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
    size = spec.size
    assert size is not None
    if size.tflops is not None:
        return "tflops", size.tflops, TERA, flops(shape, unpruned)
    cost = parameters(shape, unpruned.params)
    if size.weights_mib is not None:
        return "weights_mib", size.weights_mib, MIB / unpruned.bytes_per_weight, cost
    assert size.params is not None
    return "params", size.params, 1.0, cost
