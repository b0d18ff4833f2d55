"""What every question of a trial scored, read from the tables in its folder."""

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from analysis.load import Trial
from trainables.common.files import DamagedError, pass_over
from trainables.records import REPORT_SAMPLES, SEARCH_SAMPLES, TRAINED_SAMPLES
from trainables.records.clusters import Floats, difference_variances, image_sums
from trainables.records.score_table import ScoreTable
from trainables.specs import Split

FILES: dict[Split, str] = {"search": SEARCH_SAMPLES, "report": REPORT_SAMPLES}


def trial_samples(trial: Trial, split: Split) -> ScoreTable | None:
    """The trial's scored questions of `split`, in one order; None where they were not kept.

    Trials of an older version, and those whose scores came over without their folders, have none;
    a damaged table, which is said once, counts as none.
    """
    return _samples(trial, FILES[split])


def trained_samples(trial: Trial) -> ScoreTable | None:
    """Those of the search split as the trained student scored them, even if it was not kept."""
    return _samples(trial, SEARCH_SAMPLES if trial.record.kept == "trained" else TRAINED_SAMPLES)


def _samples(trial: Trial, name: str) -> ScoreTable | None:
    path = trial.folder / name if trial.folder else None
    if path is None or not path.exists():
        return None
    stamp = os.stat(path)
    try:
        return _read(path, stamp.st_mtime_ns, stamp.st_size)
    except (OSError, ValueError, KeyError) as error:
        pass_over(DamagedError(path, error))
        return None


def same_questions(tables: Sequence[ScoreTable | None]) -> list[list[int]]:
    """Positions of the tables by what was asked, the largest group first; loners are left out."""
    groups: list[tuple[ScoreTable, list[int]]] = []
    for place, table in enumerate(tables):
        if table is None:
            continue
        for first, group in groups:
            if table.same_questions(first):
                group.append(place)
                break
        else:
            groups.append((table, [place]))
    return sorted((group for _, group in groups if len(group) > 1), key=len, reverse=True)


def summed_influences(tables: Sequence[ScoreTable]) -> Floats:
    """[M, G] how much each of G images moves the averages of M models.

    The models answered the same questions, see `same_questions`.
    """
    return image_sums(tables[0].images, np.stack([table.influences for table in tables]))[1]


def paired_influences(trials: Sequence[Trial], split: Split) -> list[tuple[list[int], Floats]]:
    """Trials that answered the same questions: their places, and [M, G] their summed influences.

    The influences are those on the retention, of at least two images.
    """
    return influences_of(trials, [trial_samples(trial, split) for trial in trials], split)


def influences_of(
    trials: Sequence[Trial], tables: Sequence[ScoreTable | None], split: Split
) -> list[tuple[list[int], Floats]]:
    """The same of the trials' tables that are given."""
    found = []
    for members in same_questions(tables):
        sums = summed_influences([t for m in members if (t := tables[m])])
        first = trials[members[0]].evaluation(split)
        base = first and (first.average if first.retention is None else first.dense_average)
        if base and sums.shape[1] > 1:
            found.append((members, sums / base))
    return found


def average_differences(tables: Sequence[ScoreTable]) -> tuple[Floats, int]:
    """Variances of the differences of M models' averages, in squared points, and images: [M, M], G.

    The models answered the same questions, see `same_questions`.
    """
    sums = summed_influences(tables)
    return difference_variances(sums), sums.shape[1]


@lru_cache(maxsize=512)  # a running sweep asks for the same tables after every trial
def _read(path: Path, _stamp: int, _size: int) -> ScoreTable:
    return ScoreTable.load(path).ordered()
