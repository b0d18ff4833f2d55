"""Where a trial's workers meet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.jobs import make_job

from trainables.common.process_group import destroy_process_group, fresh_single_process_group
from trainables.trial.jobs import TrialJob
from trainables.trial.workers import meet


@pytest.fixture
def job(tmp_path: Path) -> Iterator[TrialJob]:
    """A trial in a folder of its own, within a process group of one worker."""
    fresh_single_process_group()
    yield make_job(tmp_path)
    destroy_process_group()


def test_what_a_killed_start_left_is_gone(job: TrialJob) -> None:
    left = job.folder / "shards-0123"
    left.mkdir()
    (left / "request-0.json").write_text("{}")
    exchange, trained = meet(job)
    assert exchange.folder.is_dir()
    assert sorted(job.folder.glob("shards-*")) == [exchange.folder]
    assert (exchange.rank, exchange.world, trained) == (0, 1, "")
