"""Running one trial again: the same spec under a new id, so that no record is ever rewritten."""

from __future__ import annotations

from pydantic import ValidationError

from sweeps.engine.ledger import Ledger
from sweeps.engine.loading import BadInputError
from sweeps.engine.spec import SweepSpec


def failed_for_good(ledger: Ledger) -> list[str]:
    """Ids of failed trials of which no run came to its end, neither the first nor a later one."""
    requests = ledger.requests()
    records = {name: record for name in requests if (record := ledger.record(name)) is not None}
    done = {_first(requests[n].key) for n, r in records.items() if r.status != "failed"}
    return [
        name
        for name, record in records.items()
        if record.status == "failed" and _first(requests[name].key) not in done
    ]


def _first(key: str) -> str:
    """The key of the trial that was run first."""
    return key.partition("#")[0]


def request_again(ledger: Ledger, trial_id: str) -> SweepSpec:
    """Ask for `trial_id` once more and return the sweep as it was last run.

    Raises:
        BadInputError: the sweep's file cannot be read, or the trial is already asked for again.
    """
    path = ledger.folder / "sweep.json"
    try:
        sweep = SweepSpec.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise BadInputError(f"{path} is not a readable sweep ({error})") from None
    requests = ledger.requests()
    original = requests[trial_id]
    repeats = [r for r in requests.values() if r.key.startswith(f"{original.key}#")]
    if any(ledger.record(r.trial_id) is None for r in repeats):
        raise BadInputError(f"{trial_id} is already waiting to be run again; use `prunesweep run`")
    number = len(repeats) + 2
    again = original.model_copy(
        update={
            "trial_id": f"{len(requests):03d}-{trial_id.partition('-')[2] or trial_id}-{number}",
            "index": len(requests),
            "key": f"{original.key}#{number}",
        }
    )
    ledger.add(again)
    return sweep
