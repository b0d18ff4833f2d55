"""The files that a run leaves beside the ledger."""

from pathlib import Path
from typing import NamedTuple

from analysis.answers.answers_page import write_answers
from analysis.answers.side_by_side import Answers, find_answers
from analysis.load import load_sweep_trials
from analysis.output.effect_files import EffectFiles, find_effects, has_effects, write_effects
from analysis.output.frontier_files import FrontierFiles, write_frontier
from trainables.records import SWEEP


class Written(NamedTuple):
    """What a sweep's folder holds beside its ledger; `paths` are the files for MLflow.

    `left_out` says which trials none of it has (see `analysis.load.Loaded.note`).
    """

    files: FrontierFiles
    effects: EffectFiles | None
    answers: Answers | None
    paths: tuple[Path, ...]
    left_out: str


def write_files(folder: Path) -> Written:
    """Frontier, effects and answers, from what the ledger holds."""
    trials, note = (loaded := load_sweep_trials(folder)).trials, loaded.note
    files = write_frontier(folder, trials=trials, note=note)
    found = find_effects(folder, trials) if has_effects(folder) else None
    effects = write_effects(folder, found) if found is not None else None
    paths = (folder / SWEEP, *files.paths, *(effects.paths if effects else ()))
    answers = find_answers(folder, trials, files.frontier.trial_ids)
    if answers is not None:
        paths += write_answers(folder, answers)[:1]  # the page; MLflow makes a table of `answers`
    return Written(files, effects, answers, paths, note)
