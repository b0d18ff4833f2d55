"""What a trial is asked to do: frozen, torch-free values that round-trip through JSON."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Method = Literal["layerwise", "widthwise", "hybrid"]
Criterion = Literal["block_influence", "taylor", "magnitude", "activation", "random"]
Tokens = Literal["all", "text", "response", "image"]
Scope = Literal["none", "projector", "joint"]
Split = Literal["search", "report"]
LogitsLoss = Literal["kl", "reverse_kl"]
Origin = Literal["designed", "prior", "sampler", "reference"]

DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
DEFAULT_LEARNING_RATE: dict[str, float] = {"projector": 1e-3, "joint": 2e-4}


class Frozen(BaseModel):
    """Base of every spec and record: immutable, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ModelSpec(Frozen):
    """Which dense model is compressed.

    `path` is a name of the model registry (`tiny`), a folder with a checkpoint in the Hugging Face
    layout, or a hub id. `dtype` is that of the stored student; the CPU path computes in float32.
    """

    path: str = "tiny"
    revision: str | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    trust_remote_code: bool = False


class DataSpec(Frozen):
    """Conversations in the LLaVA format (`id`, `image`, `conversations`) and their image folder.

    `conversations=None` means the embedded model's generated data. `max_tokens` truncates a sample
    (text and image tokens together), never inside an image.
    """

    conversations: str | None = None
    image_folder: str | None = None
    max_tokens: int = Field(2048, ge=16)
    skip_broken: bool = False


class ImportanceSpec(Frozen):
    """How the importance of layers, heads and neurons is scored.

    Attributes:
        layers: what ranks layers; any but `block_influence` is the sum over a layer's groups.
        groups: what ranks heads and neurons.
        tokens: which tokens block influence and activation average over; padding never counts.
        distance: block influence as 1 - cos, or as the angle arccos(cos) / pi.
        last_output: of the last layer, for block influence: its own, or after the final norm.
        taylor: `batch` |w * g| with g the gradient of the mean loss over all samples; `per_sample`
            the mean of |w * g_x| over samples; `vectorize` |sum of w * g| over a group;
            `second_order` |-w * g + 1/2 w^2 * diagonal Fisher|.
        reduction: how the tensors of a group are put together.
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
    def _groups_have_no_influence(self) -> ImportanceSpec:
        if self.groups == "block_influence":
            raise ValueError(
                "groups='block_influence', but block influence scores whole layers; rank heads and "
                "neurons by taylor, magnitude, activation or random"
            )
        return self


class SizeTarget(Frozen):
    """A size that the whole pruned model is to have; exactly one of the three is set.

    Attributes:
        params: parameters, vision tower and projector included.
        weights_mib: weight memory at the stored type.
        tflops: FLOPs of one image and the prompt of `EfficiencySpec`.
    """

    params: int | None = Field(None, ge=1)
    weights_mib: float | None = Field(None, gt=0)
    tflops: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _exactly_one(self) -> SizeTarget:
        given = [k for k in ("params", "weights_mib", "tflops") if getattr(self, k) is not None]
        if len(given) != 1:
            raise ValueError(
                f"the size target sets {given or 'nothing'}, but must set exactly one of params, "
                "weights_mib or tflops"
            )
        return self


class PruningSpec(Frozen):
    """How the language model is pruned; `ratio` is the fraction of its parameters to remove.

    The denominator is every parameter of the language model, embeddings and head included (tied
    ones once); vision tower and projector do not count.

    Attributes:
        method: whole layers, heads and neurons in every layer, or layers first and then width.
        ratio: how much to remove; the nearest reachable value is taken and recorded.
        size: what to reach instead of a ratio, which then stays 0.
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
    def _one_target(self) -> PruningSpec:
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
    def amount(self) -> str:
        """The target in short, e.g. `0.30` or `9216mib`; models of one amount are of one size."""
        if self.size is None:
            return f"{self.ratio:.2f}"
        (unit, value), *_ = self.size.model_dump(exclude_none=True).items()
        return f"{value:g}{unit.removeprefix('weights_')}"


class LossSpec(Frozen):
    """total = alpha * CE + beta * logits + gamma * hidden; each term is a mean over its tokens.

    Attributes:
        alpha: weight of the cross-entropy on response tokens.
        beta: weight of the logits distillation (response tokens).
        gamma: weight of the squared error of the last `hidden_layers` hidden states.
        logits: direction of the divergence; `kl` is KL(teacher || student).
        temperature: tau of the logits term, which is multiplied by tau squared.
        hidden_layers: k; 1 is the state after the final norm, earlier ones the raw residual stream.
        hidden_tokens: which tokens the hidden term covers; padding never counts.
        normalize: `teacher` divides the hidden term, per layer, by the teacher's mean square on the
            calibration data; `none` is the study's rule.
    """

    alpha: float = Field(1.0, ge=0.0)
    beta: float = Field(0.0, ge=0.0)
    gamma: float = Field(0.0, ge=0.0)
    logits: LogitsLoss = "reverse_kl"
    temperature: float = Field(2.0, gt=0.0)
    hidden_layers: int = Field(1, ge=1)
    hidden_tokens: Literal["all", "response", "text"] = "all"
    normalize: Literal["teacher", "none"] = "teacher"

    @model_validator(mode="after")
    def _some_weight(self) -> LossSpec:
        if self.alpha == self.beta == self.gamma == 0:
            raise ValueError(
                "alpha, beta and gamma are all 0, so there is nothing to train on; "
                "give at least one of them a positive value"
            )
        return self

    @property
    def needs_teacher(self) -> bool:
        """Whether the dense model has to run beside the student."""
        return self.beta > 0 or self.gamma > 0

    @property
    def normalised(self) -> tuple[float, float, float]:
        """(alpha, beta, gamma) divided by their sum."""
        total = self.alpha + self.beta + self.gamma
        return self.alpha / total, self.beta / total, self.gamma / total

    @property
    def terms(self) -> str:
        """Names of the active terms, e.g. `ce+reverse_kl+l2`."""
        active = [("ce", self.alpha), (self.logits, self.beta), ("l2", self.gamma)]
        return "+".join(name for name, weight in active if weight > 0)


class Budget(Frozen):
    """Length of the recovery: exactly one of the four is set; the record holds all four."""

    epochs: float | None = Field(None, gt=0)
    steps: int | None = Field(None, ge=1)
    tokens: int | None = Field(None, ge=1)
    tflops: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _exactly_one(self) -> Budget:
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
        scope: what is trained: nothing, the projector, or projector and LoRA on every LM linear.
        loss: the loss mixture.
        data_fraction: share of the training conversations; subsets of one seed are nested.
        budget: length of the training.
        learning_rate: peak rate; None takes the default of the scope.
        lora_rank: rank r of the LoRA update (scope `joint` only).
        lora_alpha: LoRA scale numerator; None takes 2 * rank.
        batch_size: samples per optimizer step over all workers.
        micro_batch_size: samples per forward pass of one worker.
        warmup_fraction: share of the steps with a linearly rising rate, before a cosine decay.
        weight_decay: AdamW's decoupled decay.
        clip_norm: gradient norm above which a step is clipped; None never clips.
        zero_stage: DeepSpeed ZeRO stage.
        checkpoint_every_steps: cadence of resumable checkpoints; None keeps none.
    """

    scope: Scope = "none"
    loss: LossSpec = LossSpec()
    data_fraction: float = Field(0.05, gt=0.0, le=1.0)
    budget: Budget = Budget(epochs=1)
    learning_rate: float | None = Field(None, gt=0.0)
    lora_rank: int = Field(16, ge=1)
    lora_alpha: float | None = Field(None, gt=0.0)
    batch_size: int = Field(16, ge=1)
    micro_batch_size: int = Field(16, ge=1)
    warmup_fraction: float = Field(0.03, ge=0.0, lt=1.0)
    weight_decay: float = Field(0.0, ge=0.0)
    clip_norm: float | None = Field(None, gt=0.0)
    zero_stage: Literal[1, 2, 3] = 2
    checkpoint_every_steps: int | None = Field(None, ge=1)

    @property
    def resolved_learning_rate(self) -> float | None:
        """The peak rate that will be used; None when nothing is trained."""
        if self.scope == "none":
            return None
        return self.learning_rate or DEFAULT_LEARNING_RATE[self.scope]

    def canonical(self) -> dict[str, Any]:
        """The settings that influence the outcome: defaults resolved, idle ones left out."""
        if self.scope == "none":
            return {"scope": "none"}
        settings = self.model_dump(mode="json", exclude={"checkpoint_every_steps"})
        settings["learning_rate"] = self.resolved_learning_rate
        settings["lora_alpha"] = self.lora_alpha or 2.0 * self.lora_rank
        if self.scope == "projector":
            del settings["lora_rank"], settings["lora_alpha"]
        loss = settings["loss"]
        if self.loss.beta == 0:
            del loss["logits"], loss["temperature"]
        if self.loss.gamma == 0:
            del loss["hidden_layers"], loss["hidden_tokens"], loss["normalize"]
        return settings


class EvaluationSpec(Frozen):
    """Which lmms-eval tasks score a model. Tasks of the embedded model are named `tiny_<kind>`.

    `search_limit` and `report_limit` cap the samples per task on the two disjoint splits.
    """

    tasks: tuple[str, ...] = ()
    search_limit: int | None = Field(None, ge=1)
    report_limit: int | None = Field(None, ge=1)
    batch_size: int = Field(32, ge=1)
    max_new_tokens: int | None = Field(None, ge=1)

    def limit(self, split: Split) -> int | None:
        """Samples per task on `split`; None is all of them."""
        return self.search_limit if split == "search" else self.report_limit


class EfficiencySpec(Frozen):
    """What the efficiency figures are for: one image, a prompt of `prompt_tokens`, batch 1."""

    prompt_tokens: int = Field(50, ge=1)
    new_tokens: int = Field(8, ge=1)
    latency_repeats: int = Field(20, ge=3)


class Seeds(Frozen):
    """Seeds of the three sources of chance, shared by all trials of a sweep (they are paired)."""

    calibration: int = 0
    data: int = 0
    train: int = 0


class TrialSpec(Frozen):
    """One trial: prune -> recover -> evaluate -> measure.

    Attributes:
        model: the dense model.
        baseline: the model that retention is measured against; None is `model` itself. It differs
            for a smaller native model that enters a sweep as a reference point.
        data: conversations for calibration and recovery.
        pruning: method and ratio.
        recovery: what is trained, on what, how long.
        evaluation: tasks and sample limits.
        efficiency: what FLOPs and latency are measured for.
        seeds: the three sources of chance.
        workers: data-parallel workers of the recovery.
        isolate: give the trial a process of its own even with one worker; much slower to start.
        rungs: fractions of the recovery budget after which the student is scored.
    """

    model: ModelSpec = ModelSpec()
    baseline: ModelSpec | None = None
    data: DataSpec = DataSpec()
    pruning: PruningSpec = PruningSpec()
    recovery: RecoverySpec = RecoverySpec()
    evaluation: EvaluationSpec = EvaluationSpec()
    efficiency: EfficiencySpec = EfficiencySpec()
    seeds: Seeds = Seeds()
    workers: int = Field(1, ge=1)
    isolate: bool = False
    rungs: tuple[float, ...] = ()

    @property
    def grouped(self) -> bool:
        """Whether the trial runs in a Train worker group rather than in the warm slot itself."""
        return self.workers > 1 or self.isolate

    @model_validator(mode="after")
    def _rungs_rise(self) -> TrialSpec:
        if any(not 0 < r < 1 for r in self.rungs) or list(self.rungs) != sorted(set(self.rungs)):
            raise ValueError(
                f"rungs={self.rungs}, but rungs are rising fractions of the recovery budget, "
                "each strictly between 0 and 1, e.g. (0.25, 0.5)"
            )
        return self


def digest(value: Any, length: int = 16) -> str:
    """Hex SHA-256 prefix of the canonical JSON of `value` (a frozen model or plain data)."""
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]
