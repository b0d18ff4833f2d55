"""What a trial is asked to do: frozen, torch-free values that round-trip through JSON."""

from trainables.specs.base import (
    DTYPE_BYTES,
    Dtype,
    Frozen,
    Method,
    Origin,
    Quantization,
    Scope,
    Split,
    digest,
)
from trainables.specs.evaluation import EfficiencySpec, EvaluationSpec
from trainables.specs.inputs import DataSpec, ModelSpec
from trainables.specs.losses import (
    HIDDEN_LOSSES,
    LOGITS_LOSSES,
    Covered,
    HiddenLoss,
    LayerMap,
    LogitsLoss,
    LossSpec,
)
from trainables.specs.pruning import Criterion, ImportanceSpec, PruningSpec, SizeTarget, Tokens
from trainables.specs.recovery import DEFAULT_LEARNING_RATE, Budget, RecoverySpec, TeacherSpec
from trainables.specs.trial import Seeds, TrialSpec

__all__ = [
    "DEFAULT_LEARNING_RATE",
    "DTYPE_BYTES",
    "HIDDEN_LOSSES",
    "LOGITS_LOSSES",
    "Budget",
    "Covered",
    "Criterion",
    "DataSpec",
    "Dtype",
    "EfficiencySpec",
    "EvaluationSpec",
    "Frozen",
    "HiddenLoss",
    "ImportanceSpec",
    "LayerMap",
    "LogitsLoss",
    "LossSpec",
    "Method",
    "ModelSpec",
    "Origin",
    "PruningSpec",
    "Quantization",
    "RecoverySpec",
    "Scope",
    "Seeds",
    "SizeTarget",
    "Split",
    "TeacherSpec",
    "Tokens",
    "TrialSpec",
    "digest",
]
