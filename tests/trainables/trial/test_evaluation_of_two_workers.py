"""Two workers that evaluate together score like one, and none outlives the other's failure.

Two processes over gloo without Ray; each runs whole trials of the embedded model.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.small_sweeps import environment

from trainables.common.files import read_json
from trainables.records import SEARCH_SAMPLES, EvaluationReport
from trainables.records.score_table import ScoreTable

pytestmark = pytest.mark.slow  # two processes, but no Ray

SCRIPT = """
import json, os, shutil, sys, time
from pathlib import Path
import torch.distributed as dist
from trainables.trial.compress import compress
from trainables.evaluation import sharding
from trainables.evaluation.answering.generation import Answerer
from trainables.evaluation.answering.stopping import NaNLogitsError
from trainables.trial.jobs import TrialJob
from trainables.common.attempts import claim
from trainables.common.files import write_json
from trainables.common.process_group import _forget_deepspeed_groups
from trainables.specs import *
from trainables.common.store import Store

root, rank = Path(sys.argv[1]), int(sys.argv[2])
whole = Answerer.__call__
for name in sys.argv[3:]:
    _forget_deepspeed_groups()  # a worker of Ray Train's serves one trial
    meeting = f"file://{root}/meeting-{name}"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    settings = EvaluationSpec(search_limit=11, batch_size=4, blank_image_limit=5,
                              sharded=name != "alone")
    spec = TrialSpec(
        pruning=PruningSpec(ratio=0.3, importance=ImportanceSpec(samples=4)),
        recovery=RecoverySpec(scope="projector", budget=Budget(steps=2), data_fraction=0.01,
                              batch_size=8, micro_batch_size=4),
        evaluation=settings, workers=2,
    )
    folder = root / name
    folder.mkdir(exist_ok=True)
    store = Store(root / "store")
    if rank == 0:
        claim(folder, "a")
        shutil.rmtree(store.root / "dense-scores", ignore_errors=True)
    asked = []

    def answer(self, questions, after_batch=lambda: None):
        asked.append(len(questions))
        if name == "nan" and rank == 1 and len(asked) == 7:  # the dense base has answered
            raise NaNLogitsError("the model's logits are NaN")
        if name == "first" and rank == 0 and len(asked) == 7:
            raise NaNLogitsError("the model's logits are NaN")
        if name == "killed" and rank == 1 and len(asked) == 7:
            os._exit(9)
        return whole(self, questions, after_batch)

    Answerer.__call__ = answer
    if name == "killed":
        sharding.Exchange.__init__.__defaults__ = (5.0, 60.0)
    job = TrialJob(trial_id=name, sweep="s", origin="designed", spec=spec, folder=folder,
                   store=store.root, attempt="a")
    start, error = time.monotonic(), None
    try:
        record = compress(job)
        if record is not None:
            write_json(folder / "evaluation.json", record.evaluation)
    except Exception as raised:
        error = f"{type(raised).__name__}: {raised}"
        if dist.is_initialized():
            dist.destroy_process_group()
    said = {"error": error, "asked": asked, "seconds": time.monotonic() - start}
    (folder / f"said-{rank}.json").write_text(json.dumps(said))
"""


def _run(root: Path, *names: str, codes: tuple[int, int] = (0, 0)) -> None:
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(root), str(rank), *names],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment() | {"LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]
    for worker, code in zip(workers, codes, strict=True):
        said, _ = worker.communicate(timeout=400)
        assert worker.returncode == code, said[-3000:]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trial that rank 0 scored alone, one of both, and two that failed."""
    folder = tmp_path_factory.mktemp("sharding")
    _run(folder, "alone", "together", "nan", "first")
    return folder


def said(root: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads((root / name / f"said-{rank}.json").read_text()) for rank in range(2)]


def test_two_workers_score_like_one(root: Path) -> None:
    tables = [ScoreTable.load(root / n / SEARCH_SAMPLES) for n in ("alone", "together")]
    for task, rows in tables[0].tasks.items():
        other = tables[1].tasks[task]
        assert rows.answers == other.answers
        assert rows.scores.tolist() == other.scores.tolist()
        assert rows.unfinished == other.unfinished
        assert len(set(rows.answers)) > 1
    alone, together = (
        read_json(root / n / "evaluation.json", EvaluationReport) for n in ("alone", "together")
    )
    timeless = {"samples_per_second": None}
    assert alone.model_copy(update=timeless) == together.model_copy(update=timeless)
    assert alone.image_gain is not None


def test_every_question_is_asked_once(root: Path) -> None:
    """Dense base and student on 11 questions of 5 tasks each, then both on 5 without images.

    The untrained student is asked as many; the second trial finds its answers.
    """
    first, other = (one["asked"] for one in said(root, "alone"))
    assert sum(first) == 3 * 5 * 11 + 3 * 5 * 5
    assert other == []
    shares = [one["asked"] for one in said(root, "together")]
    assert [sum(pair) for pair in zip(*shares, strict=True)] == [11] * 10 + [5] * 10
    assert set(shares[0]) == {5, 2}
    assert not list((root / "together").glob("shards-*"))


def test_nan_at_one_worker_ends_both(root: Path) -> None:
    first, other = said(root, "nan")
    assert first["error"].startswith("NaNLogitsError: task 'tiny_counting': the model's logits")
    assert "(worker 1)" in first["error"]
    assert other["error"].startswith("WorkerError: worker 0 gave up: task 'tiny_counting'")


def test_a_failure_of_the_first_worker_ends_the_other(root: Path) -> None:
    first, other = said(root, "first")
    assert first["error"].startswith("NaNLogitsError: task 'tiny_counting'")
    assert other["error"].startswith("WorkerError: worker 0 gave up: task 'tiny_counting'")


def test_a_killed_worker_ends_the_first_within_its_patience(root: Path) -> None:
    _run(root, "killed", codes=(0, 9))
    first = json.loads((root / "killed" / "said-0.json").read_text())
    assert first["error"].startswith("WorkerError: worker 1 does not answer task 'tiny_counting'")
    assert (root / "killed" / "recovered.safetensors").exists()
