"""Jobs that a driver sends to its slots."""

from __future__ import annotations

import json
from pathlib import Path

from helpers.jobs import make_job

from trainables.trial.jobs import LatencyJob, begin_job, parse_job


def test_jobs_travel_as_plain_data(tmp_path: Path) -> None:
    for job in (make_job(tmp_path), LatencyJob(folders=(tmp_path,), store=tmp_path, attempt="b")):
        assert parse_job(json.loads(job.model_dump_json())) == job


def test_each_start_of_a_job_has_a_token_of_its_own(tmp_path: Path) -> None:
    """Tune hands a retry the plain job of the first try."""
    plain = make_job(tmp_path).model_dump(mode="json")
    starts = [begin_job(plain) for _ in range(3)]
    assert len({job.attempt for job in starts}) == 3
    own = parse_job(plain)
    assert all(job.model_copy(update={"attempt": own.attempt}) == own for job in starts)
