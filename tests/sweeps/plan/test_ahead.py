"""How much is asked: no more than a file of questions holds."""

from __future__ import annotations

from pathlib import Path

from helpers.question_files import draw, rows, write

from sweeps.engine.plan.ahead import WHOLE_SPLIT, as_far_as_asked, questions
from trainables.specs import EvaluationSpec, Split, TrialSpec


def test_a_file_of_questions_is_as_long_as_it_is(tmp_path: Path) -> None:
    path = write(draw(tmp_path), rows())

    def asked(*more: str, limit: int | None = None) -> EvaluationSpec:
        return EvaluationSpec(tasks=(path, *more), search_limit=limit, report_limit=limit)

    splits: tuple[Split, ...] = ("search", "report")
    whole = {split: questions(TrialSpec(evaluation=asked()), split) for split in splits}
    assert sum(whole.values()) == len(rows())
    assert questions(TrialSpec(evaluation=asked(limit=3)), "search") == 3
    assert questions(TrialSpec(evaluation=asked("gqa")), "search") == whole["search"] + WHOLE_SPLIT
    for limit in (None, 200):
        known = as_far_as_asked(asked(limit=limit))
        assert (known.search_limit, known.report_limit) == (whole["search"], whole["report"])
    assert as_far_as_asked(asked(limit=3)) == asked(limit=3)
    assert as_far_as_asked(asked("gqa", limit=200)) == asked("gqa", limit=200)
