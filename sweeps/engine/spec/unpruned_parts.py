"""What a trial keeps; a size target first needs to know what of the model pruning leaves alone.

Counting the parameters and FLOPs of a vision tower needs torch, which the driver does not import.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from trainables.models.families.registry import model_config
from trainables.models.families.shape import LanguageShape
from trainables.models.unpruned import (
    Counted,
    Question,
    Unpruned,
)
from trainables.pruning.planning.targets import Target, resolve_target
from trainables.specs import DTYPE_BYTES, TrialSpec

COUNTER = "trainables.efficiency.image_cost"
COSTS = "trainables.efficiency.costing"
TIMEOUT_SECONDS = 300


def find_outside(spec: TrialSpec) -> Unpruned:
    """Vision tower and projector of the trial's model; a few seconds for the first trial of it.

    Raises:
        ValueError: the model's config makes no model.
    """
    return _find(
        json.dumps([model_config(spec.model)]),
        spec.efficiency.prompt_tokens,
        DTYPE_BYTES[spec.model.dtype],
    )[0]


def target_of(spec: TrialSpec, shape: LanguageShape) -> Target:
    """How much the trial keeps of a language model of this shape.

    Raises:
        ValueError: if the target cannot be met.
    """
    outside = find_outside(spec) if spec.pruning.size else None
    return resolve_target(shape, spec.pruning, outside)


def find_all_outside(
    configs: list[dict[str, object]], prompt_tokens: int, bytes_per_weight: int
) -> tuple[Unpruned, ...]:
    """The same for several models, in one process."""
    return _find(json.dumps(configs), prompt_tokens, bytes_per_weight)


def count_costs(questions: Sequence[Question]) -> list[Counted]:
    """What a cost table needs of each model; some seconds.

    Raises:
        ValueError: a model's config makes no model.
    """
    asked = json.dumps([question.model_dump(mode="json") for question in questions])
    return [Counted.model_validate(each) for each in _ask(COSTS, asked)]


@functools.lru_cache(maxsize=32)
def _find(configs: str, prompt_tokens: int, bytes_per_weight: int) -> tuple[Unpruned, ...]:
    fixed = {"prompt_tokens": prompt_tokens, "bytes_per_weight": bytes_per_weight}
    return tuple(Unpruned.model_validate({**found, **fixed}) for found in _ask(COUNTER, configs))


def _ask(module: str, question: str) -> list[dict[str, Any]]:
    """What a process that has torch answers; question and answer are JSON."""
    done = subprocess.run(
        [sys.executable, "-m", module],
        input=question,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        raise ValueError(f"the model cannot be counted: {lines[-1]}")
    answer: list[dict[str, Any]] = json.loads(done.stdout)
    return answer
