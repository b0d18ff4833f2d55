"""Which configurations run again with other seeds: a pure decision over the ledger."""

from collections.abc import Iterator

from sweeps.engine.search.fixed_points import resolve_point
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.ledger import Ledger, Request
from trainables.specs import TrialSpec


def most_confirmations(sweep: SweepSpec) -> int:
    """Trials that confirming takes at most; fewer when a baseline is among the best."""
    confirm = sweep.confirm
    return (confirm.top + len(confirm.baselines)) * confirm.seeds if confirm else 0


def confirmations(sweep: SweepSpec, ledger: Ledger) -> Iterator[tuple[str, TrialSpec]]:
    """The trials of the confirm stage, whether they have run already or not.

    Seed by seed, so that a sweep that is stopped midway has complete pairs. They run to their end:
    the rungs of the search are taken off.

    Yields:
        Id of the trial of the search that is repeated, and the spec of the repeat.
    """
    if sweep.confirm is None:
        return
    chosen = confirmed(sweep, ledger)
    for shift in range(1, sweep.confirm.seeds + 1):
        for request in chosen:
            seeds = request.spec.seeds.shifted(shift)
            yield request.trial_id, request.spec.model_copy(update={"seeds": seeds, "rungs": ()})


def confirmed(sweep: SweepSpec, ledger: Ledger) -> list[Request]:
    """The search's trials whose configurations are confirmed: the best, then the other baselines.

    The best are those of the highest retention on the search split; ties go to the older trial. A
    trial that failed or was stopped early is never among them, nor is a repeat with other seeds.
    """
    if sweep.confirm is None:
        return []
    results: dict[str, tuple[float, Request]] = {}
    for request in ledger.requests().values():
        record = ledger.record(request.trial_id)
        if request.origin in ("reference", "confirm") or record is None:
            continue
        if request.spec.seeds != sweep.trial.seeds or record.status != "completed":
            continue
        if record.evaluation is None or record.evaluation.retention is None:
            continue
        results.setdefault(request.spec.configuration, (record.evaluation.retention, request))
    ranked = sorted(results.values(), key=lambda found: -found[0])
    best = [request for _, request in ranked[: sweep.confirm.top]]
    ids = {request.trial_id for request in best}
    baselines = _baselines(sweep)
    others = [r for key, (_, r) in results.items() if key in baselines and r.trial_id not in ids]
    return best + others


def _baselines(sweep: SweepSpec) -> set[str]:
    assert sweep.confirm is not None
    return {resolve_point(sweep, point)[2].configuration for point in sweep.confirm.baselines}
