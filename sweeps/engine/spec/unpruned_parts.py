"""What a trial keeps; a size target first needs to know what of the model pruning leaves alone.

Counting the parameters and FLOPs of a vision tower needs torch, which the driver does not import,
so another process is asked; its answers are kept in the user's cache folder.
"""

import functools
import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from sweeps.engine.spec.asking import answer_of
from trainables.common.files import replace_file
from trainables.models.families.registry import adapter_for, model_config
from trainables.models.families.shape import LanguageShape
from trainables.models.unpruned import Counted, Question, Unpruned, Widths
from trainables.pruning.planning.pruning_target import Target, resolve_target
from trainables.specs import TrialSpec

COUNTER = "trainables.efficiency.costing"
TIMEOUT_SECONDS = 300


def target_of(spec: TrialSpec, shape: LanguageShape) -> Target:
    """How much the trial keeps of a language model of this shape.

    A size target takes a few seconds for the first trial of a model.

    Raises:
        ValueError: if the target cannot be met, or the model's config makes no model.
    """
    unpruned = unpruned_of(spec) if spec.pruning.size is not None else None
    return resolve_target(shape, spec.pruning, unpruned)


def unpruned_of(spec: TrialSpec) -> Unpruned:
    """What pruning leaves alone of the trial's model; some seconds for the first trial of a model.

    The trial itself fills the same in from the model (`trainables.efficiency.unpruned_parts`), so
    that both make one plan.

    Raises:
        ValueError: the model's config makes no model.
    """
    config = model_config(spec.model)
    students: tuple[Widths, ...] = ()
    if spec.pruning.bounds_memory:  # the dense model, whose layers are alike
        students = (tuple(adapter_for(config).language_shape(config).widths()[:1]),)
    question = Question(
        config=config, students=students, efficiency=spec.efficiency, dtype=spec.model.dtype
    )
    (counted,) = count([question])
    peak = counted.activations[0] if students else None
    return counted.unpruned.model_copy(update={"activations": peak})


def count(questions: Sequence[Question]) -> tuple[Counted, ...]:
    """What a process that has torch answers; some seconds, or none if it was asked before.

    Raises:
        ValueError: a model's config makes no model.
    """
    return _ask(json.dumps([question.model_dump(mode="json") for question in questions]))


def kept_answers() -> Path:
    """The folder of earlier answers, one file each, named by question and by who counted."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "prunesweep" / "counted"


@functools.lru_cache(maxsize=32)
def _ask(questions: str) -> tuple[Counted, ...]:
    name = hashlib.sha256(f"{_counted_by()}{questions}".encode()).hexdigest()[:16]
    path = kept_answers() / f"{name}.json"
    with suppress(OSError, ValueError):
        return _parse(path.read_text(encoding="utf-8"))
    answers = answer_of(
        COUNTER, questions, "the model cannot be counted", timeout_seconds=TIMEOUT_SECONDS
    )
    with suppress(OSError):  # a read-only home: the next one counts again
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, answers.encode())
    return _parse(answers)


def _parse(answers: str) -> tuple[Counted, ...]:
    return tuple(Counted.model_validate(each) for each in json.loads(answers))


@functools.cache
def _counted_by() -> str:
    """Digest of our code that counts, and the version of the library that builds the models."""
    root, code = Path(__file__).parents[3] / "trainables", hashlib.sha256()
    for folder in ("efficiency", "models"):
        for path in sorted((root / folder).rglob("*.py")):
            code.update(path.read_bytes())
    return f"{code.hexdigest()} {version('transformers')}"
