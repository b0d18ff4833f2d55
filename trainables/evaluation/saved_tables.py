"""Tables of tasks that a model has answered, so that a crash or a kill does not lose them."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from trainables.records.score_table import ScoreTable
from trainables.specs import digest

FOLDER = "scored"

# Given a task and what scores it, hands back its table: kept from before, or scored and kept now.
Keep = Callable[[str, Callable[[], ScoreTable]], ScoreTable]


def score_anew(task: str, score: Callable[[], ScoreTable]) -> ScoreTable:
    """Score, and keep nothing."""
    return score()


def keep_in(folder: Path, key: Mapping[str, object]) -> Keep:
    """Keep every task's table in the trial's folder until `remove_saved_tables`.

    Args:
        folder: the trial's.
        key: everything that the answers depend on beside the task, as plain JSON values.
    """

    def keep(task: str, score: Callable[[], ScoreTable]) -> ScoreTable:
        path = folder / FOLDER / f"{task}-{digest({**key, 'task': task})}.parquet"
        if path.exists():
            return ScoreTable.load(path)
        table = score()
        path.parent.mkdir(exist_ok=True)
        table.save(path)
        return table

    return keep


def remove_saved_tables(folder: Path) -> None:
    """Remove what `keep_in` kept: the whole table is there by now."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)
