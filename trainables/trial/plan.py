"""The pruning plan of a trial, from its scores; a plan of several steps is kept in the store."""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedModel

from trainables.common.files import read_json, write_json
from trainables.efficiency.image_cost import outside_of
from trainables.models.families.adapter import VLMAdapter
from trainables.models.unpruned import Unpruned
from trainables.pruning.iterative import plan_iteratively
from trainables.pruning.planning.planner import PrunePlan, plan_pruning
from trainables.pruning.scoring.importance import score_importance
from trainables.pruning.scoring.scores import ImportanceScores
from trainables.records import PLAN, PruningReport
from trainables.specs.presets import effective_pruning
from trainables.trial.inputs import Inputs
from trainables.trial.score import calibration_batches, calibration_key


def make_plan(inputs: Inputs, scores: ImportanceScores | None) -> PrunePlan:
    """What is kept of the dense model.

    Args:
        inputs: the trial's inputs.
        scores: of the dense model; None where nothing is pruned.
    """
    pruning, dense, outside = effective_pruning(inputs.spec.pruning), inputs.dense, None
    if pruning.size is not None:
        dtype = inputs.spec.model.dtype
        outside = outside_of(dense.model, dense.adapter, inputs.spec.efficiency, dtype)
    if scores is not None and pruning.steps > 1:
        return _plan_in_steps(inputs, scores, outside)
    return plan_pruning(scores, dense.shape, pruning, dense.weights_digest, outside)


def _plan_in_steps(inputs: Inputs, scores: ImportanceScores, outside: Unpruned | None) -> PrunePlan:
    """The plan of several steps, each with scores of its own; computed once per target."""
    pruning, dense = inputs.spec.pruning, inputs.dense
    key = {
        **calibration_key(inputs),
        "pruning": pruning.model_dump(mode="json"),
        "outside": outside.model_dump() if outside else None,
    }

    def score(student: PreTrainedModel, adapter: VLMAdapter) -> ImportanceScores:
        return score_importance(
            student,
            adapter,
            calibration_batches(inputs),
            pruning,
            data_digest=inputs.data.digest,
            seed=inputs.spec.seeds.calibration,
        )

    def build(folder: Path) -> None:
        write_json(
            folder / PLAN,
            plan_iteratively(
                dense.model, dense.adapter, scores, score, pruning, dense.weights_digest, outside
            ),
        )

    folder, _ = inputs.store.get_or_create("iterative-plan", key, build)
    return load_plan(folder)


def load_plan(folder: Path) -> PrunePlan:
    """The plan that a trial's folder holds."""
    return read_json(folder / PLAN, PrunePlan)


def describe(plan: PrunePlan) -> PruningReport:
    """The plan's outcome as it stands in the record."""
    groups, neurons = zip(*plan.kept_counts, strict=True)
    return PruningReport(
        method=plan.method,
        target_ratio=plan.target_ratio,
        ratio=plan.ratio,
        plan_digest=plan.digest,
        layers=len(plan.layers),
        kv_groups=groups,
        neurons=neurons,
        lm_params_dense=plan.lm_params_dense,
        lm_params=plan.lm_params,
        size=plan.size,
        size_achieved=plan.size_achieved,
    )
