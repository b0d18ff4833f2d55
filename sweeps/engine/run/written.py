"""The files that a run leaves beside the ledger."""

from pathlib import Path
from typing import NamedTuple

from analysis.answers.answers_page import write_answers
from analysis.answers.side_by_side import Answers
from analysis.load import load_sweep_trials
from analysis.output.effect_files import EffectFiles, find_effects, has_effects, write_effects
from analysis.output.frontier_files import FrontierFiles, write_frontier
from analysis.report.write import REPORT_PAGE, write_report
from sweeps.engine.report.telling import report_of
from trainables.records import SWEEP


class Written(NamedTuple):
    """What a sweep's folder holds beside its ledger; `paths` are the files for MLflow.

    `report` is the page. `left_out` says which trials none of it has (see
    `analysis.load.Loaded.note`).
    """

    files: FrontierFiles
    effects: EffectFiles | None
    report: Path
    answers: Answers | None
    paths: tuple[Path, ...]
    left_out: str


def write_files(folder: Path) -> Written:
    """Frontier, effects, answers and report, from what the ledger holds."""
    loaded = load_sweep_trials(folder)
    files = write_frontier(folder, trials=loaded.trials, note=loaded.note)
    found = find_effects(folder, loaded.trials) if has_effects(folder) else None
    effects = write_effects(folder, found) if found is not None else None
    report = report_of(folder, loaded, frontier=files.frontier, effects=found)
    page = write_report(folder / REPORT_PAGE, [(report, folder)])
    if report.answers is not None:
        write_answers(folder, report.answers)  # MLflow makes a table of them
    paths = (page, folder / SWEEP, *files.paths, *(effects.paths if effects else ()))
    return Written(files, effects, page, report.answers, paths, loaded.note)
