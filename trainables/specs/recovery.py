"""How the pruned student is trained."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from trainables.specs.base import Frozen, Scope
from trainables.specs.losses import LossSpec
from trainables.specs.model_and_data import ModelSpec

DEFAULT_LEARNING_RATE: dict[str, float] = {"projector": 1e-3, "joint": 2e-4, "full": 2e-5}
# (first, last, power): from `last` steps on a default is as it is, down to `first` it is multiplied
# by (steps / last) ** power, and no further. Few steps of the projector make a student worse that
# lost little; few steps of a LoRA, whose update begins at zero, bring little back at a rate for
# many (`sweeps/sensitivity.py` and `sweeps/realistic_sensitivity.py` say how much).
SHORT_TRAINING: dict[str, tuple[int, int, int]] = {
    "projector": (10, 100, 1),
    "joint": (100, 500, -1),
}


class TeacherSpec(Frozen):
    """Where the distillation's targets come from.

    Attributes:
        model: the teacher; None is the dense model that was pruned.
        mode: run it in every step (`online`), or once, its answers kept in the store (`cached`);
            `auto` chooses by size and by how many trials will use them.
        form: what is kept: final hidden states, which serve every mixture, or the `top_k` largest
            log-probabilities of each token, which serve the logits term alone.
        top_k: how many.
        dtype: of what is kept; `auto` is the type in which the teacher computes.
        quantize: weights of the teacher's linears in int8.
        max_cache_gib: the cache may not grow beyond this.
    """

    model: ModelSpec | None = None
    mode: Literal["auto", "online", "cached"] = "auto"
    form: Literal["hidden", "top_k"] = "hidden"
    top_k: int = Field(64, ge=1)
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    quantize: Literal["none", "int8"] = "none"
    max_cache_gib: float = Field(200.0, gt=0.0)


class Budget(Frozen):
    """Length of the recovery: exactly one of the four is set; the record holds all four.

    Attributes:
        epochs: passes over the trial's share of the data.
        steps: optimizer steps.
        tokens: trained tokens, image tokens included, padding not.
        tflops: nominal cost, the teacher included, as if nothing were cached.
    """

    epochs: float | None = Field(None, gt=0)
    steps: int | None = Field(None, ge=1)
    tokens: int | None = Field(None, ge=1)
    tflops: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [k for k in ("epochs", "steps", "tokens", "tflops") if getattr(self, k) is not None]
        if len(given) != 1:
            raise ValueError(
                f"the recovery budget sets {given or 'nothing'}, but must set exactly one of "
                "epochs, steps, tokens or tflops"
            )
        return self


class RecoverySpec(Frozen):
    """Recovery training of the pruned student.

    Attributes:
        preset: `study` is the reference study's recipe for a model of this family: the units and
            weights of its loss terms, temperature, LoRA, rate and clipping. It takes the place of
            what is set of these before a sweep's space varies them.
        scope: what is trained: nothing; the projector; projector and LoRA on the LM's linears
            (`joint`); or projector and the whole LM (`full`). The vision tower is always frozen.
        loss: the loss mixture.
        teacher: where the targets of the distillation come from.
        data_fraction: share of the training conversations; subsets of one seed are nested.
        budget: length of the training.
        learning_rate: peak rate; None takes the default of the scope, and of the projector's alone
            fewer than 100 steps take their share: a tenth in ten steps.
        learning_rate_scale: the peak rate is taken times this, which a sweep may search.
        lora_rank: rank r of the LoRA update (scope `joint` only).
        lora_alpha: LoRA scale numerator; None takes 2 * rank.
        lora_dropout: dropout in front of the LoRA update.
        lora_targets: last names of the linears that get LoRA, e.g. ("q_proj", "v_proj"); None is
            every linear of the decoder layers.
        batch_size: samples per optimizer step over all workers.
        micro_batch_size: most samples per forward pass of one worker.
        max_tokens_per_step: most tokens per forward pass of one worker, padding included; samples
            of similar length then share a pass, and `micro_batch_size` does not hold.
        length_groups: batches whose samples are sorted by length together, so that a batch holds
            samples of similar length; 1 leaves the order random.
        warmup_fraction: share of the steps with a linearly rising rate, before a cosine decay;
            unless it is 0 at least five steps, or a quarter of fewer than twenty.
        weight_decay: AdamW's decoupled decay.
        clip_norm: gradient norm above which a step is clipped; None never clips.
        spike_factor: a step whose loss exceeds this multiple of the median of the last 50 is
            skipped; one that is not finite always is. None skips no spike.
        zero_stage: DeepSpeed ZeRO stage.
        gradient_checkpointing: recompute activations in the backward pass; `auto` where they would
            not fit.
        checkpoint_every_steps: cadence of resumable checkpoints; None keeps none.
    """

    preset: Literal["study"] | None = None
    scope: Scope = "none"
    loss: LossSpec = LossSpec()
    teacher: TeacherSpec = TeacherSpec()
    data_fraction: float = Field(0.05, gt=0.0, le=1.0)
    budget: Budget = Budget(epochs=1)
    learning_rate: float | None = Field(None, gt=0.0)
    learning_rate_scale: float = Field(1.0, gt=0.0)
    lora_rank: int = Field(16, ge=1)
    lora_alpha: float | None = Field(None, gt=0.0)
    lora_dropout: float = Field(0.0, ge=0.0, lt=1.0)
    lora_targets: tuple[str, ...] | None = None
    batch_size: int = Field(16, ge=1)
    micro_batch_size: int = Field(16, ge=1)
    max_tokens_per_step: int | None = Field(None, ge=1)
    length_groups: int = Field(1, ge=1)
    warmup_fraction: float = Field(0.03, ge=0.0, lt=1.0)
    weight_decay: float = Field(0.0, ge=0.0)
    clip_norm: float | None = Field(None, gt=0.0)
    spike_factor: float | None = Field(10.0, gt=1.0)
    zero_stage: Literal[1, 2, 3] = 2
    gradient_checkpointing: Literal["auto", "on", "off"] = "auto"
    checkpoint_every_steps: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _top_k_has_no_states(self) -> Self:
        if self.teacher.form == "top_k" and self.loss.gamma:
            raise ValueError(
                "teacher.form='top_k' keeps log-probabilities alone, but the hidden term (gamma="
                f"{self.loss.gamma:g}) needs hidden states; set gamma=0 or form='hidden'"
            )
        if self.teacher.form == "top_k" and self.teacher.mode == "online":
            raise ValueError(
                "teacher.form='top_k' is a form of the cache, but mode='online' keeps none; drop "
                "one of them"
            )
        return self

    @property
    def resolved_learning_rate(self) -> float | None:
        """The peak rate of a training that is not short; None when nothing is trained."""
        if self.scope == "none":
            return None
        base = self.learning_rate or DEFAULT_LEARNING_RATE[self.scope]
        return base * self.learning_rate_scale

    def peak_learning_rate(self, steps: int) -> float | None:
        """The peak rate of a training of so many steps, which a rate that is given does not ask."""
        rate = self.resolved_learning_rate
        if rate is None or self.learning_rate is not None or self.scope not in SHORT_TRAINING:
            return rate
        first, last, power = SHORT_TRAINING[self.scope]
        return rate * (min(max(steps, first), last) / last) ** power

    def canonical(self) -> dict[str, Any]:
        """The settings that influence the outcome: defaults resolved, idle ones left out."""
        if self.scope == "none":
            return {"scope": "none"}
        # How the work is done decides nothing of what comes out; the teacher follows below.
        practical = {"preset", "teacher", "gradient_checkpointing", "checkpoint_every_steps"}
        settings = self.model_dump(mode="json", exclude=practical)
        settings["learning_rate"] = self.resolved_learning_rate
        del settings["learning_rate_scale"]
        settings["lora_alpha"] = self.lora_alpha or 2.0 * self.lora_rank
        if self.scope != "joint":
            for name in ("lora_rank", "lora_alpha", "lora_dropout", "lora_targets"):
                del settings[name]
        for name in self.loss.idle:
            del settings["loss"][name]
        if self.loss.needs_teacher:
            teacher = self.teacher.model_dump(mode="json", exclude={"mode", "max_cache_gib"})
            if self.teacher.form != "top_k":
                del teacher["top_k"]
            settings["teacher"] = teacher
        return settings
