"""Jobs that a driver sends to its slots."""

from __future__ import annotations

import json
from pathlib import Path

from helpers.jobs import make_job

from trainables.trial.jobs import LatencyJob, parse_job


def test_jobs_travel_as_plain_data(tmp_path: Path) -> None:
    for job in (make_job(tmp_path), LatencyJob(folders=(tmp_path,), store=tmp_path, attempt="b")):
        assert parse_job(json.loads(job.model_dump_json())) == job
