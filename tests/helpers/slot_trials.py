"""Trials as different as a slot may be given them, one after another, and how each of them ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from helpers.jobs import few_steps, make_job, make_spec
from trainables.records import RECORD, TRAINED
from trainables.specs import EvaluationSpec, LossSpec, TeacherSpec
from trainables.trial.launch import run_job

MIXTURE = LossSpec(alpha=0.5, beta=0.3, gamma=0.2, hidden_layers=2)
EVALUATION = EvaluationSpec(
    tasks=("tiny_attribute",), search_limit=2, report_limit=2, rung_limit=2, batch_size=2
)
Ending = type[BaseException] | None
LORA_2 = {"scope": "joint", "zero_stage": 2}
FULL_1 = {"scope": "full", "zero_stage": 1}
LORA_3 = {"scope": "joint", "zero_stage": 3}
TRIALS: tuple[tuple[dict[str, Any], Ending], ...] = (  # settings of the recovery, what ends it
    (LORA_2, None),
    (FULL_1, None),
    (LORA_3, None),
    (LORA_2 | {"loss": MIXTURE, "teacher": TeacherSpec(mode="cached")}, RuntimeError),
    (FULL_1 | {"zero_stage": 3}, SystemExit),  # an early stop
    (LORA_2 | {"zero_stage": 1, "loss": MIXTURE}, SystemExit),
    (FULL_1 | {"zero_stage": 2}, KeyboardInterrupt),
    (LORA_2, None),
    (FULL_1, None),
    (LORA_3, None),
)


def run_trial(
    folder: Path,
    conversations: Path,
    recovery: dict[str, Any],
    ending: Ending,
    **settings: Any,
) -> None:
    """A trial as a slot is given it; `ending` must come out of its report at a rung."""

    def report(_: dict[str, Any]) -> None:
        if ending is not None:
            raise ending

    spec = make_spec(
        conversations,
        few_steps(2, **recovery),
        evaluation=EVALUATION,
        rungs=(0.5,),
        quantization="nf4",
        **settings,
    )
    job = make_job(folder, spec).model_dump(mode="json")
    if ending in (None, RuntimeError):
        expected = "failed" if ending else "completed"
        assert run_job(job, report)["status"] == expected
        assert (folder / RECORD).exists()
    else:
        with pytest.raises(ending):
            run_job(job, report)
    assert (folder / TRAINED).exists() == (ending is None)
