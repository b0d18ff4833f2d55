"""What trials share: the dense model, its data and tasks, and everything computed once per sweep.

A warm slot serves many trials, so loaded data is kept in the process; what is computed from it goes
through the store and is shared by all processes and later sweeps.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel

from trainables.common.files import read_json, write_json
from trainables.common.store import Store
from trainables.common.weights import processor_digest
from trainables.efficiency.image_cost import outside_of
from trainables.embedded.data import TinyData, prepare
from trainables.evaluation.benchmarks.preparing import public_files, public_version
from trainables.evaluation.catalog import TASKS, check_tasks
from trainables.evaluation.harness import score_tasks
from trainables.evaluation.request import EvaluationRequest
from trainables.evaluation.sharding import Crew
from trainables.evaluation.task_files import arrow_cache, write_task_files
from trainables.models.collation import Batch
from trainables.models.dense import DenseModel, load_dense
from trainables.models.families.adapter import VLMAdapter
from trainables.models.unpruned import (
    Unpruned,
)
from trainables.pruning.iterative import plan_iteratively
from trainables.pruning.planning.planner import PrunePlan, plan_pruning
from trainables.pruning.scoring.criteria import (
    WITHOUT_DATA,
    criteria,
    criterion_settings,
    effective_importance,
)
from trainables.pruning.scoring.importance import score_criterion, score_importance
from trainables.pruning.scoring.scores import ImportanceScores, scores_of_method
from trainables.records import PLAN
from trainables.records.score_table import ScoreTable
from trainables.recovery.data.conversations import ConversationData, load_conversations
from trainables.recovery.encode.encoder import Encoder
from trainables.recovery.teacher.online import mean_square
from trainables.specs import Criterion, DataSpec, Split, TrialSpec
from trainables.specs.presets import effective_pruning

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
        pruning, dense = effective_pruning(self.spec.pruning), self.dense
        outside = None
        if pruning.size is not None:
            outside = outside_of(
                dense.model, dense.adapter, self.spec.efficiency, self.spec.model.dtype
            )
        if pruning.prunes and pruning.steps > 1:
            return self._iterative_plan(outside)
        scores = self._scores() if pruning.prunes else None
        return plan_pruning(scores, dense.shape, pruning, dense.weights_digest, outside)

    def _iterative_plan(self, outside: Unpruned | None) -> PrunePlan:
        """The plan of several steps, each with scores of its own; computed once per target."""
        pruning, dense = self.spec.pruning, self.dense
        key = {
            **self._calibration_key(),
            "pruning": pruning.model_dump(mode="json"),
            "outside": outside.model_dump() if outside else None,
        }

        def score(student: PreTrainedModel, adapter: VLMAdapter) -> ImportanceScores:
            return score_importance(
                student,
                adapter,
                self._calibration_batches(),
                pruning,
                data_digest=self.data.digest,
                seed=self.spec.seeds.calibration,
            )

        def build(folder: Path) -> None:
            plan = plan_iteratively(
                dense.model,
                dense.adapter,
                self._scores(),
                score,
                pruning,
                dense.weights_digest,
                outside,
            )
            write_json(folder / PLAN, plan)

        folder, _ = self.store.get_or_create("iterative-plan", key, build)
        return load_plan(folder)

    @property
    def teacher(self) -> DenseModel:
        """The model that the distillation's targets come from."""
        spec = self.spec.recovery.teacher.model
        if spec is None or spec == self.spec.model:
            return self.dense
        return load_dense(spec, slot="teacher")

    def hidden_scale(self, states: tuple[int, ...]) -> tuple[float, ...]:
        """Divisors of the hidden term, one per state of the teacher (see `LossSpec.normalize`)."""
        loss, teacher = self.spec.recovery.loss, self.teacher
        if not loss.gamma or loss.hidden != "l2" or loss.normalize == "none":
            return (1.0,) * loss.hidden_layers
        key = {
            **self._calibration_key(),
            "weights": teacher.weights_digest,
            "states": states,
            "tokens": loss.hidden_tokens,
        }

        def build(folder: Path) -> None:
            batches, tokens = self._calibration_batches(), loss.hidden_tokens
            scale = mean_square(teacher.model, batches, states, tokens, teacher.adapter)
            write_json(folder / "scale.json", {"mean_square": scale})

        folder, _ = self.store.get_or_create("hidden-scale", key, build)
        scale: list[float] = json.loads((folder / "scale.json").read_text())["mean_square"]
        return tuple(scale)

    def request(
        self,
        split: Split,
        limit: int | None,
        captions_limit: int | None = None,
        blank_images: bool = False,
    ) -> EvaluationRequest:
        """What a model is asked on that split; arguments and errors as for `task_folder`."""
        folder = self.task_folder(split, limit, captions_limit)
        return EvaluationRequest.by(self.spec.evaluation, split, folder, limit, blank_images)

    def task_folder(
        self, split: Split, limit: int | None, captions_limit: int | None = None
    ) -> Path:
        """Task files of that split.

        Args:
            split: whose questions are asked.
            limit: samples of each public benchmark, at least, as its images stay whole; None is
                all. The embedded tasks' files hold all of theirs; lmms-eval's limit cuts those.
            captions_limit: the limit of captioning tasks, if it is another one.

        Raises:
            ValueError: a benchmark's local copy is missing or cannot be read.
        """
        settings, folder = self.spec.evaluation, self.store.root / "tasks"
        names, cache = check_tasks(settings.tasks), arrow_cache(folder)
        files: dict[str, str] = {}
        for alone, own in ((True, limit), (False, captions_limit or limit)):
            chosen = tuple(name for name in names if TASKS[name].alone == alone)
            part = settings.model_copy(update={"tasks": chosen})
            files |= public_files(part, split, own, cache)
        embedded = any(TASKS[name].embedded for name in names)
        data = tiny_data(self.store.root) if embedded else None
        return write_task_files(data, split, folder, files)

    def task_version(self, task: str, split: Split) -> object:
        """What a task's scores depend on besides the model and the limits: its code and data."""
        if not TASKS[task].embedded:
            return public_version(self.spec.evaluation, task)
        return write_task_files(tiny_data(self.store.root), split, self.store.root / "tasks").name

    def dense_scores(
        self,
        split: Split,
        log: Path | None = None,
        blank_images: bool = False,
        crew: Crew | None = None,
        captions_limit: int | None = None,
    ) -> ScoreTable:
        """The dense model's per-sample scores, each task's from the store or scored now.

        A task that crashes is kept by nobody and stands in the table's `failed`: the next trial
        tries it again. With `blank_images` they are those of `EvaluationSpec.blank_image_limit`.

        `captions_limit` is for comparisons with a student that was asked fewer questions: the score
        of a caption depends on the images that are scored with it, so that the dense model's have
        to be scored on the same ones. Of all other tasks the first scores are compared.
        """
        settings = self.spec.evaluation
        limit = settings.blank_image_limit if blank_images else settings.limit(split)
        key: dict[str, object] = {
            "weights": self.dense.weights_digest,
            "processor": processor_digest(self.dense.folder),
            "dtype": str(self.dense.model.dtype),  # the CPU's is another one than the spec's
            "split": split,
            "max_new_tokens": settings.max_new_tokens,
        }
        if blank_images:
            key["images"] = "blank"

        def keep(task: str, score: Callable[[], ScoreTable]) -> ScoreTable:
            own = limit if TASKS[task].alone else captions_limit or limit
            entry, _ = self.store.get_or_create(
                "dense-scores",
                {**key, "limit": own, "task": task, "version": self.task_version(task, split)},
                lambda target: score().save(target / "scores.parquet"),
            )
            return _score_table(entry / "scores.parquet")

        request = self.request(split, limit, captions_limit, blank_images)
        return score_tasks(
            self.dense.model, self.dense.processor, request, log=log, keep=keep, crew=crew
        )

    def _scores(self) -> ImportanceScores:
        """The scores of the spec's method, each criterion's from the store or scored now."""
        pruning = self.spec.pruning
        by_criterion = {criterion: self._criterion(criterion) for criterion in criteria(pruning)}
        return scores_of_method(pruning.method, effective_importance(pruning), by_criterion)

    def _criterion(self, criterion: Criterion) -> ImportanceScores:
        pruning, seed = self.spec.pruning, self.spec.seeds.calibration
        data = criterion not in WITHOUT_DATA
        key: dict[str, object] = {
            "weights": self.dense.weights_digest,
            **criterion_settings(criterion, effective_importance(pruning)),
        }
        if data:
            key |= self._calibration_key()
        elif criterion == "random":
            key["seed"] = seed

        def build(folder: Path) -> None:
            scores = score_criterion(
                criterion,
                self.dense.model,
                self.dense.adapter,
                self._calibration_batches() if data else (),
                pruning,
                weights_digest=self.dense.weights_digest,
                data_digest=self.data.digest,
                seed=seed,
            )
            scores.save(folder / "scores.safetensors")

        entry, _ = self.store.get_or_create("importance", key, build)
        return ImportanceScores.load(entry / "scores.safetensors")

    def _calibration_key(self) -> dict[str, object]:
        importance = effective_importance(self.spec.pruning)
        return {
            "weights": self.dense.weights_digest,
            "data": self.data.digest,
            "max_tokens": self.spec.data.max_tokens,
            "seed": self.spec.seeds.calibration,
            "samples": importance.samples,
            "batch_size": importance.batch_size,  # changes the last bits only, which may break ties
        }

    def _calibration_batches(self) -> Sequence[Batch]:
        importance = effective_importance(self.spec.pruning)
        total = len(self.data.conversations)
        if importance.samples > total:
            raise ValueError(
                f"pruning.importance.samples={importance.samples}, but the data has only {total} "
                "conversations; lower it"
            )
        draw = np.random.default_rng((self.spec.seeds.calibration, CALIBRATION_SALT))
        chosen = draw.permutation(total)[: importance.samples]
        size = importance.batch_size
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
    return Encoder(dense.processor, data, max_tokens, dense.adapter)


@functools.lru_cache(maxsize=64)  # a task each
def _score_table(path: Path) -> ScoreTable:
    return ScoreTable.load(path)


def load_plan(folder: Path) -> PrunePlan:
    """The plan that a trial's folder holds."""
    return read_json(folder / PLAN, PrunePlan)
