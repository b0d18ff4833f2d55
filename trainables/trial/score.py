"""What the calibration samples say, each through the store: importance scores, hidden divisors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trainables.common.files import write_json
from trainables.models.collation import Batch
from trainables.models.dense import DenseModel
from trainables.pruning.scoring.criteria import (
    WITHOUT_DATA,
    criteria,
    criterion_settings,
    effective_importance,
)
from trainables.pruning.scoring.importance import score_criterion
from trainables.pruning.scoring.scores import ImportanceScores, scores_of_method
from trainables.recovery.teacher.online import mean_square
from trainables.specs import Criterion
from trainables.trial.inputs import Inputs

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
        "weights": dense.weights_digest,
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
            data_digest=inputs.data.digest,
            seed=seed,
        )
        scores.save(folder / "scores.safetensors")

    entry, _ = inputs.store.get_or_create("importance", key, build)
    return ImportanceScores.load(entry / "scores.safetensors")


def hidden_scale(inputs: Inputs, teacher: DenseModel, states: tuple[int, ...]) -> tuple[float, ...]:
    """Divisors of the hidden term, one per state of the teacher (see `LossSpec.normalize`)."""
    loss = inputs.spec.recovery.loss
    if not loss.gamma or loss.hidden != "l2" or loss.normalize == "none":
        return (1.0,) * loss.hidden_layers
    key = {
        **calibration_key(inputs),
        "weights": teacher.weights_digest,
        "states": states,
        "tokens": loss.hidden_tokens,
    }

    def build(folder: Path) -> None:
        batches, tokens = calibration_batches(inputs), loss.hidden_tokens
        scale = mean_square(teacher.model, batches, states, tokens, teacher.adapter)
        write_json(folder / "scale.json", {"mean_square": scale})

    folder, _ = inputs.store.get_or_create("hidden-scale", key, build)
    scale: list[float] = json.loads((folder / "scale.json").read_text())["mean_square"]
    return tuple(scale)


def calibration_key(inputs: Inputs) -> dict[str, object]:
    """What the calibration batches depend on."""
    importance = effective_importance(inputs.spec.pruning)
    return {
        "weights": inputs.dense.weights_digest,
        "data": inputs.data.digest,
        "max_tokens": inputs.spec.data.max_tokens,
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
    total = len(inputs.data.conversations)
    if importance.samples > total:
        raise ValueError(
            f"pruning.importance.samples={importance.samples}, but the data has only {total} "
            "conversations; lower it"
        )
    draw = np.random.default_rng((inputs.spec.seeds.calibration, CALIBRATION_SALT))
    chosen = draw.permutation(total)[: importance.samples]
    size = importance.batch_size
    return [inputs.encoder.batch(chosen[i : i + size]) for i in range(0, len(chosen), size)]
