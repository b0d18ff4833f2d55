"""The trials of a sweep that are known in advance: references, designed points, priors."""

from collections.abc import Iterator, Mapping
from typing import Any

from search_spaces.factors import Cell
from search_spaces.points import PointTrial
from search_spaces.priors import warm_starts
from sweeps.engine.spec import SweepSpec
from trainables.specs import Origin, PruningSpec, RecoverySpec, TrialSpec


def fixed_points(
    sweep: SweepSpec,
) -> Iterator[tuple[Origin, Cell, dict[str, Any], TrialSpec]]:
    """The dense reference, the designed points with their replicates, and the warm starts.

    Yields:
        (origin, cell, searched params, spec) in the order they run.

    Raises:
        ValueError: a point that the space does not contain; names it.
    """
    base = sweep.base_trial
    dense = {
        "pruning": PruningSpec(ratio=0.0),
        "recovery": RecoverySpec(scope="none"),
        "quantization": "none",
        "rungs": (),
    }
    yield "reference", {}, {}, base.model_copy(update=dense)
    for model in sweep.references:
        other = {**dense, "model": model, "baseline": base.model}
        yield "reference", {}, {}, base.model_copy(update=other)
    for point in sweep.points:
        for replicate in range(sweep.replicates):
            yield ("designed", *resolve_point(sweep, point, replicate))
    if sweep.priors and "ratio" in sweep.strata:
        for point in warm_starts(sweep.cells):
            yield ("prior", *resolve_point(sweep, point))


def resolve_point(
    sweep: SweepSpec, point: Mapping[str, Any], replicate: int = 0
) -> tuple[Cell, dict[str, Any], TrialSpec]:
    """A point of the sweep's space as (cell, searched params, spec).

    Raises:
        ValueError: the point lies in no cell of the sweep, or outside of the space.
    """
    cell = {name: point[name] for name in sweep.strata if name in point}
    if cell not in sweep.cells:
        raise ValueError(
            f"point {dict(point)} lies in no cell of the sweep: strata are {sweep.strata}; give "
            "it one level of each"
        )
    trial = PointTrial({k: v for k, v in point.items() if k not in cell})
    spec = sweep.search_space.build(trial, cell, sweep.base_trial)
    trial.check_used(allowed=list(cell))
    seeds = spec.seeds.shifted(replicate)
    return cell, trial.params, spec.model_copy(update={"seeds": seeds})


def describe(spec: TrialSpec) -> str:
    """A short name for folders: method, percent or size, scope and loss terms, quantization."""
    pruning = spec.pruning
    amount = pruning.amount if pruning.size else f"{round(100 * pruning.ratio):02d}"
    parts = [pruning.method, amount] if pruning.prunes else ["unpruned"]
    parts.append(spec.recovery.scope)
    if spec.recovery.scope != "none":
        parts.append(spec.recovery.loss.terms)
    if spec.quantization != "none":
        parts.append(spec.quantization)
    return "-".join(parts)
