"""The reference study's own rules, as settings that any spec may have; torch-free.

*Pruning.* What its ratios stand for is in `study_widths`. Facts of its code, not of its paper:
groups are ranked by |w * g|, the absolute value taken before the sum over a group, with g the
gradient of one backward pass of the mean loss over 10 samples; weights alone count, biases do not.
Layers are ranked by 1 - cos over all tokens (image, prompt and response) of 50 samples, where the
last layer's output is taken after the final norm. It sums where the scores here are means, which is
the same ranking. Attention is pruned in layers 3 to 30 of 32 (0-based) and MLPs in layers 4 to 29,
within each layer. What is not reproduced: it scores layers in float16, where products of norms
overflow, and heads and neurons on samples of at most 128 text tokens (Bunny: 64).

*Recovery.* With a the mixing weight, 0.5 (1 for distillation alone), B the samples of a batch and
tau = 2, its code trains on

    a * (tau^2 / B * sum of KL or reverse KL over all positions + mean of (h - h_teacher)^2)
        + (1 - a) * mean of CE over response tokens

with h the last hidden state after the final norm, unnormalised; any of the terms may be missing.
What is not reproduced: its padding counts among the positions, its cross-entropy is averaged per
micro-batch, its teacher runs in train mode and for two families sees the student's projector, its
schedule for Bunny is linear.
"""

from typing import Any

from trainables.specs import ImportanceSpec, LossSpec, PruningSpec, RecoverySpec

STUDY_SAMPLES = {"layerwise": 50, "widthwise": 10, "hybrid": 10}
STUDY_WEIGHT = 0.5
PLANNING: dict[str, Any] = {
    "units": "all",
    "ranking": "local",
    "depth": "greedy",
    "protect_heads": (3, 1),
    "protect_neurons": (4, 2),
    "neuron_multiple": 1,
    "steps": 1,
}


def effective_pruning(pruning: PruningSpec) -> PruningSpec:
    """The spec with the settings in force: the preset's where there is one."""
    if pruning.preset is None:
        return pruning
    importance = study_importance(pruning.importance, STUDY_SAMPLES[pruning.method])
    return pruning.model_copy(update={"importance": importance, **PLANNING})


def study_importance(given: ImportanceSpec, samples: int) -> ImportanceSpec:
    """The study's settings; of `given` only the batch size counts, which changes no score."""
    return ImportanceSpec(
        layers="block_influence",
        groups="taylor",
        tokens="all",
        distance="cosine",
        last_output="after_norm",
        taylor="batch",
        reduction="sum",
        biases=False,
        samples=samples,
        batch_size=min(given.batch_size, samples),
    )


# By family: what its training scripts set, or leave at their own default or the library's.
STUDY_TRAINING: dict[str, dict[str, float]] = {
    "llava-llama": {"lora_rank": 128, "learning_rate": 2e-5},
    "llava-phi": {"lora_rank": 64, "lora_alpha": 16, "learning_rate": 5e-5, "warmup_fraction": 0.0},
    "internvl-phi3": {"lora_rank": 16, "learning_rate": 4e-5, "weight_decay": 0.05},
}


def study_loss(loss: LossSpec) -> LossSpec:
    """The study's loss of the same terms.

    Raises:
        ValueError: it has no such term.
    """
    if strange := set(loss.weights) - {"ce", "kl", "reverse_kl", "l2"}:
        raise ValueError(
            f"the study has no loss term {', '.join(sorted(strange))}; its terms are ce, kl, "
            "reverse_kl and l2. Take these, or leave recovery.preset out"
        )
    weight = STUDY_WEIGHT if len(loss.weights) > 1 else 1.0
    weights = {name: weight for name in ("alpha", "beta", "gamma") if getattr(loss, name)}
    return LossSpec(
        **{"alpha": 0.0, **weights},
        logits=loss.logits,
        temperature=2.0,
        logits_tokens="all",
        logits_per="sample",
        hidden="l2",
        hidden_layers=1,
        hidden_tokens="all",
        normalize="none",
    )


def study_recovery(given: RecoverySpec, family: str) -> RecoverySpec:
    """The study's recovery of a model of a family (`VLMAdapter.name`).

    Of `given` the scope, the terms of the loss, data, budget, batching and how the work is done
    count.

    Raises:
        ValueError: the study has no such family, or no such loss term.
    """
    if family not in STUDY_TRAINING:
        raise ValueError(
            f"recovery.preset='study' is for {', '.join(STUDY_TRAINING)}, but the model is a "
            f"{family}; set learning rate and LoRA yourself, and leave the preset out"
        )
    settings: dict[str, Any] = {
        "preset": None,  # what it stands for is said
        "loss": study_loss(given.loss),
        "lora_alpha": None,  # twice the rank, but for Bunny
        "lora_dropout": 0.05,
        "lora_targets": None,
        "warmup_fraction": 0.03,
        "weight_decay": 0.0,
        "clip_norm": 1.0,
        "spike_factor": None,
        **STUDY_TRAINING[family],
    }
    return RecoverySpec.model_validate({**dict(given), **settings})
