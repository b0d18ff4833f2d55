"""Running one trial again: the same spec under a new id, so that no record is ever rewritten."""

from pydantic import ValidationError

from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.ledger import Ledger
from sweeps.engine.spec.loading import BadInputError
from trainables.common.files import read_json


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


def failed_base(ledger: Ledger, key: str) -> str | None:
    """Id of the dense base's last run, if that failed; None while it has not ended, or once it did.

    Args:
        ledger: the sweep's.
        key: of the dense base as the sweep asks for it.
    """
    runs = [name for name, r in ledger.requests().items() if _first(r.key) == key]
    records = [ledger.record(name) for name in runs]
    if not runs or any(record is None or record.status != "failed" for record in records):
        return None
    return runs[-1]


def _first(key: str) -> str:
    """The key of the trial that was run first."""
    return key.partition("#")[0]


def request_failed_again(ledger: Ledger) -> SweepSpec:
    """Ask once more for every trial that failed for good; the sweep as it was last run.

    Raises:
        BadInputError: the sweep has not run here, or none of its trials failed.
    """
    failed: dict[str, str] = {}  # the last run of each
    for name in failed_for_good(ledger):
        failed[_first(ledger.requests()[name].key)] = name
    if not failed:
        raise BadInputError(f"no trial of {ledger.folder} has failed; nothing is to be run again")
    for name in failed.values():
        sweep = request_again(ledger, name)
    return sweep


def request_again(ledger: Ledger, trial_id: str) -> SweepSpec:
    """Ask for `trial_id` once more and return the sweep as it was last run.

    Raises:
        BadInputError: the sweep's file cannot be read, or the trial is already asked for again.
    """
    path = ledger.folder / "sweep.json"
    try:
        sweep = read_json(path, SweepSpec)
    except (OSError, ValidationError) as error:
        raise BadInputError(f"{path} is not a readable sweep ({error})") from None
    requests = ledger.requests()
    original = requests[trial_id]
    first = _first(original.key)
    repeats = [r for r in requests.values() if r.key.startswith(f"{first}#")]
    if any(ledger.record(r.trial_id) is None for r in repeats):
        raise BadInputError(f"{trial_id} is already waiting to be run again; use `prunesweep run`")
    number = len(repeats) + 2
    name = next(name for name, request in requests.items() if request.key == first)
    name = name.partition("-")[2] or name  # without the index of the first run
    record = ledger.record(trial_id)
    trained = record is not None and record.status == "failed"  # perhaps: the store knows
    again = original.model_copy(
        update={
            "caches": original.caches.model_copy(
                update={"recovery": original.caches.recovery or trained}
            ),
            "trial_id": f"{len(requests):03d}-{name}-{number}",
            "index": len(requests),
            "key": f"{first}#{number}",
        }
    )
    ledger.add(again)
    return sweep
