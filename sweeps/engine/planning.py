"""What a sweep would do: trials, parameter counts, time and disk; starts and downloads nothing."""

from __future__ import annotations

from typing import Any

from sweeps.engine.agenda import trial_key
from sweeps.engine.cluster import local_slots
from sweeps.engine.confirm import most_confirmations
from sweeps.engine.fixed_points import describe, fixed_points
from sweeps.engine.ledger import Ledger
from sweeps.engine.outside import target_of
from sweeps.engine.preflight import check_data, check_sweep
from sweeps.engine.spec import SweepSpec
from trainables.evaluation.flops import lora_weights, recovery_flops
from trainables.models.registry import EMBEDDED, adapter_for, model_config
from trainables.models.shape import LanguageShape
from trainables.specs import DTYPE_BYTES, Frozen, Method, TrialSpec

# Assumed training throughput where no record tells: a bf16 data-centre GPU at 40 % utilisation of
# 990 TFLOP/s, and one CPU core in float32.
GPU_TFLOPS_PER_SECOND = 400.0
CPU_TFLOPS_PER_SECOND = 0.02
TEXT_TOKENS = 50  # a short question and answer, where the data is not at hand
LLAVA_MIX = 665_298  # conversations in llava_v1_5_mix665k.json


class SizeRow(Frozen):
    """What one method and ratio leave of the language model; widths of the narrowest layer."""

    method: Method
    ratio_target: float
    ratio: float
    layers: int
    kv_groups: int
    neurons: int
    lm_params: int
    lm_weights_mib: float


class TrialRow(Frozen):
    """One trial that is known in advance."""

    name: str
    origin: str
    cell: dict[str, Any]
    state: str


class SweepPlan(Frozen):
    """The dry run of a sweep.

    `device_hours` and `disk_mib` are estimates; `basis` says from what.
    """

    sweep: SweepSpec
    trials: tuple[TrialRow, ...]
    sampled: int
    confirmed: int
    total: int
    slots: int
    sizes: tuple[SizeRow, ...]
    conversations: int | None
    recovery_tflops: float
    device_hours: float
    disk_mib: float
    basis: str


def plan_sweep(sweep: SweepSpec, ledger: Ledger) -> SweepPlan:
    """The dry run of `sweep`; what the ledger holds already is marked as done.

    Raises:
        BadInputError: the sweep could not run.
    """
    shape = check_sweep(sweep)
    conversations = check_data(sweep, needed=False)
    known = {r.key: r for r in ledger.requests().values()}
    rows: list[TrialRow] = []
    specs: list[TrialSpec] = []
    seen: set[str] = set()
    for origin, cell, _, spec in fixed_points(sweep):
        key = trial_key(spec, shape)
        if key in seen:
            continue
        seen.add(key)
        request = known.get(key)
        record = ledger.record(request.trial_id) if request else None
        state = record.status if record else "unfinished" if request else "new"
        name = "dense" if origin == "reference" and not spec.baseline else describe(spec)
        rows.append(TrialRow(name=name, origin=origin, cell=dict(cell), state=state))
        specs.append(spec)
    samples = conversations or _assumed_conversations(sweep)
    tflops = [_recovery_tflops(spec, shape, samples) for spec in specs]
    confirmed = most_confirmations(sweep)
    total = len(rows) + sweep.samples + confirmed
    everything = sum(tflops) * total / max(len(rows), 1)
    hours, basis = _hours(ledger, everything, total, sweep)
    return SweepPlan(
        sweep=sweep,
        trials=tuple(rows),
        sampled=sweep.samples,
        confirmed=confirmed,
        total=total,
        slots=local_slots(sweep),
        sizes=tuple(_sizes(sweep, shape)),
        conversations=samples,
        recovery_tflops=everything,
        device_hours=hours,
        disk_mib=_disk_mib(specs, shape) * total / max(len(rows), 1),
        basis=basis,
    )


def _sizes(sweep: SweepSpec, shape: LanguageShape) -> list[SizeRow]:
    methods: tuple[Method, ...] = ("layerwise", "widthwise")
    ratios = sweep.strata.get("ratio") or (sweep.trial.pruning.ratio,)
    each = DTYPE_BYTES[sweep.trial.model.dtype]
    rows = []
    for method in sweep.strata.get("method") or methods:
        for ratio in ratios:
            update = {"method": method, "ratio": ratio}
            pruning = sweep.trial.pruning.model_copy(update=update)
            target = target_of(sweep.trial.model_copy(update={"pruning": pruning}), shape)
            row = SizeRow(
                method=method,
                ratio_target=ratio,
                ratio=target.ratio,
                layers=target.layers,
                kv_groups=target.kv_groups,
                neurons=target.neurons,
                lm_params=target.lm_params,
                lm_weights_mib=target.lm_params * each / 2**20,
            )
            rows.append(row)
    return rows


def _recovery_tflops(spec: TrialSpec, shape: LanguageShape, conversations: int) -> float:
    """Nominal cost of the recovery, the vision tower left out (it needs torch to count)."""
    recovery = spec.recovery
    if recovery.scope == "none":
        return 0.0
    if recovery.budget.tflops is not None:
        return recovery.budget.tflops
    kept = target_of(spec, shape).widths
    flops = recovery_flops(shape, kept, recovery, vision_flops=0.0, projector_flops=0.0)
    tokens = _tokens_per_sample(spec)
    budget = recovery.budget
    if budget.tokens is not None:
        samples = budget.tokens / tokens
    elif budget.steps is not None:
        samples = float(budget.steps * recovery.batch_size)
    else:
        samples = (budget.epochs or 1.0) * recovery.data_fraction * conversations
    return flops.per_sample(tokens) * samples / 1e12


def _tokens_per_sample(spec: TrialSpec) -> int:
    config = model_config(spec.model)
    image = adapter_for(config).natural_image(config).tokens
    return min(image + TEXT_TOKENS, spec.data.max_tokens)


def _assumed_conversations(sweep: SweepSpec) -> int:
    """The embedded data's size, or that of LLaVA-1.5's mix where no data is named yet."""
    if sweep.trial.model.path != EMBEDDED:
        return LLAVA_MIX
    from trainables.models.tiny.data import SCENES
    from trainables.models.tiny.questions import KINDS

    return SCENES["train"] * len(KINDS)


def _hours(ledger: Ledger, tflops: float, total: int, sweep: SweepSpec) -> tuple[float, str]:
    """Device hours: from finished trials of this sweep where there are any, else from FLOPs."""
    records = [r for name in ledger.requests() if (r := ledger.record(name)) and r.cost]
    if records:
        spent = [sum(r.cost.device_seconds.values()) for r in records if r.cost]
        mean = sum(spent) / len(spent)
        return mean * total / 3600, f"mean of {len(spent)} finished trials of this sweep"
    if sweep.trial.model.dtype == "float32":
        rate, where = CPU_TFLOPS_PER_SECOND, "one CPU core"
    else:
        rate, where = GPU_TFLOPS_PER_SECOND, "a GPU"
    basis = f"recovery FLOPs at {rate:g} TFLOP/s on {where}; evaluation comes on top"
    return tflops / rate / 3600, basis


def _disk_mib(specs: list[TrialSpec], shape: LanguageShape) -> float:
    """What the trials keep: trained tensors in float32, and their records."""
    total = 0.0
    for spec in specs:
        total += 0.1
        if spec.recovery.scope == "joint":
            kept = target_of(spec, shape).widths
            total += 4 * lora_weights(shape, kept, spec.recovery.lora_rank) / 2**20
        if spec.recovery.scope != "none":
            total += 4 * 2 * shape.hidden_size**2 / 2**20  # a two-layer projector, about
    return total
