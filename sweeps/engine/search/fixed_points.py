"""Trials that no sampler chooses: references, designed points, priors, and confirmations."""

from collections.abc import Iterator, Mapping
from typing import Any

from search_spaces.factors import Cell
from search_spaces.spaces import warm_starts
from search_spaces.suggesters import PointTrial
from sweeps.engine.search.cells import beyond
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.ledger import Ledger, Request
from sweeps.engine.spec.trial_fields import value_of
from trainables.models.families.registry import language_shape
from trainables.specs import Origin, PruningSpec, RecoverySpec, TrialSpec

Point = tuple[Origin, Cell, Mapping[str, Any], TrialSpec]  # the mapping: searched factors


def fixed_points(sweep: SweepSpec) -> Iterator[Point]:
    """The references, designed points with their replicates and warm starts, as they run.

    Warm starts that are known to break a limit are left out; what is designed runs all the same.

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
            cell, params, spec = resolve_point(sweep, point)
            if not sweep.limits or not beyond(sweep, spec, language_shape(spec.model)):
                yield "prior", cell, params, spec


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
    own = {path: value_of(sweep.trial, path) for path in sweep.fields if path not in cell}
    as_base = {path: value for path, value in own.items() if _offered(sweep, path, value)}
    trial = PointTrial({k: v for k, v in {**as_base, **point}.items() if k not in cell})
    spec = sweep.search_space.build(trial, cell, sweep.base_trial)
    trial.check_used(allowed=list(cell))
    seeds = spec.seeds.shifted(replicate)
    return cell, trial.params, spec.model_copy(update={"seeds": seeds})


def _offered(sweep: SweepSpec, path: str, value: Any) -> bool:
    """Whether a field that is a factor may have this value of the base."""
    if path in sweep.choices:
        return value in sweep.choices[path]
    low, high = sweep.ranges[path]
    return isinstance(value, int | float) and low <= value <= high


def most_confirmations(sweep: SweepSpec) -> int:
    """Trials that confirming takes at most; fewer when a baseline is among the best."""
    confirm = sweep.confirm
    return (confirm.top + len(confirm.baselines)) * confirm.seeds if confirm else 0


def confirmations(sweep: SweepSpec, ledger: Ledger) -> Iterator[Point]:
    """The trials of the confirm stage, whether they have run already or not.

    Seed by seed, so that a sweep that is stopped midway has complete pairs. They run to their end:
    the rungs of the search are taken off.
    """
    chosen = confirmed(sweep, ledger)
    for shift in range(1, sweep.seed_sets):
        for request in chosen:
            update = {"seeds": request.spec.seeds.shifted(shift), "rungs": ()}
            spec = request.spec.model_copy(update=update)
            yield "confirm", request.cell, request.params, spec


def confirmed(sweep: SweepSpec, ledger: Ledger) -> list[Request]:
    """The search's trials whose configurations are confirmed: the best, then the other baselines.

    The best are those of the highest retention on the search split within the limits; ties go
    to the older trial. A trial that failed or was stopped early is never among them, nor is a
    repeat with other seeds.
    """
    if sweep.confirm is None:
        return []
    results: dict[str, tuple[float, Request]] = {}
    requests = ledger.requests()
    for name, record in ledger.records().items():
        request = requests[name]
        searched = request.origin not in ("reference", "confirm")
        if not searched or request.spec.seeds != sweep.trial.seeds or record.status != "completed":
            continue
        if record.evaluation is not None and record.evaluation.retention is not None:
            found = (record.evaluation.retention, request)
            results.setdefault(request.spec.configuration, found)
    ranked = sorted(results.values(), key=lambda found: -found[0])
    records, goals = ledger.records(), sweep.goals
    best = [r for _, r in ranked if goals.kept_by(records[r.trial_id])][: sweep.confirm.top]
    points = sweep.confirm.baselines
    baselines = {resolve_point(sweep, point)[2].configuration for point in points}
    return best + [r for key, (_, r) in results.items() if key in baselines and r not in best]


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
