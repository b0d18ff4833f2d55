"""The answers side by side as a table artifact of an MLflow run, with pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.answers.side_by_side import Answers
from trainables.records import GALLERY
from trainables.specs import digest

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

TABLE = "answers_table.json"
SHOWN = "prunesweep.answers"  # digest of the table that the run holds


def log_answers(client: MlflowClient, run_id: str, answers: Answers, folder: Path) -> bool:
    """Put the table on the run, in place of an older one; returns whether it was written.

    The run shows it as a table whose first column are the pictures. A run that holds the same
    table already is left as it is.

    Args:
        client: of the tracking store.
        run_id: the run.
        answers: the table.
        folder: the sweep's folder, which holds the pictures.
    """
    state = digest(answers)
    if client.get_run(run_id).data.tags.get(SHOWN) == state:
        return False
    # `log_table` appends to the rows of a table that is there, so that one is emptied first.
    client.log_text(run_id, '{"columns":[],"data":[]}', TABLE)
    client.log_table(run_id, _columns(answers, folder), TABLE)
    client.set_tag(run_id, SHOWN, state)  # last: after a crash the next call starts again
    return True


def _columns(answers: Answers, folder: Path) -> dict[str, list[Any]]:
    """Columns by name; trials of one configuration are told apart by their ids."""
    import mlflow

    pictures = (folder / GALLERY).parent
    columns: dict[str, list[Any]] = {
        "picture": [mlflow.Image(str(pictures / row.sample.picture)) for row in answers.rows],
        "task": [row.sample.task for row in answers.rows],
        "question": [row.sample.question for row in answers.rows],
        "truth": [" / ".join(row.sample.truth) for row in answers.rows],
    }
    for place, model in enumerate(answers.models):
        name = model.label if model.label == model.trial_id else f"{model.label} [{model.trial_id}]"
        said = [row.answers[place] for row in answers.rows]
        columns[name] = [f"{answer.mark} {answer.shown}" for answer in said]
    return columns
