"""Measuring a sweep's rates on this machine, in another process, and finding them again."""

import json
import os
import shutil
import socket
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sweeps.engine.plan.ahead import works
from sweeps.engine.plan.assumed import assumed_rates, tried_rates
from sweeps.engine.plan.estimates import conversations_of
from sweeps.engine.plan.preflight import check_data, check_storage, check_sweep
from sweeps.engine.plan.rates import Known, Rates, rates_of
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.asking import answer_of
from trainables.common.copies import url_of
from trainables.common.files import read_json, write_json
from trainables.models.families.shape import LanguageShape
from trainables.records import TrialRecord
from trainables.specs import Frozen, ModelSpec, TrialSpec

PROBER = "trainables.trial.probe"
CALIBRATION = 32  # samples that importance is scored on: its rate is by the sample


class Probe(Frozen):
    """What a probe found: rates by device, model and dtype, and where and when.

    `counted` says that FLOPs are those of the trained tokens; in earlier probes they were those of
    a sample's usual length.
    """

    device: str
    model: str
    dtype: str
    host: str
    when: str
    seconds: float
    rates: Rates
    counted: bool = False

    @property
    def basis(self) -> str:
        """In words."""
        return f"probe of {self.when[:10]} on {self.device}"


class Probes(Frozen):
    """The content of `probes.json` in a storage folder, oldest first."""

    probes: tuple[Probe, ...] = ()


def probe_sweep(sweep: SweepSpec, storage: Path, seconds: float) -> Probe:
    """Run short trials of the sweep on the device at hand and keep their rates in the storage.

    Args:
        sweep: the sweep.
        storage: where `probes.json` goes.
        seconds: how long to measure, about.

    Raises:
        ValueError: the sweep cannot run, or a trial failed.
    """
    shape = check_sweep(sweep)
    conversations = conversations_of(sweep, check_data(sweep))
    check_storage(storage)
    beside = None if url_of(storage.resolve()) else storage.resolve()
    folder = Path(tempfile.mkdtemp(prefix=".probe-", dir=beside))
    begun = datetime.now(UTC)
    try:
        found = _ask(probed(sweep), folder, seconds, conversations, sweep)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    records = [TrialRecord.model_validate(each) for each in found["records"]]
    cost, model = records[0].cost, sweep.trial.model
    assert cost is not None
    probe = Probe(
        device=cost.device,
        model=model.path,
        dtype=model.dtype,
        host=socket.gethostname(),
        when=begun.isoformat(timespec="seconds"),
        seconds=(datetime.now(UTC) - begun).total_seconds(),
        rates=rates_of(records, shape, latency=found["latency_seconds"]),
        counted=True,
    )
    same = (probe.device, probe.model, probe.dtype, probe.host)
    others = (p for p in _read(storage) if (p.device, p.model, p.dtype, p.host) != same)
    write_json(_path(storage), Probes(probes=(*others, probe)))
    return probe


def probed(sweep: SweepSpec) -> tuple[TrialSpec, ...]:
    """The trials that are run: of each method the dearest recovery, at its least and most ratio.

    Raises:
        ValueError: no trial of the sweep trains.
    """
    found: dict[tuple[str, str], TrialSpec] = {}
    for work in works(sweep, []):
        spec = work.spec
        if spec.recovery.scope == "none" or not spec.pruning.prunes:
            continue
        small = min(CALIBRATION, spec.pruning.importance.samples)
        importance = spec.pruning.importance.model_copy(update={"samples": small})
        pruning = spec.pruning.model_copy(update={"importance": importance})
        place = (spec.pruning.method, spec.recovery.scope)
        best = found.get(place)
        taught = spec.recovery.loss.needs_teacher
        if best is None or (taught and not best.recovery.loss.needs_teacher):
            found[place] = spec.model_copy(update={"pruning": pruning, "quantization": "none"})
    if not found:
        raise ValueError(
            f"no trial of sweep {sweep.name!r} recovers, so that there is nothing to probe but "
            "scoring; run it, and its first trials say the rest"
        )
    return tuple(found.values())


def known_before(trial: TrialSpec, shape: LanguageShape, storage: Path) -> tuple[Known, ...]:
    """What tells of rates before a sweep's own trials do, best first; the last one knows all."""
    found = (probe_of(storage, trial.model), tried_rates(trial, shape), assumed_rates(trial, shape))
    return tuple(known for known in found if known)


def probe_of(storage: Path, model: ModelSpec) -> Known | None:
    """The newest rates of this model in the storage, this machine's before others'."""
    same = (p for p in _read(storage) if (p.model, p.dtype) == (model.path, model.dtype))
    fitting = [p for p in same if p.counted]
    here = [p for p in fitting if p.host == socket.gethostname()]
    chosen = here or fitting
    return Known(chosen[-1].rates, chosen[-1].basis) if chosen else None


def _ask(
    specs: tuple[TrialSpec, ...],
    folder: Path,
    seconds: float,
    conversations: int,
    sweep: SweepSpec,
) -> dict[str, Any]:
    threads = str(max(1, int(sweep.resources.cpus_per_slot)))  # as Ray gives them to a slot
    job = {
        "specs": [spec.model_dump(mode="json") for spec in specs],
        "folder": str(folder),
        "seconds": seconds,
        "conversations": conversations,
    }
    environment = {"OMP_NUM_THREADS": threads, **os.environ}
    found = answer_of(PROBER, json.dumps(job), "the probe failed", environment=environment)
    answer: dict[str, Any] = json.loads(found)
    return answer


def _path(storage: Path) -> Path:
    return storage / "probes.json"


def _read(storage: Path) -> tuple[Probe, ...]:
    path = _path(storage)
    return read_json(path, Probes).probes if path.exists() else ()
