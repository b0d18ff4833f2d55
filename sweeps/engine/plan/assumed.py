"""The rates that are taken where neither finished trials nor a probe tell."""

import shutil

from sweeps.engine.plan.at_hand import speed_of
from sweeps.engine.plan.estimates import (
    ANSWER_WORDS,
    answer_tokens,
    forward_tflops,
    prompt_tokens,
    tflops_per_second,
    tokens_per_sample,
)
from sweeps.engine.plan.rates import Known, Rates
from trainables.models.families.shape import LanguageShape
from trainables.models.work import linear_weights
from trainables.specs import DTYPE_BYTES, TrialSpec

WORD_SECONDS = 1.0 / 2.4e12  # per byte of the weights that a GPU reads for a generated token
TRIED_TOKENS = 2048  # of a micro-batch, at most
SCORING_SECONDS = 0.1  # of lmms-eval, besides the answers
CLOSING_SECONDS = 1.5  # of a closed trial, as the smallest embedded model shows


def tried_rates(spec: TrialSpec, shape: LanguageShape) -> Known | None:
    """What a core of this machine shows with layers like the model's; None where a GPU would run.

    Some seconds for the first plan of a model on a machine.
    """
    if spec.model.dtype != "float32" or shutil.which("nvidia-smi") is not None:
        return None
    tokens = max(1, round(tokens_per_sample(spec)))
    samples = min(spec.recovery.micro_batch_size, max(1, TRIED_TOKENS // tokens))
    speed = speed_of(spec.model, samples, tokens)
    if speed is None:
        return None
    sample = forward_tflops(shape, tokens_per_sample(spec))
    forward = sample / speed.forward
    word = 2 * linear_weights(shape) / 1e12 / speed.answering
    words = answer_tokens(spec) * word
    prompt = forward_tflops(shape, prompt_tokens(spec)) / speed.forward
    rates = Rates(
        # Gradients of weights and of activations each cost a forward pass.
        importance={
            "layerwise": forward,
            "widthwise": 3 * sample / speed.training,
        },
        cache=forward,
        recovery=(1.2, 0.0, 1 / speed.training),
        comparison=forward,
        evaluation=(SCORING_SECONDS, forward + words),
        latency=CLOSING_SECONDS + _latency_seconds(spec, prompt, word),
    )
    return Known(rates, f"tried on this machine: {1000 * speed.training:.3g} GFLOP/s of one core")


def assumed_rates(spec: TrialSpec, shape: LanguageShape) -> Known:
    """What is assumed where nothing was measured: FLOPs at a device's usual rate, and overheads."""
    rate, where = tflops_per_second(spec.model.dtype)
    forward = forward_tflops(shape, tokens_per_sample(spec)) / rate
    bytes_ = linear_weights(shape) * DTYPE_BYTES[spec.model.dtype]
    if spec.model.dtype == "float32":  # the embedded model's quickstart on one core
        rates = Rates(
            start={"load": 6.0, "recovery": 18.0, "search split": 9.0},
            importance={"layerwise": 4 * forward, "widthwise": 60 * forward},
            cache=2 * forward,
            recovery=(1.2, 0.0, 1 / rate),
            comparison=3 * forward,
            evaluation=(SCORING_SECONDS, 1.5 * forward),
            preparing=0.4,
            latency=CLOSING_SECONDS,
        )
    else:
        words = ANSWER_WORDS * bytes_ * WORD_SECONDS / spec.evaluation.batch_size
        rates = Rates(
            start={"load": 30.0 + bytes_ / 1e9},
            importance={"layerwise": forward, "widthwise": 6 * forward},
            cache=forward,
            recovery=(20.0, 0.0, 1 / rate),
            comparison=forward,
            evaluation=(10.0, 2 * forward + words + 0.01),
            preparing=10.0,
            latency=30.0,
        )
    return Known(rates, f"assumed, not measured: {rate:g} TFLOP/s of {where}")


def _latency_seconds(spec: TrialSpec, prompt: float, word: float) -> float:
    """Of measuring the student and the dense model beside it, by what a prompt and a word take."""
    settings = spec.efficiency
    return 2 * settings.latency_runs * (prompt + (settings.new_tokens - 1) * word)
