"""The whole record of a trial, and what the closing pass adds to it."""

from typing import Literal

from pydantic import Field

from trainables.records.efficiency import EfficiencyReport, InferenceMemory, Latency
from trainables.records.evaluation import EvaluationReport
from trainables.records.pruning import PruningReport
from trainables.records.recovery import RecoveryReport
from trainables.records.versions import RECORD_VERSION
from trainables.specs import Frozen, Origin, Seeds, TrialSpec

Status = Literal["completed", "early_stopped", "failed"]
SignatureName = Literal["one_answer", "kd_only_instability", "image_not_used"]


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

    record_version: int = RECORD_VERSION
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

    record_version: int = RECORD_VERSION
    trial_id: str
    evaluation: EvaluationReport
    latency: Latency | None = None
    batched_latency: Latency | None = None
    memory: InferenceMemory | None = None
    provenance: Provenance
