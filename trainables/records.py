"""What a trial reports: frozen, torch-free values; scores are in 0..100, ratios in [0, 1]."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field

from trainables.specs import (
    Frozen,
    Method,
    Origin,
    Quantization,
    Scope,
    Seeds,
    SizeTarget,
    Split,
    TrialSpec,
)

Status = Literal["completed", "early_stopped", "failed"]
SignatureName = Literal["one_answer", "kd_only_instability", "image_not_used"]
M = TypeVar("M", bound=BaseModel)

# What stands in a trial's folder.
REQUEST = "spec.json"  # what was asked
PLAN = "plan.json"  # what is kept
LOG = "log.txt"  # whatever the trial and its libraries print
RUNG = "rung.json"  # the record as it stood at the latest rung
CHECKPOINT = "checkpoint.safetensors"  # gone once there is a record
RECORD = "record.json"  # written last
REPORT = "report.json"  # of the closing pass
REPORT_SCORES = "report_scores.json"  # its first half, until latency is measured
SEARCH_SAMPLES = "search_samples.parquet"  # what every question of the search split scored
REPORT_SAMPLES = "report_samples.parquet"  # and of the report split

# What stands in a sweep's folder: the questions that all models are shown with, and their pictures.
GALLERY = "gallery/gallery.json"


# Points of a benchmark's own scale per point of 0..100: MME counts up to 800 and up to 2000.
OWN_SCALE = {"mme_cognition": 8.0, "mme_perception": 20.0}


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
    `first_terms`, `last_terms`: each loss term (by `LossSpec.terms`), unweighted, at the first step
    and averaged over the last tenth. `first_grad_norms`: of each weighted term, step 0.
    `skipped_steps` counts those whose loss was not finite or spiked. `teacher`: none, online or
    cached; `vision`: the tower's features are computed by each model, shared, or cached.
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
    trained_params: int = 0
    learning_rate: float | None = None
    loss_terms: str = ""
    weights: tuple[float, float, float] = (0.0, 0.0, 0.0)
    weights_normalised: tuple[float, float, float] = (0.0, 0.0, 0.0)
    first_terms: dict[str, float] = Field(default_factory=dict)
    last_terms: dict[str, float] = Field(default_factory=dict)
    first_grad_norms: dict[str, float] = Field(default_factory=dict)
    clipped_fraction: float = 0.0
    skipped_steps: int = 0
    teacher: str = "none"
    vision: str = "computed"
    gradient_checkpointing: bool = False
    micro_batch_halved: bool = False
    speed: RecoverySpeed | None = None
    data_digest: str | None = None
    resumed_at_step: int | None = None
    curves: str | None = None
    trained_by: str | None = None


class Comparison(Frozen):
    """A model against the dense base on the same samples, in points of 0..100.

    `low` and `high` bound the 95 % interval of the paired bootstrap over images.
    """

    dense: float
    difference: float
    low: float
    high: float


class TaskScore(Frozen):
    """Score of one task (0..100), standard error clustered by image, sample count, chance level.

    `images` counts the clusters. `raw` is the score on the benchmark's own scale where that is
    another one (MME's points). `unfinished` is the share of answers that the length limit cut off.
    `paired` compares with the dense base; None in the dense base's own report.
    """

    score: float
    stderr: float
    samples: int
    chance: float | None = None
    images: int | None = None
    raw: float | None = None
    unfinished: float | None = None
    paired: Comparison | None = None


class EvaluationReport(Frozen):
    """Scores of one model on one split.

    `retention` is average / dense average (1.0 is the dense model), `retention_se` its standard
    error over the paired samples, `retention_low` and `retention_high` the 95 % interval of the
    paired bootstrap, `paired` the difference of the averages; all None in the dense base's report.
    `failed` names the tasks that have no score, and why; the averages are then over the others,
    and the trial counts as failed.
    `image_gain` is how many points the images are worth: the average minus that on the same
    questions with a blank image (`EvaluationSpec.blank_image_limit`); `dense_image_gain` is the
    dense model's. None where it was not asked for.
    """

    split: Split
    tasks: dict[str, TaskScore]
    average: float
    average_se: float
    dense_average: float | None = None
    retention: float | None = None
    retention_se: float | None = None
    retention_low: float | None = None
    retention_high: float | None = None
    paired: Comparison | None = None
    failed: dict[str, str] = Field(default_factory=dict)
    samples_per_second: float | None = None
    image_gain: float | None = None
    dense_image_gain: float | None = None


class Latency(Frozen):
    """Milliseconds of prefill plus `new_tokens` decoded tokens per batch: median and quartiles.

    `prefill_ms` is the median up to the first token, `decode_ms` that of each further token,
    `tokens_per_second` the new tokens of the whole batch over the median time, `energy_joules` the
    mean per batch over some seconds; None where it was not measured (a device may not report it).
    """

    device: str
    median_ms: float
    lower_ms: float
    upper_ms: float
    dense_median_ms: float
    repeats: int
    batch: int = 1
    prefill_ms: float | None = None
    decode_ms: float | None = None
    tokens_per_second: float | None = None
    energy_joules: float | None = None


class Parts(Frozen):
    """Parameters by part; tied ones count once, as embeddings.

    `embeddings` are the token embeddings and the head, `language_model` the rest of it.
    """

    vision: int
    projector: int
    language_model: int
    embeddings: int


class InferenceMemory(Frozen):
    """Memory of answering one prompt of the spec, batch 1: weights, KV cache and activations.

    `how` says whether the allocator was asked while it ran (CUDA) or the parts were computed.
    """

    how: Literal["measured", "computed"]
    weights_mib: float
    kv_cache_mib: float
    activations_mib: float
    total_mib: float


class EfficiencyReport(Frozen):
    """Size and work of the whole model (vision tower and projector included).

    `weights_mib` is at the stored dtype, or what the quantized weights take with their scales;
    `tflops` counts 2 FLOPs per multiply-add of one image and
    the prompt of the spec, by torch's flop counter on the meta device.
    """

    params: int
    lm_params: int
    weights_mib: float
    tflops: float
    latency: Latency | None = None
    parts: Parts | None = None
    memory: InferenceMemory | None = None
    quantization: Quantization = "none"


class CostReport(Frozen):
    """Where the time went; `device_seconds` is seconds by stage times the devices held."""

    device: str
    devices: int
    device_seconds: dict[str, float]
    wall_seconds: float
    peak_memory_mib: float | None = None


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


class Signature(Frozen):
    """A known way to fail that the trial shows: a value beyond its threshold, and one sentence."""

    name: SignatureName
    value: float
    threshold: float
    sentence: str


class TrialRecord(Frozen):
    """The truth about one trial; written once, last, never rewritten."""

    trial_id: str
    sweep: str
    status: Status
    origin: Origin
    spec: TrialSpec
    seeds: Seeds
    pruning: PruningReport | None = None
    recovery: RecoveryReport | None = None
    evaluation: EvaluationReport | None = None
    efficiency: EfficiencyReport | None = None
    cost: CostReport | None = None
    signatures: tuple[Signature, ...] = ()
    error: str | None = None
    provenance: Provenance


class ClosingReport(Frozen):
    """The closing pass over one frontier candidate: report-split scores, quiet latency, memory."""

    trial_id: str
    evaluation: EvaluationReport
    latency: Latency | None = None
    batched_latency: Latency | None = None
    memory: InferenceMemory | None = None
    provenance: Provenance


class GallerySample(Frozen):
    """One question of the report split, with what its task knows about it.

    `task`, `doc_id` and `image_id` name it as `REPORT_SAMPLES` does. `question` is the text that
    the models are asked, `truth` what counts as right (several where any of them does). `picture`
    is a file beside `GALLERY`, `width` x `height` pixels; several images of one question are one
    picture.
    """

    task: str
    doc_id: int
    image_id: str
    question: str
    truth: tuple[str, ...]
    picture: str
    width: int
    height: int

    @property
    def key(self) -> tuple[str, int, str]:
        """What names it in every model's samples."""
        return self.task, self.doc_id, self.image_id


class Gallery(Frozen):
    """A fixed handful of samples; `key` is the digest of what the choice was made for."""

    key: str
    samples: tuple[GallerySample, ...]


def write_json(path: Path, value: BaseModel | dict[str, Any] | list[Any]) -> None:
    """Write `value` as JSON beside `path`, flush it to disk, then rename it into place."""
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            json.dump(plain, file, indent=1, ensure_ascii=False, allow_nan=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def read_json(path: Path, model: type[M]) -> M:
    """Read a value of type `model` from `path`."""
    return model.model_validate_json(path.read_text(encoding="utf-8"))
