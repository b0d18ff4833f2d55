"""The rates that are assumed where neither finished trials nor a probe tell."""

from sweeps.engine.plan.estimates import tflops_per_second, tokens_per_sample
from sweeps.engine.plan.rates import Known, Rates
from trainables.models.families.shape import LanguageShape
from trainables.models.work import attention_channels, linear_weights
from trainables.specs import DTYPE_BYTES, TrialSpec

WORD_SECONDS = 1.0 / 2.4e12  # per byte of the weights that a GPU reads for a generated token
ANSWER_WORDS = 5


def assumed_rates(spec: TrialSpec, shape: LanguageShape) -> Known:
    """What is assumed where nothing was measured: FLOPs at a device's usual rate, and overheads."""
    rate, where = tflops_per_second(spec.model.dtype)
    tokens = tokens_per_sample(spec)
    flops = 2 * linear_weights(shape) * tokens + 4 * attention_channels(shape) * tokens**2
    forward = flops / 1e12 / rate
    bytes_ = linear_weights(shape) * DTYPE_BYTES[spec.model.dtype]
    if spec.model.dtype == "float32":  # the embedded model's quickstart on one core
        rates = Rates(
            start={"load": 6.0, "recovery": 18.0, "search split": 9.0},
            importance={"layerwise": 4 * forward, "widthwise": 60 * forward},
            cache=2 * forward,
            recovery=(1.2, 0.0, 1 / rate),
            evaluation=(0.1, forward),
            preparing=0.4,
            latency=1.5,
        )
    else:
        words = ANSWER_WORDS * bytes_ * WORD_SECONDS / spec.evaluation.batch_size
        rates = Rates(
            start={"load": 30.0 + bytes_ / 1e9},
            importance={"layerwise": forward, "widthwise": 6 * forward},
            cache=forward,
            recovery=(20.0, 0.0, 1 / rate),
            evaluation=(10.0, 2 * forward + words + 0.01),
            preparing=10.0,
            latency=30.0,
        )
    return Known(rates, f"assumed, not measured: {rate:g} TFLOP/s of {where}")
