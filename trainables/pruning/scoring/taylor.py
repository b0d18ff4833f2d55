"""Taylor importance of heads and neurons: what the loss is expected to lose with a weight.

With g = dL/dw of the mean cross-entropy L over all response tokens of the calibration set, and g_x
that of the mean over sample x alone (N samples), a weight's importance is

    batch         |w * g|                              LLM-Pruner (its `param_first`), arXiv
                                                       2305.11627, and the study's code
    per_sample    1/N sum_x |w * g_x|                  the study's Eq. 5, arXiv 2507.20749
    vectorize     |sum of w * g| over a row or column  LLM-Pruner
    second_order  |-w * g + 1/2 w^2 F|,  F = 1/N sum_x g_x^2

The last is the second-order expansion of L(w = 0) - L(w) with the Hessian's diagonal replaced by
the diagonal F of the empirical Fisher information (Optimal Brain Damage, LeCun et al. 1990;
LLM-Pruner Eq. 5, where F is a sum instead of a mean). `groups` says how a group's weights are put
together. Taking the absolute value first keeps weights from cancelling each other.

Gradients are never left to autograd's `.grad`: the gradient of a linear's weight is the product of
its output's gradient and its input, which is made in float32 whatever the model's type, per sample
where needed, one weight at a time, and folded into float64 group sums. `layer_stream` says why a
layer's gradient over all batches is complete before the next layer's is begun. The loss is a sum
and divided at the end, so that small gradients do not vanish in float16. Vision tower, projector,
embeddings and head get no gradient.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from trainables.models.families.adapter import VLMAdapter
from trainables.pruning.planning.methods import criterion_settings
from trainables.pruning.planning.scores import ImportanceScores, ScoreMetadata
from trainables.pruning.scoring.calibration import (
    Combine,
    alone,
    check_batches,
    response_counts,
    totals,
)
from trainables.pruning.scoring.groups import (
    GroupedLinear,
    GroupSums,
    grouped_linears,
    stack_rows,
)
from trainables.pruning.scoring.layer_stream import (
    Trace,
    decoder_layers,
    listening,
    trace,
    without_parameter_gradients,
)
from trainables.specs import ImportanceSpec


def score_taylor(
    model: PreTrainedModel,
    adapter: VLMAdapter,
    batches: Sequence[Mapping[str, Tensor]],
    spec: ImportanceSpec = ImportanceSpec(),  # noqa: B008 - frozen
    combine: Combine = alone,
) -> ImportanceScores:
    """Taylor importance of every KV group and neuron from one pass over the calibration data.

    The arguments are those of `score_importance`; of the spec `taylor`, `reduction` and `biases`
    are read.

    Returns:
        Scores with `heads` [layers, kv_groups] and `neurons` [layers, intermediate], float32, >= 0;
        zeros stand behind the units of a layer that has fewer than others.

    Raises:
        ValueError: if the calibration data hold no image or no response token (for `per_sample`
            and `second_order`: one sample has none), or a layer's gradients are NaN or all zero.
    """
    check_batches(batches)
    counts = [response_counts(batch) for batch in batches]
    tokens, samples, passes = totals(
        [sum(int(c.sum()) for c in counts), sum(len(c) for c in counts), len(batches)],
        combine,
        model.device,
    )
    if tokens == 0:
        raise ValueError(
            "the calibration data hold no response token, so there is no gradient; give "
            "conversations with answers, or raise data.max_tokens if it cuts them off"
        )
    apart = spec.taylor in ("per_sample", "second_order")
    if apart and not all(bool(count.all()) for count in counts):
        raise ValueError(
            f"a calibration sample holds no response token, but taylor={spec.taylor!r} needs a "
            "gradient of each; leave the sample out, or use taylor='batch'"
        )
    shape = adapter.language_shape(model.config.to_dict())
    layers = decoder_layers(model, adapter)
    heads, neurons = [], []
    with without_parameter_gradients(model):
        traces = [
            trace(model, adapter, batch, number)
            for number, (batch, count) in enumerate(zip(batches, counts, strict=True))
            if count.any()
        ]
        for index in reversed(range(len(layers))):
            own = adapter.layer_shape(layers[index], shape)
            sums = GroupSums(own, model.device)
            gradients = [
                _LinearGradients(linear, sums, spec, tokens, samples)
                for linear in grouped_linears(layers[index], adapter, own)
            ]
            _differentiate(layers[index], gradients, traces)
            _check_gradients(gradients, index, combine)
            for one in gradients:
                one.fold(combine)
            if spec.taylor == "per_sample":
                for table in sums.tables.values():
                    combine(table)
            head, neuron = sums.scores(spec.reduction)
            _check_scores((head, neuron), index)
            heads.append(head)
            neurons.append(neuron)
    return ImportanceScores(
        metadata=ScoreMetadata(
            method="widthwise",
            samples=samples,
            tokens=tokens,
            batches=passes,
            settings=criterion_settings("taylor", spec),
        ),
        heads=stack_rows(heads[::-1]),
        neurons=stack_rows(neurons[::-1]),
    )


class _LinearGradients:
    """Gathers the gradients of one linear over all batches, and folds them into group sums."""

    def __init__(
        self,
        linear: GroupedLinear,
        sums: GroupSums,
        spec: ImportanceSpec,
        tokens: int,
        samples: int,
    ) -> None:
        self.linear, self.group_sums, self.mode = linear, sums, spec.taylor
        self.tokens, self.samples = tokens, samples
        self.parameters = linear.parameters(spec.biases)
        self.counts = torch.empty(0)  # response tokens per sample of the batch at work
        # One entry per parameter, float32 like it: sum of gradients, and (second order) of squares.
        self.first: list[Tensor | None] = [None] * len(self.parameters)
        self.square: list[Tensor | None] = [None] * len(self.parameters)
        self.largest = torch.zeros((), device=linear.module.weight.device)

    def add(self, inputs: Tensor, upstream: Tensor) -> None:
        """Take in a batch: the linear's input [B, T, in], its output's gradient [B, T, out]."""
        # Zero where the gradient is, and much smaller to look through.
        self.largest = torch.maximum(self.largest, _largest(inputs) * _largest(upstream))
        if self.mode in ("batch", "vectorize"):
            for index in range(len(self.parameters)):
                self._add(self.first, index, _gradient(index, inputs, upstream))
            return
        for row, count in enumerate(self.counts.tolist()):
            for index, parameter in enumerate(self.parameters):
                gradient = _gradient(index, inputs[row], upstream[row])
                if self.mode == "per_sample":
                    value = gradient.mul_(parameter).abs_()
                    self.group_sums.add(self.linear, value, 1 / (count * self.samples))
                else:
                    self._add(self.square, index, (gradient / count).square_())
                    self._add(self.first, index, gradient)

    def fold(self, combine: Combine) -> None:
        """Turn the gathered gradients into group sums, and free them."""
        if self.mode == "per_sample":
            return
        for index, parameter in enumerate(self.parameters):
            value = self._total(self.first, index, combine).mul_(parameter)
            if self.mode == "second_order":
                fisher = self._total(self.square, index, combine).mul_(parameter).mul_(parameter)
                value.mul_(-1).add_(fisher, alpha=0.5 * self.tokens / self.samples)
            if self.mode != "vectorize":
                value.abs_()
            self.group_sums.add(self.linear, value, 1 / self.tokens)

    @staticmethod
    def _add(sums: list[Tensor | None], index: int, value: Tensor) -> None:
        before = sums[index]
        sums[index] = value if before is None else before.add_(value)

    def _total(self, sums: list[Tensor | None], index: int, combine: Combine) -> Tensor:
        value, sums[index] = sums[index], None
        if value is None:  # a worker without batches of its own
            value = torch.zeros_like(self.parameters[index], dtype=torch.float32)
        combine(value)
        return value


def _gradient(index: int, inputs: Tensor, upstream: Tensor) -> Tensor:
    """Gradient of the weight (0), or [out] of the bias (1): a sum over all tokens, in float32."""
    if index == 0:
        return weight_gradient(inputs, upstream)
    return upstream.flatten(0, -2).sum(dim=0, dtype=torch.float32)


def _largest(tensor: Tensor) -> Tensor:
    largest: Tensor = torch.linalg.vector_norm(tensor, ord=float("inf"), dtype=torch.float32)
    return largest


def weight_gradient(inputs: Tensor, upstream: Tensor) -> Tensor:
    """Gradient [out, in] of a linear's weight: a product over all tokens, in float32."""
    return upstream.flatten(0, -2).float().T @ inputs.flatten(0, -2).float()


def _differentiate(
    layer: nn.Module, gradients: Sequence[_LinearGradients], traces: Sequence[Trace]
) -> None:
    """Take every batch one layer back, and hand the linears' gradients on as they are made."""

    def receive(index: int, inputs: Tensor, upstream: Tensor) -> None:
        gradients[index].add(inputs, upstream)

    with listening([one.linear.module for one in gradients], receive):
        for passed in traces:
            for one in gradients:
                one.counts = passed.counts
            passed.step_back(layer)


def _check_gradients(gradients: Sequence[_LinearGradients], layer: int, combine: Combine) -> None:
    magnitudes = torch.stack([one.largest for one in gradients])
    combine(magnitudes)
    if not magnitudes.any():
        raise ValueError(
            f"the gradients of layer {layer} are all zero, so nothing can be ranked; check that "
            "the weights behind it are not zero, or score in float32 or bfloat16"
        )


def _check_scores(scores: Sequence[Tensor], layer: int) -> None:
    if not all(bool(torch.isfinite(one).all()) for one in scores):
        raise ValueError(
            f"the gradients of layer {layer} are NaN or infinite, so nothing can be ranked; check "
            "the calibration data, or score in float32 or bfloat16"
        )
