"""What only the engine knows of a sweep, for its report."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from analysis.findings.recipe_report import find_recipes
from analysis.load import Loaded, load_sweep_trials
from analysis.recommend import with_own_limits, within
from analysis.report.content import SweepReport, sweep_report
from analysis.report.told import Told
from search_spaces.spaces import decision_flow
from sweeps.engine.plan.foreseen import progress_lines, progress_of
from sweeps.engine.plan.rates import spent_by_stage
from sweeps.engine.report.random_search import random_course
from sweeps.engine.report.repeating import repeat_commands
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.endings import ended_lines
from sweeps.engine.spec.ledger import Ledger
from sweeps.engine.storage import storage_option
from trainables.common.files import DamagedError, pass_over, read_json, reading_many
from trainables.records import SWEEP

CLOSING = "closing pass"


def told(ledger: Ledger, loaded: Loaded) -> Told:
    """What the engine tells of a sweep with these trials."""
    sweep = _sweep(ledger.folder)
    progress = progress_of(ledger, whole=sweep is not None)
    seconds: dict[str, float] = defaultdict(float)
    for trial in loaded.trials:
        for stage, spent in spent_by_stage(trial.record).items():
            seconds[stage] += spent
    seconds[CLOSING] = progress.closing_device_hours * 3600
    limits = with_own_limits(ledger.folder, {}, {})
    may = within(loaded.trials, *limits) if loaded.trials else []
    recipes = find_recipes(ledger.folder, loaded.trials, decision_flow, may)
    return Told(
        stages=dict(seconds),
        progress=tuple(progress_lines(progress)) if loaded.trials else (),
        ended=tuple(ended_lines(sweep.samples, ledger)) if sweep else (),
        unfinished=len(ledger.requests().keys() - ledger.records().keys()),
        repeat=repeat_commands(sweep, ledger.folder) if sweep else (),
        storage=storage_option(ledger.storage),
        random=random_course(sweep, loaded.trials) if sweep else (),
        recipes=recipes if recipes.answered else None,
    )


def report_of(folder: Path, loaded: Loaded | None = None, **found: object) -> SweepReport:
    """The report of the sweep in `folder`; `found` is what `sweep_report` need not find again.

    Raises:
        ValueError: the folder is not a sweep's.
    """
    ledger = Ledger(folder.parent, folder.name)
    with reading_many():
        loaded = loaded or load_sweep_trials(folder, records=ledger.records(every_base=True))
    return sweep_report(folder, loaded, told(ledger, loaded), **found)  # type: ignore[arg-type]


def _sweep(folder: Path) -> SweepSpec | None:
    """The sweep as it was last run; None where it cannot be read by this version."""
    try:
        return read_json(folder / SWEEP, SweepSpec)
    except FileNotFoundError:
        return None
    except DamagedError as error:
        pass_over(error)
        return None
