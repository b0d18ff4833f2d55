"""What the data and the machine at hand tell a plan: lengths of samples, speed of a core.

Both need torch, so that processes are asked; their answers are kept.
"""

import functools
import os
import platform
import socket
import subprocess
from importlib.metadata import version

from sweeps.engine.spec.asking import answer_of, code_of, kept_answer
from trainables.common.weights import checkpoint_parts
from trainables.embedded.sources import SOURCES
from trainables.models.families.registry import adapter_for, model_config, model_folder
from trainables.models.speed import Speed, SpeedQuestion
from trainables.recovery.data.conversations import load_conversations
from trainables.recovery.data.lengths import Lengths, LengthsQuestion
from trainables.specs import DataSpec, ModelSpec

MEASURER, TIMER = "trainables.recovery.encode.measuring", "trainables.efficiency.speed"


def lengths_of(model: ModelSpec, data: DataSpec) -> Lengths | None:
    """Lengths of a sample of the conversations; None where model or data is not here yet.

    Some seconds for the first plan of a model and its data.

    Raises:
        ValueError: the processor, the data or one of the samples is broken.
    """
    if model_folder(model) is None:
        return None
    if data.conversations is None and model.path not in SOURCES:
        return None
    keep = {"conversations", "image_folder", "linked_folders", "max_tokens", "skip_broken"}
    plain = DataSpec(**data.model_dump(include=keep))  # workers change no length
    found = _lengths_or_error(LengthsQuestion(model=model, data=plain).model_dump_json())
    if isinstance(found, ValueError):
        raise found.with_traceback(None)
    return found


@functools.lru_cache(maxsize=32)
def _lengths_or_error(asked: str) -> Lengths | ValueError:
    """What is asked costs seconds, whatever comes of it."""
    try:
        return _lengths(asked)
    except ValueError as error:
        return error


def _lengths(asked: str) -> Lengths:
    question = LengthsQuestion.model_validate_json(asked)
    folder = model_folder(question.model)
    assert folder is not None
    by = [code_of("recovery", "embedded", "models"), version("transformers")]
    by += [f"{name} {part}" for name, part in sorted(checkpoint_parts(folder).items())]
    content = [question.model.path, str(question.data.max_tokens)]  # wherever the files lie
    if question.data.conversations is not None:
        data = load_conversations(question.data)
        content = [data.digest, str(question.data.max_tokens)]
        if not adapter_for(model_config(question.model)).fixed_image_tokens:
            content.append(str(data.picture_digest()))
    return kept_answer(
        " ".join(by),
        " ".join(content),
        Lengths.model_validate_json,
        lambda: answer_of(MEASURER, asked, "the conversations cannot be counted"),
    )


def speed_of(model: ModelSpec, samples: int, tokens: int) -> Speed | None:
    """How fast a core of this machine computes a model's layers; None where it cannot be tried.

    Some seconds for the first plan of a model on a machine; it downloads nothing.
    """
    question = SpeedQuestion(config=model_config(model), samples=samples, tokens=tokens)
    return _speed(question.model_dump_json())


@functools.lru_cache(maxsize=32)
def _speed(asked: str) -> Speed | None:
    where = (socket.gethostname(), platform.machine(), version("torch"), version("transformers"))
    alone = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    try:
        return kept_answer(
            " ".join((*where, code_of("efficiency"))),
            asked,
            Speed.model_validate_json,
            lambda: answer_of(TIMER, asked, "no speed", environment=alone, timeout_seconds=300),
        )
    except (
        ValueError,
        OSError,
        subprocess.SubprocessError,
    ):  # a model that this machine cannot hold; then it is assumed
        return None
