"""Estimates of a trial's work before anything has run: samples, tokens, FLOPs, and a device's rate.

Torch-free; the vision tower is left out, because it needs torch to count.
"""

import os
from collections.abc import Iterable, Sequence

from sweeps.engine.plan.at_hand import lengths_of
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.unpruned_parts import target_of
from trainables.embedded.sources import SOURCES
from trainables.models.families.registry import adapter_for, model_config
from trainables.models.families.shape import LanguageShape
from trainables.models.work import (
    RecoveryFlops,
    attention_channels,
    linear_weights,
    recovery_flops,
)
from trainables.recovery.data.conversations import ConversationData, subset_size
from trainables.recovery.data.lengths import SEED, Lengths
from trainables.recovery.teacher.blocks import blocks_of
from trainables.recovery.teacher.choice import TokenCounts
from trainables.specs import Dtype, TrialSpec

# Assumed training throughput where no record, probe or core tells: a bf16 data-centre GPU at 40 %
# utilisation of 990 TFLOP/s, and one CPU core in float32 with the smallest embedded model.
GPU_TFLOPS_PER_SECOND = 400.0
CPU_TFLOPS_PER_SECOND = 0.03
TEXT_TOKENS = 50  # a short question and answer, where the data is not at hand
ANSWER_TOKENS = 25
ANSWER_WORDS = 5  # generated tokens of an answer to a question
LLAVA_MIX = 665_298  # conversations in llava_v1_5_mix665k.json


def tflops_per_second(dtype: Dtype) -> tuple[float, str]:
    """Assumed rate of the device that computes in this type, and its name."""
    if dtype == "float32":
        return CPU_TFLOPS_PER_SECOND, "one CPU core"
    return GPU_TFLOPS_PER_SECOND, "a GPU"


def tokens_per_sample(spec: TrialSpec) -> float:
    """Tokens of a conversation: as a sample of the data has them, where it is at hand.

    Else of a short one about one image of the family's own size.
    """
    if (found := _counted(spec)) is not None:
        return found.mean
    return min(_image_tokens(spec) + TEXT_TOKENS, spec.data.max_tokens)


def prompt_tokens(spec: TrialSpec) -> int:
    """Of the prompt that efficiency figures are for."""
    return _image_tokens(spec) + spec.efficiency.prompt_tokens


def _image_tokens(spec: TrialSpec) -> int:
    config = model_config(spec.model)
    return adapter_for(config).natural_image(config).tokens


def token_counts(spec: TrialSpec, samples: int) -> TokenCounts:
    """Tokens of so many of them, the first ones of the data's order."""
    if (found := _counted(spec)) is not None:
        # Another seed has another order, of which only the mean is known.
        known = min(samples, len(found.all)) if spec.seeds.data == SEED else len(found.all)
        each = samples / known

        def whole(counts: Sequence[int]) -> float:
            return each * sum(counts[:known])

        return TokenCounts(
            samples=samples,
            all=whole(found.all),
            text=whole(found.text),
            response=whole(found.response),
            before_text=whole(found.before_text),
            either=whole(found.either),
        )
    return TokenCounts(
        samples=samples,
        all=tokens_per_sample(spec) * samples,
        text=TEXT_TOKENS * samples,
        response=ANSWER_TOKENS * samples,
    )


def is_taught(spec: TrialSpec) -> bool:
    """Whether the recovery asks a teacher."""
    return spec.recovery.scope != "none" and spec.recovery.loss.needs_teacher


def taught_samples(specs: Iterable[TrialSpec], seed_sets: int, conversations: int) -> int:
    """Samples that a teacher answers, at most all of the data; a cache is filled in blocks.

    Fractions of one data seed are nested, those of others are not.

    Args:
        specs: trials; those without a teacher do not count.
        seed_sets: sets of seeds that each of them runs with.
        conversations: in the data.
    """
    most: dict[int, int] = {}
    for spec in filter(is_taught, specs):
        used = subset_size(conversations, spec.recovery.data_fraction)
        _, end = blocks_of(used, conversations)[-1]
        most[spec.seeds.data] = max(most.get(spec.seeds.data, 0), end)
    return min(conversations, sum(most.values()) * seed_sets)


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


def answer_tokens(spec: TrialSpec) -> float:
    """Tokens of an answer: those of the conversations, where they are at hand."""
    found = _counted(spec)
    return ANSWER_WORDS if found is None else sum(found.response) / len(found.response)


def student_tflops(
    spec: TrialSpec, shape: LanguageShape, samples: float, tokens: float | None = None
) -> float:
    """What the student alone computes for so many samples.

    Each has so many tokens; None is `tokens_per_sample`.
    """
    each = tokens_per_sample(spec) if tokens is None else tokens
    flops = _flops(spec, shape).computed(each, 1, teacher=False)
    return samples * flops / 1e12


def forward_tflops(
    shape: LanguageShape, tokens: float, kept: Sequence[tuple[int, int]] | None = None
) -> float:
    """Of a forward pass over so many tokens of one sample; `kept` as `recovery_flops` has it."""
    weights, channels = linear_weights(shape, kept), attention_channels(shape, kept)
    return (2 * weights * tokens + 4 * channels * tokens**2) / 1e12


def kept_share(spec: TrialSpec, shape: LanguageShape) -> float:
    """What a forward pass of the trial's student costs, over that of the dense model."""
    if not spec.pruning.prunes:
        return 1.0
    tokens = tokens_per_sample(spec)
    kept = target_of(spec, shape).widths
    return forward_tflops(shape, tokens, kept) / forward_tflops(shape, tokens)


def conversations_of(sweep: SweepSpec, data: ConversationData | None) -> int:
    """How many there are: the embedded data's, or LLaVA-1.5's mix where no data is named yet."""
    if data is not None:
        return len(data.conversations)
    source = SOURCES.get(sweep.trial.model.path)
    return source.conversations if source else LLAVA_MIX


def _counted(spec: TrialSpec) -> Lengths | None:
    """Lengths of the data's samples; None where they are not at hand, or were refused.

    A sweep whose data has gone since still has a status.
    """
    try:
        return lengths_of(spec.model, spec.data)
    except ValueError:
        return None


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
