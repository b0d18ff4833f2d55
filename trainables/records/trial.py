"""The whole record of a trial, and what the closing pass adds to it."""

from typing import Any, Literal

from pydantic import Field

from trainables.records.efficiency import EfficiencyReport, InferenceMemory, Latency
from trainables.records.evaluation import Z_95, EvaluationReport
from trainables.records.versions import RECORD_VERSION, Version
from trainables.specs import Frozen, Method, Origin, Scope, Seeds, SizeTarget, TrialSpec

Status = Literal["completed", "early_stopped", "failed"]
SignatureName = Literal[
    "one_answer", "kd_only_instability", "image_not_used", "training_made_it_worse"
]
Kept = Literal["trained", "untrained"]


class Stage(Frozen):
    """What a running trial is at, and since when (ISO 8601, with the zone)."""

    stage: str
    since: str


class PruningReport(Frozen):
    """What was removed from the language model.

    `layers`, `kv_groups` and `neurons` are what is kept: the number of decoder layers, and the
    heads' KV groups and MLP neurons per layer. `size` is the size that was asked for instead of a
    ratio, `size_achieved` what the student has of it, in the same unit.
    """

    method: Method
    target_ratio: float
    ratio: float
    plan_digest: str
    layers: int
    kv_groups: tuple[int, ...]
    neurons: tuple[int, ...]
    lm_params_dense: int
    lm_params: int
    size: SizeTarget | None = None
    size_achieved: float | None = None


class RecoverySpeed(Frozen):
    """How fast the training steps of the last attempt were, over all workers.

    `teacher_share` is the share of the seconds that the teacher took in the steps (0 to 1). `mfu`
    is model FLOPs utilisation: what was computed, recomputation not counted, over the devices'
    peak; None where the peak is not known.
    """

    seconds: float
    tokens_per_second: float
    samples_per_second: float
    teacher_share: float
    mfu: float | None = None


class RecoveryReport(Frozen):
    """Length, cost and course of the recovery training.

    `tflops` is nominal (teacher included, nothing cached), so it does not depend on the machine.
    `final_tflops` is the same of the whole budget, as far as the samples so far tell their length;
    `tflops` at the end. None in older records.
    `first_terms`, `last_terms`: each loss term (by `LossSpec.terms`), unweighted, at the first step
    and averaged over the last tenth. `first_grad_norms`: of each weighted term, step 0.
    `held_out_before`, `held_out_after`: mean cross-entropy of the answers in conversations that
    were not trained on, in nats per token; `held_out_se` is the standard error of their difference,
    by conversation. None where none were left, and in older records.
    `skipped_steps` counts those whose loss was not finite or spiked. `teacher`: none, online or
    cached.
    `micro_batch_halved`: memory ran out once, and the training was repeated with half the tokens
    per forward pass.
    `curves` is a path relative to the trial's folder (JSON lines, one per step).
    `trained_by` names the trial (`sweep/id`) whose recovery this is, where this one did not train:
    everything else here is as it was there.
    """

    scope: Scope
    steps: int = 0
    epochs: float = 0.0
    tokens: int = 0
    samples: int = 0
    tflops: float = 0.0
    final_tflops: float | None = None
    trained_params: int = 0
    learning_rate: float | None = None
    loss_terms: str = ""
    weights: tuple[float, float, float] = (0.0, 0.0, 0.0)
    weights_normalised: tuple[float, float, float] = (0.0, 0.0, 0.0)
    first_terms: dict[str, float] = Field(default_factory=dict)
    last_terms: dict[str, float] = Field(default_factory=dict)
    first_grad_norms: dict[str, float] = Field(default_factory=dict)
    held_out_before: float | None = None
    held_out_after: float | None = None
    held_out_se: float | None = None
    clipped_fraction: float = 0.0
    skipped_steps: int = 0
    teacher: str = "none"
    gradient_checkpointing: bool = False
    micro_batch_halved: bool = False
    speed: RecoverySpeed | None = None
    data_digest: str | None = None
    resumed_at_step: int | None = None
    curves: str | None = None
    trained_by: str | None = None

    @property
    def loss_rose(self) -> bool:
        """Whether the loss of the held-out conversations is higher than before the training."""
        before, after = self.held_out_before, self.held_out_after
        return before is not None and after is not None and after > before

    @property
    def loss_rose_beyond_noise(self) -> bool:
        """Whether it rose by more than the draw of those conversations explains, at 95 %."""
        before, after, error = self.held_out_before, self.held_out_after, self.held_out_se
        if before is None or after is None or error is None:
            return False
        return after - before > Z_95 * error


class CostReport(Frozen):
    """Where the time went; `device_seconds` is seconds by stage times the devices held.

    Peaks are those of the first worker, in MiB: on a GPU what torch held of it, of
    `device_memory_mib` in all, and in main memory what its whole process did.
    """

    device: str
    devices: int
    device_seconds: dict[str, float]
    wall_seconds: float
    peak_memory_mib: float | None = None
    device_memory_mib: float | None = None
    peak_host_memory_mib: float | None = None


class Provenance(Frozen):
    """Enough to repeat the trial."""

    prunesweep: str
    git_commit: str | None = None
    packages: dict[str, str] = Field(default_factory=dict)
    host: str = ""
    python: str = ""
    weights_digest: str | None = None
    data_digest: str | None = None
    attempt: str = ""
    started: str = ""
    finished: str = ""


class RungResult(Frozen):
    """How the trial stood at a rung of its recovery, on the search split.

    `rung` is its index in the spec's `rungs`; `recovery_tflops` and `device_seconds` are what the
    trial had cost when it got there, `final_tflops` what the whole recovery would (None in older
    records).
    """

    rung: int
    retention: float | None
    recovery_tflops: float
    device_seconds: float
    final_tflops: float | None = None


class Signature(Frozen):
    """A known way to fail that the trial shows: a value beyond its threshold, and one sentence."""

    name: SignatureName
    value: float
    threshold: float
    sentence: str


class TrialRecord(Frozen):
    """The truth about one trial; written once, last, never rewritten.

    `factors` are those that its sweep brings itself, by name; they are part of `spec` already.

    A student that was trained is compared with the same one as it was pruned, on the search split.
    `kept` is the better of the two, whose weights, `evaluation` and closing report are the trial's;
    `other` are the scores of the one that was not kept, None where they were not compared.
    """

    record_version: Version = RECORD_VERSION
    trial_id: str
    sweep: str
    status: Status
    origin: Origin
    spec: TrialSpec
    factors: dict[str, Any] = Field(default_factory=dict)
    seeds: Seeds
    pruning: PruningReport | None = None
    recovery: RecoveryReport | None = None
    evaluation: EvaluationReport | None = None
    kept: Kept = "trained"
    other: EvaluationReport | None = None
    efficiency: EfficiencyReport | None = None
    cost: CostReport | None = None
    rungs: tuple[RungResult, ...] = ()
    signatures: tuple[Signature, ...] = ()
    error: str | None = None
    provenance: Provenance

    @property
    def has_trained(self) -> bool:
        """Whether the student holds tensors that were trained."""
        return self.spec.recovery.scope != "none" and self.kept == "trained"

    @property
    def as_trained(self) -> EvaluationReport | None:
        """The search-split scores of the student that was trained, be it kept or not."""
        return self.evaluation if self.kept == "trained" else self.other


class ClosingReport(Frozen):
    """The closing pass over one frontier candidate: report-split scores, quiet latency, memory."""

    record_version: Version = RECORD_VERSION
    trial_id: str
    evaluation: EvaluationReport
    latency: Latency | None = None
    batched_latency: Latency | None = None
    memory: InferenceMemory | None = None
    provenance: Provenance


def quoted_scores(record: TrialRecord, report: ClosingReport | None) -> EvaluationReport | None:
    """The scores to quote: the report split's, unseen by the search, once there are any."""
    return record.evaluation if report is None else report.evaluation
