"""What a sweep would do: trials, parameter counts, time and disk; starts and downloads nothing."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from analysis.load import load_trials
from analysis.power import SampleSize, sample_sizes
from sweeps.engine.plan.ahead import as_far_as_asked
from sweeps.engine.plan.base import base_of, changed_base
from sweeps.engine.plan.caches import CachePlan, plan_caches
from sweeps.engine.plan.estimates import (
    conversations_of,
    local_slots,
    recovery_tflops,
    tokens_per_sample,
)
from sweeps.engine.plan.expectation import Expectation, check_budget
from sweeps.engine.plan.forecast import Forecast, forecast
from sweeps.engine.plan.preflight import check_data, check_reading, check_sweep
from sweeps.engine.plan.probing import known_before
from sweeps.engine.search.cells import cells_of, sizings
from sweeps.engine.search.fixed_points import describe, fixed_points, most_confirmations
from sweeps.engine.search.keys import trial_key
from sweeps.engine.search.sources import load_sources
from sweeps.engine.search.space_checks import check_same_space
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.ledger import Ledger
from sweeps.engine.spec.unpruned_parts import target_of, unpruned_of
from sweeps.engine.spec.used_up import UsedUpCell
from trainables.evaluation.catalog import asked_tasks
from trainables.models.families.shape import LanguageShape
from trainables.models.unpruned import Unpruned
from trainables.models.work import lora_weights
from trainables.pruning.planning.sizes import model_size
from trainables.specs import MIB, Frozen, Method, TrialSpec


class SizeRow(Frozen):
    """What one method and amount leave; widths of the narrowest layer, sizes of the whole model.

    Attributes:
        amount: the ratio or size that was asked for (`PruningSpec.amount`).
        ratio: that is removed of the language model, which keeps `lm_params`.
        weights_mib: what the frontier and every limit call by this name, before quantization; so
            are `params` and `tflops`.
        memory_mib: the same, at most; None where another size or a ratio was asked for, because it
            takes a while to count.
    """

    method: Method
    amount: str
    ratio: float
    layers: int
    kv_groups: int
    neurons: int
    lm_params: int
    params: int
    weights_mib: float
    tflops: float
    memory_mib: float | None


class TrialRow(Frozen):
    """One trial that is known in advance."""

    name: str
    origin: str
    cell: dict[str, Any]
    state: str


class SweepPlan(Frozen):
    """The dry run of a sweep.

    `changed` says why a run would refuse to go on with the trials that are there, if it would.
    `forecast` says the time by stage, and from what; `device_hours` is its sum. `disk_mib`
    (`caches` included) is an estimate.
    `closed` are the cells that get no sampled trial, and why. `samples` says what the limits of the
    evaluation can tell apart. `unpruned` is the vision tower and the projector, which are in the
    `sizes`.
    """

    sweep: SweepSpec
    changed: str
    trials: tuple[TrialRow, ...]
    sampled: int
    confirmed: int
    total: int
    slots: int
    closed: tuple[UsedUpCell, ...]
    sizes: tuple[SizeRow, ...]
    unpruned: Unpruned
    caches: CachePlan
    conversations: int | None
    tokens_per_sample: float
    recovery_tflops: float
    forecast: Forecast
    device_hours: float
    wall_hours: float
    disk_mib: float
    samples: tuple[SampleSize, ...]


def plan_sweep(sweep: SweepSpec, ledger: Ledger) -> SweepPlan:
    """The dry run of `sweep`; what the ledger holds already is marked as done.

    Raises:
        BadInputError: the sweep could not run.
    """
    shape = check_sweep(sweep, to_run=False)
    load_sources(sweep, ledger.storage)
    data = check_data(sweep, needed=False)
    check_reading(sweep)
    changed = changed_base(sweep, base := base_of(sweep, data), ledger)
    ledger.take(base)
    check_same_space(sweep, ledger, shape)
    known = {r.key: r for r in ledger.requests().values()}
    rows: dict[str, TrialRow] = {}
    specs: list[TrialSpec] = []
    for origin, cell, _, spec in fixed_points(sweep):
        key = trial_key(spec, shape)
        if key in rows:
            continue
        request = known.get(key)
        record = ledger.record(request.trial_id) if request else None
        state = record.status if record else "unfinished" if request else "new"
        name = "dense" if origin == "reference" and not spec.baseline else describe(spec)
        rows[key] = TrialRow(name=name, origin=origin, cell=dict(cell), state=state)
        specs.append(spec)
    samples = conversations_of(sweep, data)
    trained = specs
    if sweep.shares_recoveries:  # one serves all trials that differ in their quantization alone
        plain = [spec.model_copy(update={"quantization": "none"}) for spec in specs]
        trained = list({trial_key(spec, shape): spec for spec in plain}.values())
    tflops = [recovery_tflops(spec, shape, samples) for spec in trained]
    confirmed = most_confirmations(sweep)
    total = len(rows) + sweep.samples + confirmed
    more = total / max(len(rows), 1)
    caches = plan_caches(specs, shape, samples, ledger.storage, more, sweep.seed_sets)
    everything = sum(tflops) * more
    finished = load_trials(ledger.folder) if ledger.folder.is_dir() and not changed else []
    cached = any(row.choice.mode == "cached" for row in caches.teachers)
    sources = known_before(sweep.trial, shape, ledger.storage)
    check_budget(sweep, ledger, Expectation(sweep, shape, ledger, samples, cached, sources))
    unpruned, slots = unpruned_of(sweep.trial), local_slots(sweep)
    time = forecast(
        sweep,
        shape,
        finished,
        conversations=samples,
        teacher_cached=cached,
        slots=slots,
        sources=sources,
    )
    evaluation = as_far_as_asked(sweep.trial.evaluation)
    tasks = sum(info.scores for info in asked_tasks(evaluation).values())
    return SweepPlan(
        sweep=sweep,
        changed=changed,
        trials=tuple(rows.values()),
        sampled=sweep.samples,
        confirmed=confirmed,
        total=total,
        slots=slots,
        closed=cells_of(sweep, shape).closed if sweep.samples else (),
        sizes=tuple(_sizes(sweep, specs, shape)),
        unpruned=unpruned,
        caches=caches,
        conversations=samples,
        tokens_per_sample=tokens_per_sample(sweep.trial),
        recovery_tflops=everything,
        forecast=time,
        device_hours=time.device_seconds / 3600,
        wall_hours=time.wall_seconds(sweep.trial.workers) / 3600,
        disk_mib=_disk_mib(specs, shape) * more + caches.size_bytes / MIB,
        samples=sample_sizes(evaluation, tasks, bool(sweep.rungs), finished),
    )


def _sizes(sweep: SweepSpec, specs: Sequence[TrialSpec], shape: LanguageShape) -> list[SizeRow]:
    """A row per method and amount, of the trials known in advance and of those to be sampled."""
    cells = sweep.cells if sweep.samples else ()
    sampled = [spec for cell in cells for spec in sizings(sweep, cell)]
    pruned = [(spec.pruning, spec) for spec in (*specs, *sampled) if spec.pruning.prunes]
    different = {(p.method, p.ratio, p.size, p.units): (p, spec) for p, spec in pruned}
    rows = []
    for pruning, spec in different.values():
        target = target_of(spec, shape)
        size = model_size(shape, target.widths, unpruned_of(spec))
        row = SizeRow(
            method=pruning.method,
            amount=pruning.amount,
            ratio=target.ratio,
            layers=target.layers,
            kv_groups=target.kv_groups,
            neurons=target.neurons,
            lm_params=target.lm_params,
            **asdict(size),
        )
        rows.append(row)
    return sorted(dict.fromkeys(rows), key=lambda row: (row.method, row.ratio))


def _disk_mib(specs: Sequence[TrialSpec], shape: LanguageShape) -> float:
    """What the trials keep: trained tensors in float32, and their records."""
    total = 0.0
    for spec in specs:
        total += 0.1
        if spec.recovery.scope == "joint":
            kept = target_of(spec, shape).widths
            total += 4 * lora_weights(shape, kept, spec.recovery.lora_rank) / MIB
        if spec.recovery.scope != "none":
            total += 4 * 2 * shape.hidden_size**2 / MIB  # a two-layer projector, about
    return total
