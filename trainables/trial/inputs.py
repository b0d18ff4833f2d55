"""What a trial reads: the dense model, its conversations, the task files, and the store.

A warm slot serves many trials, so what is loaded is kept in the process.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

from trainables.common.store import Store
from trainables.embedded.data import EmbeddedData
from trainables.embedded.sources import SOURCES, source_of
from trainables.evaluation.benchmarks.preparing import public_files, public_version
from trainables.evaluation.catalog import asked_tasks
from trainables.evaluation.own.preparing import own_files, own_tasks, own_version
from trainables.evaluation.request import EvaluationRequest
from trainables.evaluation.task_files import arrow_cache, embedded_version, write_task_files
from trainables.models.dense import DenseModel, load_dense
from trainables.recovery.data.conversations import (
    ConversationData,
    conversation_source,
    load_conversations,
)
from trainables.recovery.data.formats import Source
from trainables.recovery.encode.encoder import Encoder
from trainables.specs import DataSpec, Split, TrialSpec

NO_DATA = ConversationData((), (), digest="")


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
        return _encoder(self.dense, self.data, self.spec.data)

    @property
    def teacher(self) -> DenseModel:
        """The model that the distillation's targets come from."""
        spec = self.spec.recovery.teacher.model
        if spec is None or spec == self.spec.model:
            return self.dense
        return load_dense(spec, slot="teacher")

    def request(
        self,
        split: Split,
        limit: int | None,
        captions_limit: int | None = None,
        blank_images: bool = False,
    ) -> EvaluationRequest:
        """What a model is asked on that split; its task files are written unless they are there.

        Args:
            split: whose questions are asked.
            limit: samples of each public benchmark, at least, as its images stay whole; None is
                all. The embedded tasks' files hold all of theirs; lmms-eval's limit cuts those.
            captions_limit: the limit of captioning tasks, if it is another one.
            blank_images: hide the images.

        Raises:
            ValueError: a benchmark's local copy is missing or cannot be read.
        """
        settings, folder = self.spec.evaluation, self.store.root / "tasks"
        tasks, cache = asked_tasks(settings), arrow_cache(folder)
        files = own_files(settings, split, folder, cache, self.store)
        for alone, own in ((True, limit), (False, captions_limit or limit)):
            chosen = tuple(name for name, info in tasks.items() if info.alone == alone)
            part = settings.model_copy(update={"tasks": chosen})
            files |= public_files(part, split, own, cache)
        sources = {info.collection for info in tasks.values() if info.embedded}
        data = {source: embedded_data(source, self.store.root) for source in sorted(sources)}
        written = write_task_files(data, split, folder, files)
        return EvaluationRequest(
            tasks=tuple(tasks),
            split=split,
            task_folder=written,
            limit=limit,
            batch_size=settings.batch_size,
            max_new_tokens=settings.max_new_tokens,
            blank_images=blank_images,
            own=own_tasks(settings, self.store),
        )

    def task_version(self, task: str, split: Split) -> object:
        """What a task's scores depend on besides the model and the limits: its code and data."""
        settings = self.spec.evaluation
        info = asked_tasks(settings)[task]
        if info.own:
            return own_version(settings, task)
        if not info.embedded:
            return public_version(settings, task)
        return embedded_version(embedded_data(info.collection, self.store.root), task, split)


def load_inputs(
    spec: TrialSpec, store: Store, *, data: bool = True, spread: bool = False
) -> Inputs:
    """Load the dense model and the conversations of a trial, or take them from this process.

    Args:
        spec: the trial.
        store: where the embedded data lie, generated on first use.
        data: whether the conversations are needed; without them nothing is scored or trained.
        spread: lay the model over all GPUs of this machine.

    Raises:
        ValueError: weights or data are missing or broken.
    """
    dense = load_dense(spec.model, spread=spread)
    return Inputs(spec, store, dense, _data(spec, store.root) if data else NO_DATA)


@functools.lru_cache(maxsize=len(SOURCES))
def embedded_data(source: str, store: Path) -> EmbeddedData:
    """An embedded model's data below `store`, made on first use."""
    return SOURCES[source].prepare(store)


def _data(trial: TrialSpec, store: Path) -> ConversationData:
    """The conversations; the embedded model's own where the spec names none."""
    spec = trial.data
    if spec.conversations is None:
        spec = embedded_data(source_of(trial.model.path), store).named_in(spec)
    return _conversations(spec, conversation_source(spec))


@functools.lru_cache(maxsize=1)
def _conversations(spec: DataSpec, source: Source) -> ConversationData:
    """Those of a spec, whose files are in this state."""
    return load_conversations(spec)


@functools.lru_cache(maxsize=1)
def _encoder(dense: DenseModel, data: ConversationData, spec: DataSpec) -> Encoder:
    return Encoder(dense.processor, data, spec.max_tokens, dense.adapter, look=spec.skip_broken)
