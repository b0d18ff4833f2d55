"""How the language model is pruned."""

from typing import Literal, Self

from pydantic import Field, model_validator

from trainables.specs.base import Frozen, Method

Criterion = Literal["block_influence", "taylor", "magnitude", "activation", "random"]
Tokens = Literal["all", "text", "response", "image"]


class ImportanceSpec(Frozen):
    """How the importance of layers, heads and neurons is scored.

    Attributes:
        layers: what ranks layers; any but `block_influence` is the sum over a layer's groups.
        groups: what ranks heads and neurons.
        tokens: which tokens block influence and activation average over; padding never counts.
        distance: block influence as 1 - cos, or as the angle arccos(cos) / pi.
        last_output: of the last layer, for block influence: its own, or after the final norm.
        taylor: `batch` |w * g| with g the gradient of the mean loss over all samples; `per_sample`
            the mean of |w * g_x| over samples; `vectorize` |sum of w * g| over each row or column;
            `second_order` |-w * g + 1/2 w^2 * diagonal Fisher|.
        reduction: how the tensors of a group (q, k, v, o; gate, up, down) are put together, channel
            by channel; the channels of a head are added up.
        biases: whether biases count.
        samples: calibration conversations.
        batch_size: conversations per forward pass.
    """

    layers: Criterion = "block_influence"
    groups: Criterion = "taylor"
    tokens: Tokens = "all"
    distance: Literal["cosine", "angular"] = "cosine"
    last_output: Literal["own", "after_norm"] = "own"
    taylor: Literal["batch", "per_sample", "vectorize", "second_order"] = "batch"
    reduction: Literal["sum", "mean", "max"] = "sum"
    biases: bool = True
    samples: int = Field(64, ge=1)
    batch_size: int = Field(8, ge=1)

    @model_validator(mode="after")
    def _groups_have_no_influence(self) -> Self:
        if self.groups == "block_influence":
            raise ValueError(
                "groups='block_influence', but block influence scores whole layers; rank heads and "
                "neurons by taylor, magnitude, activation or random"
            )
        return self


class SizeTarget(Frozen):
    """How large the whole pruned model may be at most; exactly one of these is set.

    The student is the largest that its method can make so: one unit more (where widths are uniform,
    one in every layer that is cut) would be too much. Quantization comes later.

    Attributes:
        params: parameters, vision tower and projector included.
        weights_mib: weight memory at the stored type.
        tflops: FLOPs of one image and the prompt of `EfficiencySpec`.
        memory_mib: memory of answering that prompt, computed: weights, KV cache and activations.
            Activations are taken as the dense model's, which whole layers leave as they are; where
            width is pruned the student has a little less than that, and so stays below the target.
    """

    params: int | None = Field(None, ge=1)
    weights_mib: float | None = Field(None, gt=0)
    tflops: float | None = Field(None, gt=0)
    memory_mib: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        *names, last = type(self).model_fields
        given = list(self.model_dump(exclude_none=True))
        if len(given) != 1:
            raise ValueError(
                f"the size target sets {given or 'nothing'}, but must set exactly one of "
                f"{', '.join(names)} or {last}"
            )
        return self

    @property
    def target(self) -> tuple[str, float]:
        """(name, value) of the one that is set."""
        (only,) = self.model_dump(exclude_none=True).items()
        return only


class PruningSpec(Frozen):
    """How the language model is pruned; `ratio` is the fraction of its parameters to remove.

    The denominator is every parameter of the language model, embeddings and head included (tied
    ones once); vision tower and projector do not count.

    Attributes:
        method: whole layers, heads and neurons in every layer, or layers first and then width.
        ratio: how much to remove; the nearest reachable value is taken and recorded.
        size: how large the model may be, instead of a ratio, which then stays 0.
        importance: how importance is scored.
        preset: `study` reproduces the reference study's own rules (importance, protected layers,
            rounding, its four ratios) and ignores the settings below.
        units: what width pruning may remove; `auto` is heads and neurons where a stock config can
            express fewer heads, and neurons alone elsewhere.
        ranking: heads and neurons compete within their layer, or across all layers (per-layer
            widths, which no stock config can express).
        depth: remove the lowest layers one by one, or the contiguous block with the lowest sum.
        depth_share: `hybrid`: part of the ratio that the removed layers make up.
        protect_heads: first and last layers that keep all heads.
        protect_neurons: first and last layers that keep all neurons.
        neuron_multiple: kept neurons are a multiple of this (64 or 128 suit tensor cores).
        steps: prune in so many equal steps, scoring anew after each.
    """

    method: Method = "layerwise"
    ratio: float = Field(0.0, ge=0.0, lt=1.0)
    size: SizeTarget | None = None
    importance: ImportanceSpec = ImportanceSpec()
    preset: Literal["study"] | None = None
    units: Literal["auto", "all", "heads", "neurons"] = "auto"
    ranking: Literal["local", "global"] = "local"
    depth: Literal["greedy", "contiguous"] = "greedy"
    depth_share: float = Field(0.5, gt=0.0, lt=1.0)
    protect_heads: tuple[int, int] = (0, 0)
    protect_neurons: tuple[int, int] = (0, 0)
    neuron_multiple: int = Field(1, ge=1)
    steps: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if self.size is not None and self.ratio:
            raise ValueError(
                f"ratio={self.ratio:g} and a size are both set, but only one can be the target; "
                "leave one of them out"
            )
        if min(*self.protect_heads, *self.protect_neurons) < 0:
            raise ValueError("protect_heads and protect_neurons count layers, so none is negative")
        return self

    @property
    def prunes(self) -> bool:
        """Whether anything is to be removed."""
        return self.ratio > 0 or self.size is not None

    @property
    def bounds_memory(self) -> bool:
        """Whether the target counts activations, which takes a pass through the dense model."""
        return self.size is not None and self.size.memory_mib is not None

    @property
    def amount(self) -> str:
        """The target in short, e.g. `0.30` or `9216mib`; models of one amount are of one size."""
        if self.size is None:
            return f"{self.ratio:.2f}"
        unit, value = self.size.target
        return f"{value:g}{unit.removeprefix('weights_')}"
