"""A model's scores and its report in one call."""

from typing import Any

from trainables.evaluation.harness import judge, score_tasks
from trainables.evaluation.request import EvaluationRequest
from trainables.records import EvaluationReport
from trainables.records.score_table import ScoreTable


def evaluate(
    model: Any,
    processor: Any,
    request: EvaluationRequest,
    dense: ScoreTable | None = None,
    **more: Any,
) -> tuple[EvaluationReport, ScoreTable]:
    """What `judge` makes of the scores that `score_tasks` finds, as a trial does it."""
    return judge(request.split, score_tasks(lambda: model, processor, request, **more), dense)
