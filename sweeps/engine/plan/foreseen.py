"""What was forecast when a sweep was started, kept beside its trials, and how it went since."""

from collections.abc import Sequence
from pathlib import Path

from analysis.load import load_trials
from sweeps.engine.plan.ahead import works
from sweeps.engine.plan.assumed import assumed_rates
from sweeps.engine.plan.forecast import Forecast, forecast
from sweeps.engine.plan.rates import Known
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.ledger import Ledger
from sweeps.engine.spec.spent import Spent, spent_of
from trainables.common.files import read_if_sound, write_json
from trainables.models.families.registry import language_shape
from trainables.models.families.shape import LanguageShape
from trainables.records import SWEEP
from trainables.specs import Frozen

CLOSING = ("report split", "latency")


class Foreseen(Frozen):
    """The content of `forecast.json`: the forecast of so many trials, and what it took as given.

    `base` is the place of their base among those of the sweep; `sources` are the rates that it knew
    before trials told, so that only these change what is seen later.
    """

    trials: int
    base: int = 0
    conversations: int
    teacher_cached: bool
    forecast: Forecast
    sources: tuple[Known, ...] = ()


class Progress(Frozen):
    """How a sweep stands against its forecast.

    Attributes:
        device_hours: spent by trials, the failed ones too.
        wall_hours: in which any trial ran.
        closing_device_hours: spent by the closing pass, which no budget counts.
        money: what the device-hours cost; None without a price.
        left_device_hours: of everything that is ahead; None without a forecast.
        left_wall_hours: the same at the pace so far.
        forecast_device_hours: of the whole sweep, when it was started.
        off: by how much the whole is now seen to take more, as a share; below zero is less; None
            until a trial has finished.
        basis: what the forecast then followed from.
    """

    device_hours: float
    wall_hours: float
    closing_device_hours: float = 0.0
    money: float | None = None
    left_device_hours: float | None = None
    left_wall_hours: float | None = None
    forecast_device_hours: float | None = None
    off: float | None = None
    basis: str | None = None


def keep_forecast(
    sweep: SweepSpec,
    shape: LanguageShape,
    ledger: Ledger,
    *,
    conversations: int,
    teacher_cached: bool,
    slots: int,
    sources: Sequence[Known],
) -> None:
    """Write the forecast, unless one of as many trials of the base is there from before."""
    finished = load_trials(ledger.folder)
    trials = len(finished) + round(sum(work.times for work in works(sweep, finished)))
    path, base = _path(ledger), ledger.bases.current
    before = read_if_sound(path, Foreseen)
    if before is not None and (before.trials, before.base) == (trials, base):
        return
    ahead = forecast(
        sweep,
        shape,
        finished,
        conversations=conversations,
        teacher_cached=teacher_cached,
        slots=slots,
        sources=sources,
    )
    kept = Foreseen(
        trials=trials,
        base=base,
        conversations=conversations,
        teacher_cached=teacher_cached,
        forecast=ahead,
        sources=tuple(sources),
    )
    write_json(path, kept)


def progress_of(ledger: Ledger, whole: bool) -> Progress:
    """What is spent; with `whole` also what is left, where the last run left a forecast."""
    spent = spent_of(ledger)
    foreseen = read_if_sound(_path(ledger), Foreseen) if whole else None
    sweep = read_if_sound(ledger.folder / SWEEP, SweepSpec) if foreseen else None
    if foreseen is None or sweep is None:
        return _spent(spent, None)
    shape = language_shape(sweep.trial.model)
    finished = load_trials(ledger.folder, records=ledger.records())
    now = forecast(
        sweep,
        shape,
        finished,
        conversations=foreseen.conversations,
        teacher_cached=foreseen.teacher_cached,
        slots=foreseen.forecast.slots,
        sources=foreseen.sources or (assumed_rates(sweep.trial, shape),),
    )
    then = foreseen.forecast.device_seconds
    left = now.device_seconds - now.spent_seconds
    devices = spent.device_seconds / spent.wall_seconds if spent.wall_seconds else None
    price = sweep.budget.price_per_device_hour if sweep.budget else None
    return _spent(spent, price).model_copy(
        update={
            "closing_device_hours": sum(r.spent for r in now.stages if r.stage in CLOSING) / 3600,
            "left_device_hours": left / 3600,
            "left_wall_hours": left / (devices or now.slots) / 3600,
            "forecast_device_hours": then / 3600,
            "off": now.device_seconds / then - 1 if then and finished else None,
            "basis": "; ".join(dict.fromkeys(row.basis for row in foreseen.forecast.stages)),
        }
    )


def _spent(spent: Spent, price: float | None) -> Progress:
    hours = spent.device_seconds / 3600
    return Progress(
        device_hours=hours,
        wall_hours=spent.wall_seconds / 3600,
        money=None if price is None else hours * price,
    )


def _path(ledger: Ledger) -> Path:
    return ledger.folder / "forecast.json"


def progress_lines(progress: Progress) -> list[str]:
    """What is spent, what is left, and how far the forecast was off."""
    money = "" if progress.money is None else f", {progress.money:,.2f} in money"
    spent = f"spent {_hours(progress.device_hours)} device-hours{money}"
    lines = [f"{spent}; trials ran for {_hours(progress.wall_hours)} hours."]
    if progress.closing_device_hours:
        closing = _hours(progress.closing_device_hours)
        lines.append(f"the closing pass took {closing} device-hours more, which no budget counts.")
    if progress.left_device_hours is not None and progress.left_wall_hours is not None:
        lines.append(
            f"left about {_hours(progress.left_device_hours)} device-hours, "
            f"{_hours(progress.left_wall_hours)} hours at this pace."
        )
    if progress.forecast_device_hours is not None:
        forecast = f"{_hours(progress.forecast_device_hours)} device-hours ({progress.basis})"
        seen = ""
        if progress.off is not None:
            more = "more" if progress.off > 0 else "less"
            seen = f"; now seen to take {abs(progress.off):.0%} {more}"
        lines.append(f"forecast at the start: {forecast}{seen}.")
    return lines


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.3g}"
