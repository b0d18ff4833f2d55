"""What a trial keeps; a size target first needs to know what of the model pruning leaves alone.

Counting the parameters and FLOPs of a vision tower needs torch, which the driver does not import,
so another process is asked.
"""

import functools
import json
import subprocess
import sys
from collections.abc import Sequence

from trainables.models.families.registry import model_config
from trainables.models.families.shape import LanguageShape
from trainables.models.unpruned import Counted, Question, Unpruned
from trainables.pruning.planning.pruning_target import Target, resolve_target
from trainables.specs import DTYPE_BYTES, TrialSpec

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

    Raises:
        ValueError: the model's config makes no model.
    """
    (counted,) = count([Question(config=model_config(spec.model), students=())])
    own = {
        "prompt_tokens": spec.efficiency.prompt_tokens,
        "bytes_per_weight": DTYPE_BYTES[spec.model.dtype],
    }
    return counted.unpruned.model_copy(update=own)


def count(questions: Sequence[Question]) -> tuple[Counted, ...]:
    """What a process that has torch answers; some seconds.

    Raises:
        ValueError: a model's config makes no model.
    """
    return _ask(json.dumps([question.model_dump(mode="json") for question in questions]))


@functools.lru_cache(maxsize=32)
def _ask(questions: str) -> tuple[Counted, ...]:
    done = subprocess.run(
        [sys.executable, "-m", COUNTER],
        input=questions,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        raise ValueError(f"the model cannot be counted: {lines[-1]}")
    return tuple(Counted.model_validate(each) for each in json.loads(done.stdout))
