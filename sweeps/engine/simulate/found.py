"""What a simulated search has found, and when: the share of what could be found, cell by cell."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from search_spaces.factors import Cell
from sweeps.engine.search.observations import cell_id
from sweeps.engine.simulate.features import leaves, row_of
from sweeps.engine.simulate.objective import Objective
from sweeps.engine.simulate.running import Ended
from sweeps.engine.spec import SweepSpec
from trainables.specs import Frozen

SHARES = (0.5, 0.8, 0.9, 0.95, 0.99)
AT_ONCE = 4096  # settings that an objective is asked for at a time


@dataclass(frozen=True)
class Attainable:
    """What a cell of a sweep can come to, noise-free, over log10 of the recovery's cost.

    The area counts what recovery brings: above the retention without recovery, up to the largest
    cost of the cell. A cost of zero counts as half of the smallest other one.

    Attributes:
        front: [points, 2], the non-dominated (retention, TFLOPs).
        corner: (retention without recovery, largest TFLOPs).
        floor: TFLOPs that stand for no recovery.
    """

    cell: Cell
    front: np.ndarray[Any, Any]
    corner: tuple[float, float]
    floor: float

    def share(self, points: Iterable[tuple[float, float]]) -> float:
        """The part of the attainable area that trials (retention, TFLOPs) cover, 0 to 1."""
        whole = self._area(self.front)
        return min(self._area(np.array(list(points)).reshape(-1, 2)) / whole, 1.0) if whole else 1.0

    def _area(self, points: np.ndarray[Any, Any]) -> float:
        import moocore

        if not len(points):
            return 0.0
        logs = np.log10(np.maximum(points[:, 1], self.floor))
        corner = [self.corner[0], np.log10(self.corner[1])]
        return float(
            moocore.hypervolume(
                np.column_stack([points[:, 0], logs]), ref=corner, maximise=[True, False]
            )
        )


def attainable(sweep: SweepSpec, objective: Objective) -> list[Attainable]:
    """What each cell of the sweep can come to, with the choices that the sweep offers."""
    import moocore

    found = []
    for cell in sweep.cells:
        rows, none = [], None
        for leaf in leaves(sweep, cell):
            rows.append(objective.spread(leaf))
            none = leaf.spec if none is None or leaf.spec.recovery.scope == "none" else none
        everything = np.concatenate(rows)
        curves = [
            objective.curves(everything[i : i + AT_ONCE])
            for i in range(0, len(everything), AT_ONCE)
        ]
        points = np.column_stack(
            [
                np.concatenate([c.retention[:, -1] for c in curves]),
                np.concatenate([c.tflops[:, -1] for c in curves]),
            ]
        )
        assert none is not None
        untrained = none.recovery.model_copy(update={"scope": "none"})
        bare = row_of(none.model_copy(update={"recovery": untrained}), sweep.base_trial)
        least = float(objective.curves(np.array([bare])).retention[0, -1])
        paid = points[points[:, 1] > 0, 1]
        top, floor = (float(paid.max()), float(paid.min()) / 2) if len(paid) else (1.0, 0.5)
        keep = moocore.is_nondominated(points, maximise=[True, False])
        found.append(Attainable(cell, points[keep], (least, top), floor))
    return found


class Moment(Frozen):
    """How far a simulated search is.

    Attributes:
        share: mean over the cells of the attainable hypervolume's share that completed trials
            cover.
        driver_seconds: what choosing and recording them really took.
    """

    trials: int
    stopped: int
    device_hours: float
    wall_hours: float
    share: float
    driver_seconds: float


class CellFound(Frozen):
    """The best of a cell: the trial of the highest score, and what it is without noise."""

    cell: dict[str, Any]
    trials: int
    stopped: int
    share: float
    best: str | None
    retention: float | None
    truth: float | None
    tflops: float | None


class Simulation(Frozen):
    """What would be found when.

    Attributes:
        moments: after 1, 2, 5, 10, ... trials, and at the end.
        reached: the first moment at which so much of the attainable hypervolume was covered.
        front_stopped: trials that, had they run on, would lie on the final front of their cell.
        ended: why the search ended before all of its samples.
    """

    sweep: str
    objective: str
    about: str
    slots: int
    seed: int
    moments: tuple[Moment, ...]
    reached: dict[str, Moment]
    cells: tuple[CellFound, ...]
    front_stopped: tuple[str, ...]
    ended: tuple[str, ...] = ()


def course(cells: Sequence[Attainable], trials: Iterable[Ended]) -> Iterator[Moment]:
    """How far the search is after each of its trials."""
    fronts = {cell_id(cell.cell): cell for cell in cells}
    done: dict[Any, list[Ended]] = {name: [] for name in fronts}
    shares = dict.fromkeys(fronts, 0.0)
    stopped, seconds = 0, 0.0
    for count, trial in enumerate(trials, start=1):
        seconds += trial.device_seconds
        stopped += trial.fraction < 1
        if trial.cell is not None and trial.fraction == 1:
            name = cell_id(trial.cell)
            done[name].append(trial)
            shares[name] = fronts[name].share(_points(done[name]))
        yield Moment(
            trials=count,
            stopped=stopped,
            device_hours=seconds / 3600,
            wall_hours=trial.wall_seconds / 3600,
            share=float(np.mean(list(shares.values()))),
            driver_seconds=trial.driver_seconds,
        )


def reached_at(moments: Iterable[Moment], share: float) -> Moment | None:
    """The first moment at which so much was covered; None if it never was."""
    return next((moment for moment in moments if moment.share >= share), None)


def follow(
    sweep: SweepSpec, objective: Objective, slots: int, trials: Iterable[Ended]
) -> Simulation:
    """What the trials of a simulated sweep found, and when."""
    cells = attainable(sweep, objective)
    trials = list(trials)
    moments = list(course(cells, trials))
    own = [[trial for trial in trials if trial.cell == cell.cell] for cell in cells]
    return Simulation(
        sweep=sweep.name,
        objective=objective.name,
        about=objective.about,
        slots=slots,
        seed=sweep.seed,
        moments=tuple(m for m in moments if _round(m.trials) or m is moments[-1]),
        reached={f"{s:.2f}": found for s in SHARES if (found := reached_at(moments, s))},
        cells=tuple(_cell(cell, done) for cell, done in zip(cells, own, strict=True)),
        front_stopped=tuple(name for done in own for name in front_stopped(done)),
    )


def _points(trials: Sequence[Ended]) -> list[tuple[float, float]]:
    return [(t.truth, t.final_tflops) for t in trials]


def _cell(attainable: Attainable, trials: Sequence[Ended]) -> CellFound:
    ended = [t for t in trials if t.fraction == 1 and t.retention is not None]
    best = max(ended, key=lambda t: t.retention or 0.0, default=None)
    return CellFound(
        cell=dict(attainable.cell),
        trials=len(trials),
        stopped=len(trials) - len(ended),
        share=attainable.share(_points(ended)),
        best=best.trial_id if best else None,
        retention=best.retention if best else None,
        truth=best.truth if best else None,
        tflops=best.final_tflops if best else None,
    )


def front_stopped(trials: Sequence[Ended]) -> list[str]:
    """Stopped trials of a cell that no other would have beaten at score and cost, all run on.

    A score is that of one run, noise included: by the truth without it, no rule could tell.
    """
    import moocore

    if not trials:
        return []
    points = [(t.scored, t.final_tflops) for t in trials]
    front = moocore.is_nondominated(points, maximise=[True, False], keep_weakly=True)
    return [t.trial_id for t, on in zip(trials, front, strict=True) if on and t.fraction < 1]


def _round(count: int) -> bool:
    """Whether the number is 1, 2 or 5 times a power of ten."""
    return str(count).rstrip("0") in ("1", "2", "5")
