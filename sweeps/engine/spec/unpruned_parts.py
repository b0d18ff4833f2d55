"""What a trial keeps; a size target first needs to know what of the model pruning leaves alone.

Counting the parameters and FLOPs of a vision tower needs torch, so another process is asked.
"""

import functools
import json
from collections.abc import Sequence
from importlib.metadata import version

from sweeps.engine.spec.asking import answer_of, code_of, kept_answer
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


@functools.lru_cache(maxsize=32)
def _ask(questions: str) -> tuple[Counted, ...]:
    return kept_answer(
        _counted_by(),
        questions,
        _parse,
        lambda: answer_of(
            COUNTER, questions, "the model cannot be counted", timeout_seconds=TIMEOUT_SECONDS
        ),
    )


def _parse(answers: str) -> tuple[Counted, ...]:
    return tuple(Counted.model_validate(each) for each in json.loads(answers))


@functools.cache
def _counted_by() -> str:
    """Digest of our code that counts, and the version of the library that builds the models."""
    return f"{code_of('efficiency', 'models')} {version('transformers')}"
