"""The public Python API (`from sweeps import run`): what the commands do, as functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.engine.storage import RUNS, storage_folder

if TYPE_CHECKING:
    import pandas as pd

    from analysis.recommend import Recommendation
    from sweeps.engine.run.runner import Outcome
    from sweeps.engine.spec import SweepSpec
    from trainables.specs import Dtype


def run(
    sweep: SweepSpec | str | Path,
    storage: str | Path = RUNS,
    *,
    settings: Sequence[str] = (),
    address: str | None = None,
    tracking_uri: str | None = None,
    new_base: bool = False,
    take_over: bool = False,
    quiet: bool = False,
) -> Outcome:
    """Run whatever of a sweep has not been done yet; the same call resumes or extends it.

    Args:
        sweep: a sweep, or its name or file.
        storage: folder of ledger, store and MLflow database, or the URL of an object store.
        settings: what `--set` takes: `("samples=20", "trial.recovery.lora_rank=64")`.
        address: a Ray cluster; None starts Ray here.
        tracking_uri: an MLflow server or store; None is SQLite in `storage`.
        new_base: go on though data, model or settings have changed.
        take_over: end another run of the sweep, and go on from here.
        quiet: show no progress.

    Returns:
        How it ended: counts, ids of what failed, and where the files lie.

    Raises:
        ValueError: the sweep cannot run; nothing was started.
    """
    from rich.console import Console

    from sweeps.engine.run.progress import View
    from sweeps.engine.run.runner import run_sweep
    from sweeps.engine.spec.loading import apply_overrides, load_sweep
    from sweeps.engine.spec.user_files import forget_files

    if isinstance(sweep, str | Path):
        sweep = load_sweep(str(sweep), settings)
    else:
        forget_files()
        sweep = apply_overrides(sweep, settings)
    view = View(Console(file=StringIO()) if quiet else Console(highlight=False))
    return run_sweep(
        sweep,
        storage_folder(storage),
        view,
        tracking_uri=tracking_uri,
        address=address,
        new_base=new_base,
        take_over=take_over,
    )


def load(sweep: str | Path, storage: str | Path = RUNS) -> pd.DataFrame:
    """Every trial of a sweep that has ended, one row each by id, the references among them.

    Columns are those of `frontier.csv` (`analysis.points.Point`), the sweep's own factors as
    `factor/NAME`, and besides `status`, `error`, and `frontier`: whether it is non-dominated on
    weight memory. Trials without scores have sizes and settings only.

    Args:
        sweep: its name, or its file.
        storage: of the run.

    Raises:
        ValueError: no such sweep has run there.
    """
    import pandas as pd

    from analysis.frontier import find_frontier
    from analysis.load import load_trials
    from analysis.points import Point
    from sweeps.engine.cli.app import sweep_folder

    trials = load_trials(sweep_folder(storage_folder(storage), str(sweep)))
    found = find_frontier(trials)
    scored = (*found.points, *found.dominated, *found.unranked, *found.guessing)
    points = {point.trial_id: point for point in scored}
    rows = []
    for trial in trials:
        point, record = points.get(trial.trial_id), trial.record
        row = {
            "trial_id": trial.trial_id,
            "label": trial.label,
            "origin": record.origin,
            "method": trial.method,
            "ratio_target": trial.ratio_target,
            "scope": record.spec.recovery.scope if trial.loss else "none",
            "loss_terms": trial.loss.terms if trial.loss else "none",
            "data_fraction": trial.data_fraction,
            **{name: value for name, value in trial.axes.items() if value is not None},
            **{f"factor/{name}": value for name, value in record.factors.items()},
            **(point.row if point else {}),
            "status": record.status,
            "error": record.error,
            "frontier": trial.trial_id in found.trial_ids,
        }
        rows.append(row)
    first = ["trial_id", "status", "frontier", *Point.columns()[1:]]
    names = list(dict.fromkeys([*first, *(name for row in rows for name in row)]))
    return pd.DataFrame(rows, columns=names).set_index("trial_id")


def recommend(
    sweep: str | Path,
    *,
    max: Mapping[str, float] | None = None,
    min: Mapping[str, float] | None = None,
    storage: str | Path = RUNS,
) -> Recommendation:
    """The trial to ship within limits, the sweep's own besides: `recommend("mine").trial`.

    Args:
        sweep: its name, or its file.
        max: upper limits by axis or task: `{"weights_mib": 9216}`.
        min: lower limits: `{"retention": 0.95}`.
        storage: of the run.

    Raises:
        ValueError: no such sweep, or no such axis or task.
    """
    from analysis.load import load_trials
    from analysis.recommend import recommend as choose
    from analysis.recommend import with_own_limits
    from sweeps.engine.cli.app import sweep_folder

    folder = sweep_folder(storage_folder(storage), str(sweep))
    most, least = with_own_limits(folder, max or {}, min or {})
    return choose(load_trials(folder), max=most, min=least)


def export(
    trial: str, to: str | Path, *, storage: str | Path = RUNS, dtype: Dtype | None = None
) -> Path:
    """Write the model of a trial as one checkpoint that plain `transformers` loads.

    Args:
        trial: `SWEEP/ID`, or an id, or how it begins.
        to: a new folder, which is returned.
        storage: of the run.
        dtype: of the written weights; None is the model's.

    Raises:
        ValueError: no such trial, none with a result, or `to` is taken.
    """
    from sweeps.engine.cli.app import trial_folder
    from trainables.common.files import check_free
    from trainables.trial.student import export_trial

    check_free(Path(to))
    return export_trial(trial_folder(storage_folder(storage), trial), Path(to), dtype)
