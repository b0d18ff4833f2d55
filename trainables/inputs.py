"""What trials share: the dense model, its data and tasks, and everything computed once per sweep.

A warm slot serves many trials, so loaded data is kept in the process; what is computed from it goes
through the store and is shared by all processes and later sweeps.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainables.evaluation.catalog import TASKS, check_tasks
from trainables.evaluation.harness import evaluate
from trainables.evaluation.scoring import ScoreTable
from trainables.evaluation.task_files import write_task_files
from trainables.models.dense import DenseModel, load_dense
from trainables.models.tiny.data import TinyData, prepare
from trainables.pruning.importance import score_importance
from trainables.pruning.planner import PrunePlan, plan_pruning
from trainables.pruning.scores import ImportanceScores
from trainables.records import read_json, write_json
from trainables.recovery.batches import Batch, Encoder
from trainables.recovery.data import ConversationData, load_conversations
from trainables.recovery.teacher import mean_square
from trainables.specs import DataSpec, Split, TrialSpec
from trainables.store import Store

CALIBRATION_SALT = 1  # keeps the calibration draw apart from the training order of the same seed


@dataclass(frozen=True)
class Inputs:
    """The inputs of one trial, loaded."""

    spec: TrialSpec
    store: Store
    dense: DenseModel
    data: ConversationData

    @property
    def encoder(self) -> Encoder:
        """The conversations as tensors; shared by the trials of a slot."""
        return _encoder(self.dense, self.data, self.spec.data.max_tokens)

    def plan(self) -> PrunePlan:
        """The pruning plan; the scores behind it are computed once for all ratios."""
        pruning = self.spec.pruning
        scores = self._scores() if pruning.ratio > 0 else None
        return plan_pruning(scores, self.dense.shape, pruning, self.dense.weights_digest)

    def hidden_scale(self) -> tuple[float, ...]:
        """Divisors of the hidden term, one per distilled state (see `LossSpec.normalize`)."""
        loss = self.spec.recovery.loss
        if not loss.gamma or loss.normalize == "none":
            return (1.0,) * loss.hidden_layers
        key = {
            **self._calibration_key(),
            "layers": loss.hidden_layers,
            "tokens": loss.hidden_tokens,
        }

        def build(folder: Path) -> None:
            image_token = int(self.dense.model.config.image_token_id)
            scale = mean_square(
                self.dense.model,
                self._calibration_batches(),
                loss.hidden_layers,
                loss.hidden_tokens,
                image_token,
            )
            write_json(folder / "scale.json", {"mean_square": scale})

        folder, _ = self.store.get_or_create("hidden-scale", key, build)
        scale: list[float] = json.loads((folder / "scale.json").read_text())["mean_square"]
        return tuple(scale)

    def task_folder(self, split: Split) -> Path | None:
        """Task files of the embedded tasks for that split; None when no embedded task is asked."""
        if not any(TASKS[name].embedded for name in check_tasks(self.spec.evaluation.tasks)):
            return None
        return write_task_files(tiny_data(self.store.root), split, self.store.root / "tasks")

    def dense_scores(self, split: Split, log: Path | None = None) -> ScoreTable:
        """Per-sample scores of the dense model, computed once per split and settings."""
        settings = self.spec.evaluation
        folder = self.task_folder(split)
        key = {
            "weights": self.dense.weights_digest,
            "tasks": list(check_tasks(settings.tasks)),
            "task_files": folder.name if folder else None,
            "split": split,
            "limit": settings.limit(split),
            "max_new_tokens": settings.max_new_tokens,
        }

        def build(target: Path) -> None:
            _, table = evaluate(
                self.dense.model,
                self.dense.processor,
                settings.tasks,
                split,
                task_folder=folder,
                limit=settings.limit(split),
                batch_size=settings.batch_size,
                max_new_tokens=settings.max_new_tokens,
                log=log,
            )
            table.save(target / "scores.parquet")

        entry, _ = self.store.get_or_create("dense-scores", key, build)
        return _score_table(entry / "scores.parquet")

    def _scores(self) -> ImportanceScores:
        method = self.spec.pruning.method
        key = {**self._calibration_key(), "method": method}

        def build(folder: Path) -> None:
            scores = score_importance(
                self.dense.model,
                self.dense.adapter,
                self._calibration_batches(),
                self.spec.pruning,
                weights_digest=self.dense.weights_digest,
                data_digest=self.data.digest,
            )
            scores.save(folder / "scores.safetensors")

        entry, _ = self.store.get_or_create("importance", key, build)
        return ImportanceScores.load(entry / "scores.safetensors")

    def _calibration_key(self) -> dict[str, object]:
        pruning = self.spec.pruning
        return {
            "weights": self.dense.weights_digest,
            "data": self.data.digest,
            "max_tokens": self.spec.data.max_tokens,
            "seed": self.spec.seeds.calibration,
            "samples": pruning.calibration_samples,
            "batch_size": pruning.calibration_batch_size,
        }

    def _calibration_batches(self) -> Sequence[Batch]:
        pruning = self.spec.pruning
        total = len(self.data.conversations)
        if pruning.calibration_samples > total:
            raise ValueError(
                f"calibration_samples={pruning.calibration_samples}, but the data has only {total} "
                "conversations; lower pruning.calibration_samples"
            )
        draw = np.random.default_rng((self.spec.seeds.calibration, CALIBRATION_SALT))
        chosen = draw.permutation(total)[: pruning.calibration_samples]
        size = pruning.calibration_batch_size
        return [self.encoder.batch(chosen[i : i + size]) for i in range(0, len(chosen), size)]


def load_inputs(spec: TrialSpec, store: Store) -> Inputs:
    """Load the dense model and the conversations of a trial, or take them from this process.

    Raises:
        ValueError: weights or data are missing or broken.
    """
    return Inputs(spec, store, load_dense(spec.model), _data(resolve_data(spec.data, store.root)))


def resolve_data(spec: DataSpec, store: Path) -> DataSpec:
    """`spec` with the embedded data's paths where it names none; generates them on first use."""
    if spec.conversations is not None:
        return spec
    data = tiny_data(store)
    paths = {"conversations": str(data.conversations), "image_folder": str(data.image_folder)}
    return spec.model_copy(update=paths)


@functools.lru_cache(maxsize=1)
def tiny_data(store: Path) -> TinyData:
    """The embedded data below `store`, generated on first use."""
    return prepare(store)


@functools.lru_cache(maxsize=1)
def _data(spec: DataSpec) -> ConversationData:
    return load_conversations(spec)


@functools.lru_cache(maxsize=1)
def _encoder(dense: DenseModel, data: ConversationData, max_tokens: int) -> Encoder:
    return Encoder(dense.processor, data, max_tokens)


@functools.lru_cache(maxsize=4)
def _score_table(path: Path) -> ScoreTable:
    return ScoreTable.load(path)


def load_plan(folder: Path) -> PrunePlan:
    """The plan that a trial's folder holds."""
    return read_json(folder / "plan.json", PrunePlan)
