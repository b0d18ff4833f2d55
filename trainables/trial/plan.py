"""From the calibration samples to the pruning plan; what is scored is kept in the store."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel

from trainables.common.files import read_json, write_json
from trainables.efficiency.measure import unpruned_parts
from trainables.models.collation import Batch
from trainables.models.families.adapter import VLMAdapter
from trainables.models.unpruned import Unpruned
from trainables.pruning.iterative import plan_iteratively
from trainables.pruning.planning.methods import (
    WITHOUT_DATA,
    criteria,
    criterion_settings,
    effective_importance,
)
from trainables.pruning.planning.planner import PrunePlan, plan_pruning
from trainables.pruning.planning.scores import ImportanceScores, scores_of_method
from trainables.pruning.scoring.importance import score_criterion, score_importance
from trainables.records import PLAN, PruningReport
from trainables.specs import Criterion, digest
from trainables.specs.presets import effective_pruning
from trainables.trial.inputs import Inputs
from trainables.trial.keys import computes, sees

CALIBRATION_SALT = 1  # keeps the calibration draw apart from the training order of the same seed


def importance_scores(inputs: Inputs) -> ImportanceScores | None:
    """Scores of the spec's method, which serve every ratio; None where nothing is pruned."""
    pruning = inputs.spec.pruning
    if not pruning.prunes:
        return None
    by_criterion = {name: _criterion(inputs, name) for name in criteria(pruning)}
    return scores_of_method(pruning.method, effective_importance(pruning), by_criterion)


def _criterion(inputs: Inputs, criterion: Criterion) -> ImportanceScores:
    """One criterion's scores, from the store or scored now."""
    pruning, seed, dense = inputs.spec.pruning, inputs.spec.seeds.calibration, inputs.dense
    data = criterion not in WITHOUT_DATA
    key: dict[str, object] = {
        **computes(dense),
        **criterion_settings(criterion, effective_importance(pruning)),
    }
    if data:
        key |= calibration_key(inputs)
    elif criterion == "random":
        key["seed"] = seed

    def build(folder: Path) -> None:
        scores = score_criterion(
            criterion,
            dense.model,
            dense.adapter,
            calibration_batches(inputs) if data else (),
            pruning,
            weights_digest=dense.weights_digest,
            data_digest=_calibration_digest(inputs) if data else "",
            seed=seed,
        )
        scores.save(folder / "scores.safetensors")

    entry, _ = inputs.store.get_or_create("importance", key, build)
    return ImportanceScores.load(entry / "scores.safetensors")


def calibration_key(inputs: Inputs) -> dict[str, object]:
    """What the calibration batches depend on."""
    importance = effective_importance(inputs.spec.pruning)
    return {
        "calibration": sees(inputs, _drawn(inputs)),
        "seed": inputs.spec.seeds.calibration,
        "samples": importance.samples,
        "batch_size": importance.batch_size,  # changes the last bits only, which may break ties
    }


def calibration_batches(inputs: Inputs) -> Sequence[Batch]:
    """The conversations that are drawn by the calibration seed.

    Raises:
        ValueError: the data has fewer than the spec asks for.
    """
    importance = effective_importance(inputs.spec.pruning)
    chosen, size = _drawn(inputs), importance.batch_size
    if importance.samples > len(chosen):
        raise ValueError(
            f"pruning.importance.samples={importance.samples}, but the data has only "
            f"{len(chosen)} conversations that can be used; lower it"
        )
    return [inputs.encoder.batch(chosen[i : i + size]) for i in range(0, len(chosen), size)]


def _drawn(inputs: Inputs) -> np.ndarray:
    """Indices of the calibration samples, int64; fewer than asked for where the data has fewer."""
    draw = np.random.default_rng((inputs.spec.seeds.calibration, CALIBRATION_SALT))
    order = draw.permutation(len(inputs.data.conversations))
    count = effective_importance(inputs.spec.pruning).samples
    if not inputs.spec.data.skip_broken:
        return order[:count]
    sound = (index for index in order if not inputs.encoder.fault(int(index)))
    return np.fromiter(islice(sound, count), dtype=np.int64)


def _calibration_digest(inputs: Inputs) -> str:
    return digest(sees(inputs, _drawn(inputs)))


def make_plan(inputs: Inputs, scores: ImportanceScores | None) -> PrunePlan:
    """What is kept of the dense model, whose scores are None where nothing is pruned."""
    pruning, dense, unpruned = effective_pruning(inputs.spec.pruning), inputs.dense, None
    if pruning.size is not None:
        unpruned = unpruned_parts(
            dense.model,
            dense.adapter,
            inputs.spec.efficiency,
            inputs.spec.model.dtype,
            activations=pruning.bounds_memory,
        )
    if scores is not None and pruning.steps > 1:
        return _plan_in_steps(inputs, scores, unpruned)
    return plan_pruning(scores, dense.shape, pruning, dense.weights_digest, unpruned)


def _plan_in_steps(
    inputs: Inputs, scores: ImportanceScores, unpruned: Unpruned | None
) -> PrunePlan:
    """The plan of several steps, each with scores of its own; computed once per target."""
    pruning, dense = inputs.spec.pruning, inputs.dense
    key = {
        **computes(dense),
        **calibration_key(inputs),
        "pruning": pruning.model_dump(mode="json"),
        "outside": unpruned.model_dump() if unpruned else None,
    }

    def score(student: PreTrainedModel, adapter: VLMAdapter) -> ImportanceScores:
        return score_importance(
            student,
            adapter,
            calibration_batches(inputs),
            pruning,
            data_digest=_calibration_digest(inputs),
            seed=inputs.spec.seeds.calibration,
        )

    def build(folder: Path) -> None:
        write_json(
            folder / PLAN,
            plan_iteratively(
                dense.model, dense.adapter, scores, score, pruning, dense.weights_digest, unpruned
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
