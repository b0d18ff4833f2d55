"""What orchestration costs: seconds per trial beyond the trial's own stages, and at start-up.

Command: `python tests/benchmarks/orchestration.py [--trials N] [--skip-group] [--pair-trials N]`

Runs one small sweep in warm slots (Train's local mode) and the same trials as Train worker groups
of one worker each (a new process group per trial, the obvious pattern), and prints

    overhead per trial = (slots x wall-clock of the search - sum of stage seconds) / trials

for both, start-up included and apart. Start-up is the time until the last slot has begun its first
stage. Ratios within one run count; absolute times depend on the machine.

Last, the same trials of two workers each, one at a time: the median of what passes between one
record and the next beyond the trial's own seconds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

SWEEP = """
from sweeps.engine.spec import SweepSpec
from trainables.specs import *

sweep = SweepSpec(
    name="{name}",
    question="what does orchestration cost?",
    trial=TrialSpec(
        pruning=PruningSpec(importance=ImportanceSpec(samples=16)),
        recovery=RecoverySpec(budget=Budget(steps=10), data_fraction=0.05),
        evaluation=EvaluationSpec(search_limit=20, report_limit=20),
        workers={workers},
        isolate={isolate},
    ),
    strata={{"method": ("layerwise", "widthwise"), "ratio": (0.15, 0.30, 0.45, 0.60)}},
    designed=tuple(
        {{"method": m, "ratio": r, "scope": "projector", "lr_scale": s}}
        for s in (0.5, 1.0, 2.0)
        for r in (0.15, 0.30, 0.45, 0.60)
        for m in ("layerwise", "widthwise")
    )[:{trials}],
    priors=False,
)
"""


def main() -> None:
    """Run both sweeps and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=24, help="trials in warm slots")
    parser.add_argument("--group-trials", type=int, default=4, help="trials as worker groups")
    parser.add_argument("--skip-group", action="store_true")
    parser.add_argument("--pair-trials", type=int, default=0, help="trials of two workers")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        storage = Path(folder) / "runs"
        _prepare(storage)
        rows = [_measure(storage, "warm", given.trials)] if given.trials else []
        if not given.skip_group:
            rows.append(_measure(storage, "group", given.group_trials))
        between = _between(storage, given.pair_trials) if given.pair_trials else []
    header = ("path", "trials", "wall s", "start-up s", "s/trial", "start-up apart")
    print("".join(f"{name:>16}" for name in header))
    for row in rows:
        figures = (row[k] for k in ("wall", "startup", "overhead", "without"))
        print(f"{row['path']:>16}{row['trials']:>16}", *(f"{x:>15.2f}" for x in figures))
    if len(rows) == 2:
        ratio = rows[1]["without"] / rows[0]["without"]
        print(f"worker group / warm slot, start-up apart: {ratio:.1f}x")
    if between:
        said = ", ".join(f"{seconds:.2f}" for seconds in between)
        print(f"between trials of two workers: median {statistics.median(between):.2f} s ({said})")


def _prepare(storage: Path) -> None:
    """Generate the embedded data, which is no part of the measurement."""
    code = (
        "import sys; from pathlib import Path; "
        "from trainables.embedded.tiny_dataset import prepare; prepare(Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", code, str(storage / "store")], check=True)


def _run(storage: Path, name: str, trials: int, **settings: Any) -> None:
    path = storage / f"{name}.py"
    given = {"workers": 1, "isolate": False, **settings}
    path.write_text(SWEEP.format(name=name, trials=trials, **given), encoding="utf-8")
    command = [sys.executable, "-m", "sweeps.engine.cli", "run", str(path)]
    command += ["--storage", str(storage)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _between(storage: Path, trials: int) -> list[float]:
    """Seconds from one record to the next beyond the trial's own, in the order of the trials."""
    _run(storage, "pair", trials, workers=2)
    written = sorted((storage / "pair" / "trials").glob("*/record.json"), key=_mtime)
    own = [json.loads(p.read_text(encoding="utf-8"))["cost"]["wall_seconds"] for p in written]
    passed = [_mtime(b) - _mtime(a) for a, b in itertools.pairwise(written)]
    return [total - seconds for total, seconds in zip(passed, own[1:], strict=True)]


def _mtime(path: Path) -> float:
    return path.stat().st_mtime


def _measure(storage: Path, name: str, trials: int) -> dict[str, Any]:
    begin = time.time()
    _run(storage, name, trials, isolate=name == "group")
    records = [
        json.loads(p.read_text(encoding="utf-8"))
        for p in (storage / name / "trials").glob("*/record.json")
    ]
    started = {r["trial_id"]: _seconds(r["provenance"]["started"]) for r in records}
    pids = {
        p.parent.name: json.loads(p.read_text(encoding="utf-8"))["pid"]
        for p in (storage / name / "trials").glob("*/attempt.json")
    }
    ended = max(_seconds(r["provenance"]["finished"]) for r in records)
    slots = min(len(os.sched_getaffinity(0)), len(records))
    stages = sum(sum(r["cost"]["device_seconds"].values()) for r in records)
    firsts = {pid: min(started[t] for t in pids if pids[t] == pid) for pid in set(pids.values())}
    startup = sum(sorted(firsts.values())[:slots]) - slots * begin
    total = slots * (ended - begin) - stages
    return {
        "path": name,
        "trials": len(records),
        "wall": ended - begin,
        "startup": startup / slots,
        "overhead": total / len(records),
        "without": (total - startup) / len(records),
    }


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


if __name__ == "__main__":
    main()
