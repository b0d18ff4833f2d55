"""What the image is worth and what the curve was, from hand-made tables and files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainables.common.store import Store
from trainables.records import RecoveryReport
from trainables.records.score_table import ScoreTable, TaskSamples
from trainables.specs import EvaluationSpec, LossSpec, TrialSpec
from trainables.trial.diagnose import weighted_curve
from trainables.trial.evaluate import image_gain, without_captions
from trainables.trial.inputs import NO_DATA, Inputs


def table(scores: list[float]) -> ScoreTable:
    n = len(scores)
    samples = TaskSamples(
        tuple(range(n)), tuple(map(str, range(n))), np.array(scores), np.ones(n), ("a",) * n
    )
    return ScoreTable({"gqa": samples})


def test_the_gain_is_taken_over_the_questions_that_were_asked_without_images() -> None:
    with_images = table([100, 100, 0, 100, 0, 0, 0, 0])
    assert image_gain(with_images, table([0, 100, 0, 0])) == pytest.approx(75 - 25)


def test_captions_are_not_asked_again_without_images() -> None:
    """Fewer of them would be scored together, which alone changes each one's CIDEr."""

    def asked(*tasks: str) -> tuple[str, ...] | None:
        spec = TrialSpec(evaluation=EvaluationSpec(tasks=tasks, blank_image_limit=5))
        dense: Any = None
        left = without_captions(Inputs(spec, Store(Path()), dense, NO_DATA))
        return None if left is None else left.spec.evaluation.tasks

    assert asked("coco2017_cap_val", "pope") == ("pope",)
    assert asked("coco2017_cap_val") is None


def test_the_curve_is_the_weighted_loss_of_each_whole_line(tmp_path: Path) -> None:
    rows = [{"step": 0, "grad_norm": 1.0, "ce": 2.0, "l2": 4.0}, {"step": 1, "ce": 1.0, "l2": 3.0}]
    skipped = [
        {"step": 2, "ce": None, "l2": 1.0},
        {"step": 3, "ce": 9.0, "l2": 9.0, "skipped": "the loss is 6.75, above 3 times its usual"},
    ]
    lines = [json.dumps(row) for row in [*rows, *skipped]]
    (tmp_path / "curves.jsonl").write_text("\n".join(lines) + "\n")
    report = RecoveryReport(scope="joint", curves="curves.jsonl")
    loss = LossSpec(alpha=0.5, gamma=0.25)
    assert list(weighted_curve(tmp_path, report, loss)) == pytest.approx([2.0, 1.25])
    assert weighted_curve(tmp_path, RecoveryReport(scope="joint"), loss) == ()
    assert weighted_curve(tmp_path / "nowhere", report, loss) == ()
