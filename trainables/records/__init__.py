"""What a trial reports: frozen, torch-free values; scores are in 0..100, ratios in [0, 1]."""

from trainables.records.efficiency import EfficiencyReport, InferenceMemory, Latency, Parts
from trainables.records.evaluation import OWN_SCALE, Comparison, EvaluationReport, TaskScore
from trainables.records.file_names import (
    CHECKPOINT,
    GALLERY,
    LOG,
    PLAN,
    RECORD,
    REPORT,
    REPORT_SAMPLES,
    REPORT_SCORES,
    REQUEST,
    RUNG,
    SEARCH_SAMPLES,
)
from trainables.records.gallery import Gallery, GallerySample
from trainables.records.pruning import PruningReport
from trainables.records.recovery import RecoveryReport, RecoverySpeed
from trainables.records.trial import (
    ClosingReport,
    CostReport,
    Provenance,
    Signature,
    SignatureName,
    Status,
    TrialRecord,
)

__all__ = [
    "CHECKPOINT",
    "GALLERY",
    "LOG",
    "OWN_SCALE",
    "PLAN",
    "RECORD",
    "REPORT",
    "REPORT_SAMPLES",
    "REPORT_SCORES",
    "REQUEST",
    "RUNG",
    "SEARCH_SAMPLES",
    "ClosingReport",
    "Comparison",
    "CostReport",
    "EfficiencyReport",
    "EvaluationReport",
    "Gallery",
    "GallerySample",
    "InferenceMemory",
    "Latency",
    "Parts",
    "Provenance",
    "PruningReport",
    "RecoveryReport",
    "RecoverySpeed",
    "Signature",
    "SignatureName",
    "Status",
    "TaskScore",
    "TrialRecord",
]
