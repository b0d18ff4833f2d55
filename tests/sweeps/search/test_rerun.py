"""Trials that are run again: which of them count as failed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from helpers.trials import make_trial

from sweeps.engine.search.rerun import (
    failed_base,
    failed_for_good,
    last_sweep,
    request_again,
    request_failed_again,
)
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.ledger import Ledger, Request
from sweeps.engine.spec.loading import BadInputError
from trainables.common.files import write_json
from trainables.records import RECORD


@pytest.mark.parametrize(
    ("second", "failed"), [("completed", ["b"]), ("failed", ["c", "b"]), (None, ["a", "b"])]
)
def test_a_trial_that_was_mended_has_not_failed(
    tmp_path: Path, second: Literal["completed", "failed"] | None, failed: list[str]
) -> None:
    """`c` is the second run of `a`."""
    ledger = Ledger(tmp_path, "demo")
    asked = (("a", "k", "failed"), ("b", "other", "failed"), ("c", "k#2", second))
    for index, (name, key, status) in enumerate(asked):
        record = make_trial(name).record
        request = Request(trial_id=name, index=index, origin="designed", key=key, spec=record.spec)
        folder = ledger.add(request)
        if status is not None:
            write_json(folder / RECORD, record.model_copy(update={"status": status}))
    assert failed_for_good(ledger) == failed


def _ledger(tmp_path: Path, **trials: tuple[str, str | None]) -> Ledger:
    """A ledger with these trials: id -> (key, status)."""
    ledger = Ledger(tmp_path, "demo")
    for index, (name, (key, status)) in enumerate(trials.items()):
        record = make_trial(name).record
        folder = ledger.add(
            Request(trial_id=name, index=index, origin="designed", key=key, spec=record.spec)
        )
        if status is not None:
            write_json(folder / RECORD, record.model_copy(update={"status": status}))
    write_json(ledger.folder / "sweep.json", SweepSpec(name="demo", question="?"))
    return ledger


def test_all_failed_trials_are_asked_for_once_more(tmp_path: Path) -> None:
    ledger = _ledger(
        tmp_path, a=("k", "failed"), b=("l", "completed"), c=("m", "failed"), d=("k#2", "failed")
    )
    request_failed_again(ledger)
    new = {name: r.key for name, r in ledger.requests().items() if name not in "abcd"}
    assert new == {"004-a-3": "k#3", "005-c-2": "m#2"}
    assert all(ledger.requests()[name].caches.recovery for name in new), "if it had been trained"
    with pytest.raises(BadInputError, match="already waiting"):
        request_again(ledger, "a")


def test_nothing_failed_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"no trial of .* has failed"):
        request_failed_again(_ledger(tmp_path, a=("k", "completed")))


def test_the_sweep_is_the_one_that_was_run_last(tmp_path: Path) -> None:
    ledger = _ledger(tmp_path, a=("k", "completed"))
    with pytest.raises(BadInputError, match=r"it holds no sweep\.json"):
        last_sweep(Ledger(tmp_path, "demoo"))
    assert last_sweep(ledger) == SweepSpec(name="demo", question="?")


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ({"dense": ("k", "failed"), "a": ("l", "failed")}, "dense"),
        ({"dense": ("k", "failed"), "again": ("k#2", "failed")}, "again"),
        ({"dense": ("k", "failed"), "again": ("k#2", None)}, None),
        ({"dense": ("k", "failed"), "again": ("k#2", "completed")}, None),
        ({"a": ("l", "failed")}, None),
    ],
)
def test_a_base_that_failed(
    tmp_path: Path, runs: dict[str, tuple[str, str | None]], expected: str | None
) -> None:
    assert failed_base(_ledger(tmp_path, **runs), "k") == expected
