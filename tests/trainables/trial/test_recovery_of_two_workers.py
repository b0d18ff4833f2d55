"""Two data-parallel workers train like one: any ZeRO stage, uneven passes, skipped steps, caches.

Two processes over gloo without Ray, which `tests/integration` brings in.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small_sweeps import environment
from PIL import Image
from safetensors.torch import load_file

pytestmark = pytest.mark.slow  # two processes, but no Ray

# Runs every case of a list in one pair of processes (or alone), each in its own folder.
SCRIPT = """
import json, sys
from pathlib import Path
import torch
import torch.distributed as dist
from trainables.trial.inputs import load_inputs
from trainables.trial.jobs import TrialJob
from trainables.trial.plan import importance_scores, make_plan
from trainables.common.clock import Clock
from trainables.recovery.encode.encoder import Encoder
from trainables.common.attempts import claim
from trainables.trial.recover import recover_student
from trainables.specs import *
from trainables.common.store import Store

root, rank, world = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
cases = json.loads(Path(sys.argv[4]).read_text())
dist.init_process_group("gloo", init_method=f"file://{root}/meeting-{world}", rank=rank,
                        world_size=world)
whole = Encoder.batch
for name, recovery in cases.items():
    poisoned = recovery.pop("poisoned", False)
    texts = str(root / "texts.json") if recovery.pop("texts", False) else None
    seen = []

    def batch(self, indices):
        made = whole(self, indices)
        seen.append(indices)
        if poisoned and rank == world - 1 and len(seen) == 4:  # norms, then steps 0, 1, 2
            made["pixel_values"] = made["pixel_values"] * float("nan")
        return made

    Encoder.batch = batch
    given = {"scope": "joint", "budget": Budget(steps=4), "data_fraction": 0.02, "batch_size": 16,
             "micro_batch_size": 16 // world, "learning_rate": 1e-3, **recovery}
    spec = TrialSpec(data=DataSpec(conversations=texts),
                     pruning=PruningSpec(ratio=0.6, importance=ImportanceSpec(samples=8)),
                     recovery=RecoverySpec.model_validate(given))
    folder = root / f"{name}-{world}"
    folder.mkdir(exist_ok=True)
    if rank == 0:
        claim(folder, "a")
    dist.barrier()
    store = Store(root / "store")
    job = TrialJob(trial_id=name, sweep="s", origin="designed", spec=spec, folder=folder,
                   store=store.root, attempt="a")
    inputs = load_inputs(spec, store)
    report = recover_student(job, inputs, make_plan(inputs, importance_scores(inputs)), Clock(),
                             None)
    if rank == 0:
        (folder / "report.json").write_text(report.model_dump_json())
"""

LOSS = {"alpha": 0.5, "beta": 0.3, "gamma": 0.2, "hidden_layers": 2}
CASES: dict[str, dict[str, Any]] = {
    "zero-1": {"loss": LOSS, "zero_stage": 1},
    "zero-3-full": {"loss": LOSS, "zero_stage": 3, "scope": "full", "max_tokens_per_step": 150},
    "uneven-passes": {"loss": LOSS, "max_tokens_per_step": 130, "length_groups": 2},
    "kept": {"loss": LOSS, "teacher": {"mode": "cached"}},
    **{
        f"text-zero-{stage}": {
            "texts": True,
            "loss": LOSS,
            "zero_stage": stage,
            "data_fraction": 1.0,
            "batch_size": 2,
            "micro_batch_size": 1,
        }
        for stage in (2, 3)
    },
    "text-zero-3-alone": {
        "texts": True,
        "loss": {"alpha": 1.0},
        "zero_stage": 3,
        "data_fraction": 1.0,
        "batch_size": 2,
        "micro_batch_size": 1,
    },
    "poisoned": {"loss": {"alpha": 1.0}, "poisoned": True},
}


def _write_half_texts(root: Path) -> None:
    """Conversations of which every other one shows no image."""
    rows: list[dict[str, Any]] = []
    for i in range(16):
        Image.new("RGB", (36, 36), (15 * i, 90, 200)).save(root / f"{i}.png")
        shown = {"image": f"{i}.png"} if i % 2 else {}
        mark = "<image>\n" if i % 2 else ""
        turns = [
            {"from": "human", "value": f"{mark}what color is the circle ?"},
            {"from": "gpt", "value": "red"},
        ]
        rows.append({"id": str(i), **shown, "conversations": turns})
    (root / "texts.json").write_text(json.dumps(rows))


def _run(root: Path, world: int) -> None:
    _write_half_texts(root)
    cases = root / "cases.json"
    cases.write_text(json.dumps(CASES))
    command = [sys.executable, "-c", SCRIPT, str(root)]
    workers = [
        subprocess.Popen(
            [*command, str(rank), str(world), str(cases)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment() | {"LOCAL_RANK": str(rank)},
        )
        for rank in range(world)
    ]
    for worker in workers:
        said, _ = worker.communicate(timeout=400)
        assert worker.returncode == 0, said[-3000:]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every case, trained by two workers and by one, which share a store."""
    root = tmp_path_factory.mktemp("workers")
    _run(root, 2)
    _run(root, 1)
    return root


@pytest.mark.parametrize("name", CASES)
def test_two_workers_train_like_one(trained: Path, name: str) -> None:
    one, two = (trained / f"{name}-{world}" for world in (1, 2))
    reports = [json.loads((folder / "report.json").read_text()) for folder in (one, two)]
    for key in ("steps", "tokens", "samples", "skipped_steps", "teacher"):
        assert reports[0][key] == reports[1][key], key
    assert reports[0]["skipped_steps"] == (1 if name == "poisoned" else 0)
    assert reports[0]["first_terms"] == pytest.approx(reports[1]["first_terms"], rel=1e-4)
    first, second = (load_file(folder / "recovered.safetensors") for folder in (one, two))
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert torch.isfinite(value).all(), key
        assert float((value - second[key]).norm()) <= 5e-3 * float(value.norm()), key
