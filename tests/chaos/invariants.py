"""What must hold of a sweep's folder after any faults: it equals that of an undisturbed run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pyarrow.parquet import read_table
from safetensors.torch import load_file

from trainables.common.lease import latest
from trainables.common.store import LOG
from trainables.records import (
    CHECKPOINT,
    CURVES,
    RECORD,
    REPORT,
    REPORT_SAMPLES,
    SEARCH_SAMPLES,
    STAGE,
    TRAINED,
)

# What says when, where and how fast, and not what came out.
TIMES = {
    "attempt", "started", "finished", "cost", "sweep", "speed", "resumed_at_step", "latency",
    "batched_latency", "samples_per_second", "device_seconds", "trained_by", "git_commit",
}  # fmt: skip


def violations(folder: Path, other: Path) -> Iterator[str]:
    """What differs in the sweep's folder from the undisturbed one, and what was left behind."""
    trials, expected = _names(folder), _names(other)
    if trials != expected:
        yield f"its trials are {sorted(trials)} in place of {sorted(expected)}"
    for name in sorted(trials & expected):
        for what in _differences(folder / "trials" / name, other / "trials" / name):
            yield f"{name}: {what}"
    yield from _store(folder.parent / "store", other.parent / "store")
    yield from _left(folder)


def contents(folder: Path) -> dict[str, Any]:
    """What a trial's folder says, by file: the same for a trial that was never disturbed."""
    found: dict[str, Any] = {}
    for name in (RECORD, REPORT):
        if (folder / name).exists():
            found[name] = _without_times(json.loads((folder / name).read_text(encoding="utf-8")))
    if (folder / CURVES).exists():
        found[CURVES] = (folder / CURVES).read_bytes()
    if (folder / TRAINED).exists():  # whose metadata are in any order
        found[TRAINED] = {k: v.numpy().tobytes() for k, v in load_file(folder / TRAINED).items()}
    for name in (SEARCH_SAMPLES, REPORT_SAMPLES):
        if (folder / name).exists():  # whose metadata say how long it took
            found[name] = read_table(folder / name).replace_schema_metadata().to_pylist()
    return found


def _names(folder: Path) -> set[str]:
    return {path.name for path in (folder / "trials").glob("*")}


def _differences(folder: Path, other: Path) -> Iterator[str]:
    mine, theirs = contents(folder), contents(other)
    for name in sorted(mine.keys() | theirs.keys()):
        if (name in mine) != (name in theirs):
            yield f"{name} is {'there' if name in mine else 'missing'}"
        elif mine[name] == theirs[name]:
            continue
        elif name in (RECORD, REPORT):
            yield from (f"{name}: {each}" for each in _paths(mine[name], theirs[name]))
        else:
            yield f"{name} differs"


def _paths(mine: Any, theirs: Any, at: str = "") -> Iterator[str]:
    if isinstance(mine, dict) and isinstance(theirs, dict):
        for key in sorted(mine.keys() | theirs.keys()):
            yield from _paths(mine.get(key), theirs.get(key), f"{at}.{key}")
    elif mine != theirs:
        yield f"{at[1:]} is {str(mine)[:200]} in place of {str(theirs)[:200]}"


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_times(v) for k, v in value.items() if k not in TIMES}
    return [_without_times(each) for each in value] if isinstance(value, list) else value


def _store(store: Path, other: Path) -> Iterator[str]:
    rows = map(json.loads, (store / LOG).read_text(encoding="utf-8").splitlines())
    built = Counter(f"{row['kind']}/{row['digest']}" for row in rows)
    for name, times in built.items():
        if times > 1:
            yield f"the store's {name} was built {times} times"
    if built.keys() - _entries(store):
        yield f"the store lost {sorted(built.keys() - _entries(store))}"
    if _entries(store) != _entries(other):
        yield f"the store holds other entries: {sorted(_entries(store) ^ _entries(other))}"


def _entries(store: Path) -> set[str]:
    return {str(path.parent.relative_to(store)) for path in store.glob("*/*/key.json")}


def _left(folder: Path) -> Iterator[str]:
    """What nobody needs any more once a sweep is over."""
    for path in (*folder.parent.rglob("*.part"), *folder.glob("t*/train"), folder / "tune"):
        if path.exists():
            yield f"{path.relative_to(folder.parent)} was left behind"
    for name in (CHECKPOINT, STAGE):
        for path in folder.glob(f"trials/*/{name}"):
            yield f"{path.relative_to(folder)} was left behind"
    for path in (*folder.parent.rglob("*.lock"), *folder.rglob(".*.lock")):
        try:
            with FileLock(path, blocking=False):
                pass
        except Timeout:
            yield f"{path.relative_to(folder.parent)} is held"
    lease = latest(folder)
    if lease is None or not lease.ended:
        yield "the lease has not ended"
