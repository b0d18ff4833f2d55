"""A look at a model: whether a trial of it would run, line by line, and what it answers."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from trainables.common.findings import Finding, Level
from trainables.common.names import first_line
from trainables.common.store import Store
from trainables.common.weights import read_config
from trainables.evaluation.benchmarks.preparing import check_benchmarks
from trainables.evaluation.harness import score_tasks
from trainables.models.collation import IGNORE, move
from trainables.models.dense import DenseModel, checkpoint_folder
from trainables.models.families.adapter import VLMAdapter
from trainables.models.families.registry import check_model
from trainables.models.processors import processor_faults, read_processor
from trainables.recovery.data.conversations import Conversation, ConversationData
from trainables.recovery.data.rows import IMAGE_MARK
from trainables.recovery.encode.encoder import Encoder
from trainables.specs import Frozen, TrialSpec
from trainables.trial.asked import Answered, answered
from trainables.trial.inputs import Inputs, load_inputs

ASKED = 8  # questions of each task
SIZE = (96, 64)  # pixels of the pictures of the conversations
TURNS = (("Is it red?", "no"), ("And what else?", "blue"))


class Examination(Frozen):
    """What was found, and what the model answers to a handful of each task's questions."""

    findings: tuple[Finding, ...]
    answers: tuple[Answered, ...] = ()

    @property
    def fails(self) -> bool:
        """Whether a trial would."""
        return any(finding.level == "error" for finding in self.findings)


def examine_model(spec: TrialSpec, store: Path, log: Path | None = None) -> Examination:
    """Everything that a trial of the model will need, as far as it can be looked at.

    What depends on something that is to be mended is left for the next time.

    Args:
        spec: the model, and the tasks that it is to answer.
        store: where the embedded data lie, generated on first use.
        log: file that lmms-eval's output is appended to.
    """
    found = Examination(findings=tuple(_files(spec)))
    if found.fails:
        return found
    try:
        check_benchmarks(spec.evaluation)
        inputs = load_inputs(spec, Store(store), data=False)
    except ValueError as error:
        return _with(found, Finding(what="model", level="error", text=str(error)))
    size = sum(p.numel() for p in inputs.dense.model.parameters())
    text = f"{size:,} parameters, every tensor as its config says"
    found = _with(found, Finding(what="model", level="ok", text=text), *_reads(inputs))
    return found if found.fails else _answers(found, inputs, log)


def _files(spec: TrialSpec) -> Iterator[Finding]:
    """What needs no weights: config, headers of the weights, and the processor."""
    try:
        adapter = check_model(spec.model)
        folder = checkpoint_folder(spec.model)
    except ValueError as error:
        yield Finding(what="checkpoint", level="error", text=str(error))
        return
    config = read_config(folder)
    text = f"{adapter.name}, {adapter.model_class} with a {adapter.backbone.model_type} backbone"
    yield Finding(what="family", level="ok", text=text)
    try:
        processor = read_processor(folder, spec.model.trust_remote_code)
    except ValueError as error:
        yield Finding(what="processor", level="error", text=str(error))
        return
    faults = processor_faults(processor, adapter, config)
    for fault in faults:
        yield Finding(what=fault.what, level="error", text=fault.text)
    if faults:
        return
    text = f"{type(processor).__name__}; its template writes images and answers where they belong"
    yield Finding(what="processor", level="ok", text=text)
    yield _vocabulary(processor, adapter, config)


def _vocabulary(processor: Any, adapter: VLMAdapter, config: dict[str, Any]) -> Finding:
    rows = adapter.language_shape(config).vocab_size
    beyond = sorted(t for t, number in processor.tokenizer.get_vocab().items() if number >= rows)
    if not beyond:
        level: Level = "ok"
        text = f"{len(processor.tokenizer):,} tokens, {rows:,} rows of the embedding"
    else:
        level = "warning"
        text = (
            f"{len(beyond)} tokens have no row among the embedding's {rows:,} ({beyond[0]!r}); a "
            "text that holds one fails: resize the embedding, or take them out of the tokenizer"
        )
    return Finding(what="vocabulary", level=level, text=text)


def _reads(inputs: Inputs) -> Iterator[Finding]:
    """Conversations as a recovery encodes them, and a forward pass over them."""
    with tempfile.TemporaryDirectory() as folder:
        paths = tuple(Path(folder) / f"{number}.png" for number in range(2))
        for path in paths:
            Image.new("RGB", SIZE, (200, 30, 30)).save(path)
        ask = f"{IMAGE_MARK}\n{TURNS[0][0]}"
        cases: list[tuple[str, Level, tuple[Path, ...], tuple[tuple[str, str], ...]]] = [
            ("one turn", "error", paths[:1], ((ask, TURNS[0][1]),)),
            ("several turns", "error", paths[:1], ((ask, TURNS[0][1]), TURNS[1])),
            ("text alone", "warning", (), TURNS[1:]),
            ("two images", "warning", paths, ((IMAGE_MARK + ask, TURNS[0][1]),)),
        ]
        for name, level, shown, turns in cases:
            try:
                text = _reads_one(inputs, Conversation(name, shown, turns))
            except Exception as error:  # whatever a model's own code raises
                text = first_line(error)
                if not isinstance(error, ValueError):
                    text = f"{type(error).__name__}: {text}"
                yield Finding(what=name, level=level, text=text)
            else:
                yield Finding(what=name, level="ok", text=text)


@torch.no_grad()
def _reads_one(inputs: Inputs, conversation: Conversation) -> str:
    """What comes of a conversation; raises ValueError where something does not fit."""
    dense, data = inputs.dense, ConversationData((conversation,), (), "")
    encoder = Encoder(dense.processor, data, inputs.spec.data.max_tokens, dense.adapter)
    batch = encoder.batch([0])
    labels = batch.pop("labels")
    inputs_here = move(batch, dense.model.device, dense.model.dtype)
    tokens = int((batch["input_ids"] == dense.processor.image_token_id).sum())
    made = _features(dense, inputs_here) if conversation.images else 0
    if made != tokens:
        raise ValueError(
            f"the processor writes {tokens} tokens for {len(conversation.images)} images of "
            f"{SIZE[0]} x {SIZE[1]} pixels, but the model makes {made} of them; mend the "
            "processor's settings, or take the one that the model was trained with"
        )
    logits = dense.model(**inputs_here).logits
    if not torch.isfinite(logits).all():
        raise ValueError(
            "the model's logits are not finite; its weights are damaged, or overflow in "
            f"{inputs.spec.model.dtype}"
        )
    answer = int((labels != IGNORE).sum())
    return f"{labels.shape[1]} tokens, {tokens} of images and {answer} of answers"


def _features(dense: DenseModel, batch: dict[str, Any]) -> int:
    """How many image tokens the model makes of the images of a batch."""
    images = {name: batch[name] for name in dense.adapter.image_inputs}
    features: Any = dense.model.get_image_features
    found = features(**images, return_dict=True).pooler_output
    return sum(torch.as_tensor(each).flatten(0, -2).shape[0] for each in found)


def _answers(found: Examination, inputs: Inputs, log: Path | None) -> Examination:
    """What the model says to the first questions of each task of the search split."""
    dense = inputs.dense
    try:
        request = inputs.request("search", ASKED)
        table = score_tasks(lambda: dense.model, dense.processor, request, log=log)
        shown = answered(table, request.task_folder, ASKED, log)
    except ValueError as error:
        return _with(found, Finding(what="tasks", level="error", text=str(error)))
    lines = [
        Finding(what=name, level="error", text=f"failed: {why}")
        for name, why in table.failed.items()
    ]
    for name, rows in table.tasks.items():
        right, count = (rows.scores > 0).sum(), len(rows.scores)
        text = f"{right} of {count} answers score"
        lines.append(Finding(what=name, level="ok" if right else "warning", text=text))
    if not any(row.score for row in shown):
        text = (
            f"none of {len(shown)} scores, and a sweep refuses a model that scores 0; read what it "
            "says, and give it the chat template that it was trained with, or tasks that it knows"
        )
        lines.append(Finding(what="answers", level="error", text=text))
    whole = _with(found, *lines)
    return whole.model_copy(update={"answers": tuple(shown)})


def _with(found: Examination, *more: Finding) -> Examination:
    return found.model_copy(update={"findings": (*found.findings, *more)})
