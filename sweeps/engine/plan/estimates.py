"""Estimates of a trial's work before anything has run: samples, tokens, FLOPs, and a device's rate.

Torch-free; the vision tower is left out, because it needs torch to count.
"""

import os
from collections.abc import Iterable

from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.unpruned_parts import target_of
from trainables.embedded.sources import SOURCES
from trainables.models.families.registry import adapter_for, model_config
from trainables.models.families.shape import LanguageShape
from trainables.models.work import RecoveryFlops, recovery_flops
from trainables.recovery.data.conversations import ConversationData
from trainables.recovery.teacher.choice import TokenCounts
from trainables.specs import Dtype, TrialSpec

# Assumed training throughput where no record tells: a bf16 data-centre GPU at 40 % utilisation of
# 990 TFLOP/s, and one CPU core in float32 (the embedded model, at the tokens counted below).
GPU_TFLOPS_PER_SECOND = 400.0
CPU_TFLOPS_PER_SECOND = 0.08
TEXT_TOKENS = 50  # a short question and answer, where the data is not at hand
ANSWER_TOKENS = 25
LLAVA_MIX = 665_298  # conversations in llava_v1_5_mix665k.json


def tflops_per_second(dtype: Dtype) -> tuple[float, str]:
    """Assumed rate of the device that computes in this type, and its name."""
    if dtype == "float32":
        return CPU_TFLOPS_PER_SECOND, "one CPU core"
    return GPU_TFLOPS_PER_SECOND, "a GPU"


def tokens_per_sample(spec: TrialSpec) -> int:
    """Tokens of a short conversation about one image of the family's own size."""
    config = model_config(spec.model)
    image = adapter_for(config).natural_image(config).tokens
    return min(image + TEXT_TOKENS, spec.data.max_tokens)


def token_counts(spec: TrialSpec, samples: int) -> TokenCounts:
    """Tokens of so many of them."""
    return TokenCounts(
        samples=samples,
        all=tokens_per_sample(spec) * samples,
        text=TEXT_TOKENS * samples,
        response=ANSWER_TOKENS * samples,
    )


def is_taught(spec: TrialSpec) -> bool:
    """Whether the recovery asks a teacher."""
    return spec.recovery.scope != "none" and spec.recovery.loss.needs_teacher


def taught_share(specs: Iterable[TrialSpec], seed_sets: int) -> float:
    """The share of the data that a teacher answers, at most all of it.

    Fractions of one data seed are nested, those of others are not.

    Args:
        specs: trials; those without a teacher do not count.
        seed_sets: sets of seeds that each of them runs with.
    """
    most: dict[int, float] = {}
    for spec in filter(is_taught, specs):
        seed = spec.seeds.data
        most[seed] = max(most.get(seed, 0.0), spec.recovery.data_fraction)
    return min(1.0, sum(most.values()) * seed_sets)


def trained_samples(spec: TrialSpec, shape: LanguageShape, conversations: int) -> float:
    """Samples that the recovery passes through, over all of its epochs."""
    recovery, budget = spec.recovery, spec.recovery.budget
    if recovery.scope == "none":
        return 0.0
    if budget.tflops is not None:
        return budget.tflops / _sample_tflops(spec, shape)
    if budget.tokens is not None:
        return budget.tokens / tokens_per_sample(spec)
    if budget.steps is not None:
        return float(budget.steps * recovery.batch_size)
    return (budget.epochs or 1.0) * recovery.data_fraction * conversations


def recovery_tflops(spec: TrialSpec, shape: LanguageShape, conversations: int) -> float:
    """Nominal cost of the recovery."""
    if spec.recovery.scope == "none":
        return 0.0
    return _sample_tflops(spec, shape) * trained_samples(spec, shape, conversations)


def student_tflops(spec: TrialSpec, shape: LanguageShape, samples: float) -> float:
    """What the student alone computes for so many samples."""
    flops = _flops(spec, shape).computed(tokens_per_sample(spec), 1, teacher=False)
    return samples * flops / 1e12


def conversations_of(sweep: SweepSpec, data: ConversationData | None) -> int:
    """How many there are: the embedded data's, or LLaVA-1.5's mix where no data is named yet."""
    if data is not None:
        return len(data.conversations)
    source = SOURCES.get(sweep.trial.model.path)
    return source.conversations if source else LLAVA_MIX


def _sample_tflops(spec: TrialSpec, shape: LanguageShape) -> float:
    return _flops(spec, shape).per_sample(tokens_per_sample(spec)) / 1e12


def _flops(spec: TrialSpec, shape: LanguageShape) -> RecoveryFlops:
    kept = target_of(spec, shape).widths
    return recovery_flops(shape, kept, spec.recovery, vision_flops=0.0, projector_flops=0.0)


def local_slots(sweep: SweepSpec) -> int:
    """Slots that this machine would give without GPUs; for `plan`, which starts no Ray."""
    if sweep.resources.slots:
        return sweep.resources.slots
    each = sweep.resources.cpus_per_slot * sweep.trial.workers
    return max(1, int(cpu_count() / each))


def cpu_count() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
