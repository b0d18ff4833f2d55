"""What it takes to compare recoveries: losses of held-out conversations, answers of the untrained.

Each recovery has a loss afterwards. Trials with one plan share the loss before any training, and
what their untrained student answers; one of them that trains nothing answers that anyway.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from analysis.load import Trial
from sweeps.engine.plan.ahead import Work
from sweeps.engine.plan.estimates import kept_share
from trainables.models.families.shape import LanguageShape
from trainables.records import TrialRecord
from trainables.recovery.data.conversations import held_out_samples
from trainables.specs import TrialSpec


class Shared(NamedTuple):
    """What is done once for trials with one plan.

    Attributes:
        conversations: whose loss is computed before any training, weighted by `kept_share`.
        students: that are asked as they were pruned.
        size: the sum of their `kept_share`.
    """

    conversations: float
    students: float
    size: float


def compared_samples(spec: TrialSpec, conversations: int) -> int:
    """Held-out conversations of a trial, of so many in the data; none without a recovery."""
    if spec.recovery.scope == "none":
        return 0
    return held_out_samples(conversations, spec.recovery.data_fraction)


def shared_comparisons(
    ahead: Iterable[Work], trials: Sequence[Trial], conversations: int, shape: LanguageShape
) -> Shared:
    """What is ahead of it, beside what these trials, which are over, have done."""
    bare: dict[str, float] = defaultdict(float)
    trained: dict[str, float] = defaultdict(float)
    losses: dict[tuple[str, int], float] = defaultdict(float)
    shares: dict[str, float] = {}
    for spec, times in ahead:
        plan, samples = _plan(spec), compared_samples(spec, conversations)
        (trained if spec.recovery.scope != "none" else bare)[plan] += times
        losses[plan, samples] += times
        if plan not in shares:
            shares[plan] = kept_share(spec, shape)
    over = [trial.record.spec for trial in trials]
    asked = {_plan(spec) for spec in over}
    known = {(_plan(spec), compared_samples(spec, conversations)) for spec in over}
    untrained = {
        plan: min(1.0, times) * (1 - min(1.0, bare[plan]))
        for plan, times in trained.items()
        if plan not in asked
    }
    return Shared(
        sum(
            min(1.0, times) * shares[plan] * samples
            for (plan, samples), times in losses.items()
            if (plan, samples) not in known
        ),
        sum(untrained.values()),
        sum(n * shares[plan] for plan, n in untrained.items()),
    )


def comparison_rate(done: Iterable[TrialRecord], shape: LanguageShape) -> float | None:
    """Device-seconds per held-out conversation of the dense model, as finished trials show."""
    seconds, samples = 0.0, 0.0
    shared: dict[tuple[str, int], float] = {}
    for record in done:
        did = record.recovery
        took = record.cost.device_seconds.get("compare") if record.cost else None
        if took is None or did is None or not did.epochs:
            continue
        trained = did.samples / did.epochs
        count = compared_samples(record.spec, round(trained / record.spec.recovery.data_fraction))
        each = count * kept_share(record.spec, shape)
        seconds, samples = seconds + took, samples + each
        shared[_plan(record.spec), count] = each
    samples += sum(shared.values())
    return seconds / samples if samples else None


def _plan(spec: TrialSpec) -> str:
    """What decides how a student is cut."""
    return f"{spec.pruning.model_dump_json()} {spec.seeds.calibration} {spec.quantization}"
