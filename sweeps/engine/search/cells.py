"""Which cells of a sweep get sampled trials: those that can keep its limits, each plan once."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from analysis.axes import Axis
from search_spaces.factors import Cell
from search_spaces.suggesters import PointTrial
from sweeps.engine.search.keys import trial_key
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.unpruned_parts import target_of, unpruned_of
from sweeps.engine.spec.used_up import UsedUpCell, levels_of
from trainables.models.families.shape import LanguageShape
from trainables.pruning.planning.sizes import model_size
from trainables.specs import TrialSpec

SIZING = ("method", "ratio", "quantization")  # factors on which the size of the model depends


@dataclass(frozen=True)
class Cells:
    """The cells of a sweep.

    Attributes:
        open: those that are searched.
        closed: the others, each with why.
    """

    open: tuple[Cell, ...]
    closed: tuple[UsedUpCell, ...]


def cells_of(sweep: SweepSpec, shape: LanguageShape) -> Cells:
    """The cells, without those of which no trial can keep the limits, and repeated ones.

    Raises:
        ValueError: limits that no cell can keep; says by how much the nearest misses them.
    """
    open_: dict[tuple[str, ...], Cell] = {}
    closed: list[UsedUpCell] = []
    nearest: dict[float, str] = {}
    for cell in sweep.cells:
        specs = sizings(sweep, cell)
        broken = [beyond(sweep, spec, shape) for spec in specs]
        key = tuple(sorted({trial_key(spec, shape) for spec in specs}))
        if all(broken):
            share, why = min((max(b.values()), _sentence(sweep, specs[i], shape, b))
                             for i, b in enumerate(broken))  # fmt: skip
            nearest[share] = f"{levels_of(cell)}: {why}".removeprefix(": ")
            closed.append(UsedUpCell(cell=dict(cell), why=why))
        elif key in open_:
            why = f"it has the plans of {levels_of(open_[key])}"
            closed.append(UsedUpCell(cell=dict(cell), why=why))
        else:
            open_[key] = cell
    if not open_:
        raise ValueError(
            f"no cell can keep the limits: the nearest of {len(sweep.cells)}, "
            f"{nearest[min(nearest)]}; move the limit there, or add other sizes to the strata"
        )
    return Cells(tuple(open_.values()), tuple(closed))


def sizings(sweep: SweepSpec, cell: Cell) -> list[TrialSpec]:
    """A trial of every size that the cell may have, as method or ratio may be searched in it."""
    space, base = sweep.search_space, sweep.base_trial
    probe = PointTrial({})
    space.build(probe, cell, base)
    names = [name for name in SIZING if name in probe.distributions]
    levels = (probe.distributions[name].choices for name in names)  # type: ignore[attr-defined]
    points = (dict(zip(names, chosen, strict=True)) for chosen in itertools.product(*levels))
    return [space.build(PointTrial(point), cell, base) for point in points]


def beyond(sweep: SweepSpec, spec: TrialSpec, shape: LanguageShape) -> dict[str, float]:
    """By limit how far a trial is known to be beyond it (`Axis.excess`), before it has run."""
    found = {}
    for name, value in _known(sweep, spec, shape):
        axis, limit = sweep.goals.limits[name]
        if (excess := axis.excess(value, limit)) > 0:
            found[name] = excess
    return found


def _known(sweep: SweepSpec, spec: TrialSpec, shape: LanguageShape) -> Iterator[tuple[str, float]]:
    """What the plan alone says of the limited axes; a quantized student's sizes it does not."""
    sized = {n for n, (axis, _) in sweep.goals.limits.items() if axis.sized and n != "memory_mib"}
    if spec.quantization != "none":
        sized -= {"weights_mib", "params", "lm_params"}
    if not sized:
        return
    target = target_of(spec, shape)
    size = model_size(shape, target.widths, unpruned_of(spec))
    values = {
        "params": size.params,
        "weights_mib": size.weights_mib,
        "tflops": size.tflops,
        "lm_params": target.lm_params,
        "ratio": target.ratio,
        "kept": 1 - target.ratio,
    }
    yield from ((name, values[name]) for name in values if name in sized)


def _sentence(
    sweep: SweepSpec, spec: TrialSpec, shape: LanguageShape, broken: dict[str, float]
) -> str:
    """The values that break a limit, with it."""
    values = dict(_known(sweep, spec, shape))
    axes = {name: axis for name, (axis, _) in sweep.goals.limits.items()}
    return " and ".join(
        f"{name} is {_kept(values[name], axes[name]):.10g}, but limits.{name}="
        f"{sweep.limits[name]:.10g}"
        for name in broken
    )


def _kept(value: float, axis: Axis) -> float:
    """The value in six digits, rounded so that as a limit it is kept."""
    digits = 10.0 ** (5 - math.floor(math.log10(abs(value)))) if value else 1.0
    whole = math.ceil if axis.better == "lower" else math.floor
    return whole(value * digits) / digits
