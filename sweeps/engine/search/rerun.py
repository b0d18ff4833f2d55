"""Running one trial again: the same spec under a new id, so that no record is ever rewritten.

And what keeps a trial from being run again by mistake: a request for each record.
"""

from sweeps.engine.search.keys import trial_key
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.ledger import Ledger, Request
from sweeps.engine.spec.loading import BadInputError
from trainables.common.files import read_json
from trainables.models.families.shape import LanguageShape
from trainables.records import SWEEP


def failed_for_good(ledger: Ledger) -> list[str]:
    """Ids of failed trials, of the last run each, of which no run came to its end."""
    requests, records = ledger.requests(), ledger.records()
    done = {requests[name].first_key for name, r in records.items() if r.status != "failed"}
    last = {requests[name].first_key: name for name in records}
    return [name for key, name in last.items() if key not in done]


def superseded(ledger: Ledger) -> set[str]:
    """Ids of failed runs of trials that were asked for again since."""
    requests, records = ledger.requests(), ledger.records()
    last = {request.first_key: name for name, request in requests.items()}
    return {
        name
        for name, record in records.items()
        if record.status == "failed" and last[requests[name].first_key] != name
    }


def failed_base(ledger: Ledger, key: str) -> str | None:
    """Id of the last run of the dense base (asked for with this key) if every run of it failed."""
    runs = [name for name, request in ledger.requests().items() if request.first_key == key]
    records = [ledger.record(name) for name in runs]
    if not runs or any(record is None or record.status != "failed" for record in records):
        return None
    return runs[-1]


def last_sweep(ledger: Ledger) -> SweepSpec:
    """The sweep as it was last run.

    Raises:
        BadInputError: it has not run here.
        DamagedError: its file cannot be read.
    """
    path = ledger.folder / SWEEP
    try:
        return read_json(path, SweepSpec)
    except FileNotFoundError:
        raise BadInputError(f"no sweep has run in {ledger.folder}: it holds no {SWEEP}") from None


def request_failed_again(ledger: Ledger) -> None:
    """Ask once more for every trial that failed for good.

    Raises:
        BadInputError: none of the sweep's trials failed.
    """
    failed = failed_for_good(ledger)
    if not failed:
        raise BadInputError(f"no trial of {ledger.folder} has failed; nothing is to be run again")
    for name in failed:
        request_again(ledger, name)


def request_again(ledger: Ledger, trial_id: str) -> None:
    """Ask for `trial_id` once more.

    Raises:
        BadInputError: the trial is already asked for again.
    """
    requests = ledger.requests()
    if trial_id not in requests:
        raise BadInputError(
            f"{trial_id} started from another data, model or settings than sweep {ledger.sweep!r} "
            "has now, and would not be ranked; run the sweep as it was, with --new-base, first"
        )
    original = requests[trial_id]
    runs = [r for r in requests.values() if r.first_key == original.first_key]
    if any(ledger.unfinished(r.trial_id) for r in runs if r.key != r.first_key):
        raise BadInputError(f"{trial_id} is already waiting to be run again; use `prunesweep run`")
    number = len(runs) + 1
    name = next((r.trial_id for r in runs if r.key == r.first_key), trial_id)
    name = name.partition("-")[2] or name  # without the index of the first run
    record = ledger.record(trial_id)
    trained = record is not None and record.status == "failed"  # perhaps: the store knows
    recovery = original.caches.recovery or trained
    index = ledger.next_index()
    again = {
        "caches": original.caches.model_copy(update={"recovery": recovery}),
        "trial_id": f"{index:03d}-{name}-{number}",
        "index": index,
        "key": f"{original.first_key}#{number}",
    }
    ledger.add(original.model_copy(update=again))


def restore_requests(ledger: Ledger, shape: LanguageShape) -> None:
    """Write damaged requests anew where there is a record, or their trials would be run twice.

    Not in a sweep of several bases, where nothing else says of which one they were.
    """
    if len(ledger.bases.bases) > 1:
        return
    requests = ledger.requests()
    for name in ledger.damaged.keys() - requests.keys():
        record, number = ledger.record(name), name.partition("-")[0]
        if record is not None:
            ledger.add(
                Request(
                    trial_id=name,
                    index=int(number) if number.isdecimal() else 0,
                    origin=record.origin,
                    key=trial_key(record.spec, shape),
                    spec=record.spec,
                )
            )
            del ledger.damaged[name]
