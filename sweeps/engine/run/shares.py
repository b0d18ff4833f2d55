"""What each job of a sweep asks of Ray: its slot, or the share that others like it had needed."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from sweeps.engine.search.agenda import Job
from sweeps.engine.spec import SweepSpec
from trainables.records import CostReport, TrialRecord
from trainables.specs import GIB, TrialSpec
from trainables.trial.jobs import TrialJob

Amounts = Mapping[str, float]  # by Ray's resource; memory in bytes
SPARE = 1.25  # times the highest peak that was measured
CONTEXT_MIB = 1024.0  # of a GPU, for each process that uses it: torch does not count it
MOST_ON_ONE_GPU = 8
SLACK = 1e-6  # of sums of such numbers


class Shares:
    """What is asked for each job, as far as there is room for it.

    Args:
        sweep: of the jobs.
        slot: what a worker holds where nothing is measured.
        nodes: tells what each node has now.
    """

    def __init__(
        self, sweep: SweepSpec, slot: Amounts, nodes: Callable[[], Sequence[Amounts]]
    ) -> None:
        self._trial, wanted = sweep.trial, sweep.resources
        self._slot, self._nodes = slot, nodes
        self._shared = wanted.gpus_per_slot == "measured" and not self._trial.grouped
        self._fitted = wanted.memory_gib_per_slot == "measured"
        self._held: dict[str, Amounts] = {}  # by all workers of a job, by its id

    def take(
        self, job_id: str, job: Job, records: Mapping[str, TrialRecord]
    ) -> dict[str, float] | None:
        """What each worker of the job is to hold; None while others hold too much for that.

        A trial like which none was measured holds a whole slot. GPUs are not shared by closing
        jobs, which measure latency, and by trials of several workers, which need one each.

        Args:
            job_id: under which it is given back.
            job: the job.
            records: those of the sweep, whose costs tell what trials need.
        """
        asked, trial = dict(self._slot), job if isinstance(job, TrialJob) else None
        costs = list(_costs(trial, records)) if self._shared or self._fitted else []
        if trial and self._shared and (parts := [part for each in costs if (part := _part(each))]):
            asked["GPU"] = max(parts)
        if self._fitted:
            peaks = [cost.peak_host_memory_mib for cost in costs if cost.peak_host_memory_mib]
            most = max(node.get("memory", 0.0) for node in self._nodes())
            asked["memory"] = min(GIB * math.ceil(SPARE * max(peaks, default=0.0) / 1024), most)
        asked = {name: amount for name, amount in asked.items() if amount}
        workers = self._trial.workers if trial else 1
        amounts = {name: amount * workers for name, amount in asked.items()}
        if not self._has_room(amounts):
            return None
        self._held[job_id] = amounts
        return asked

    def give_back(self, job_id: str) -> None:
        """The job has ended."""
        del self._held[job_id]

    def _has_room(self, amounts: Amounts) -> bool:
        """Whether nodes have so much beside what is held; Tune's own count is of whole slots."""
        if not self._held or not (self._shared or self._fitted):
            return True
        nodes = self._nodes()
        for name, amount in amounts.items():
            held = sum(each.get(name, 0.0) for each in self._held.values())
            if held + amount > sum(node.get(name, 0.0) for node in nodes) + SLACK:
                return False
        return True


def slots_in(nodes: Sequence[Amounts], asked: Amounts) -> int:
    """How many workers the nodes have room for, each on one of them."""
    return sum(min(int(node.get(k, 0.0) / v + SLACK) for k, v in asked.items()) for node in nodes)


def _costs(trial: TrialJob | None, records: Mapping[str, TrialRecord]) -> Iterator[CostReport]:
    """Of trials that held as much as this one will, or more: of its kind, no more removed.

    Those of all trials tell of a closing job.
    """
    for record in records.values():
        spec, recovery = record.spec, record.recovery
        if record.cost is None or (recovery is not None and recovery.trained_by is not None):
            continue
        if trial is None or (
            _kind(spec) == _kind(trial.spec) and spec.pruning.ratio <= trial.spec.pruning.ratio
        ):
            yield record.cost


def _kind(spec: TrialSpec) -> tuple[object, ...]:
    """The settings that memory depends on, but for the ratio."""
    recovery = spec.recovery
    return (
        spec.model, spec.quantization, spec.pruning.size, recovery.scope, recovery.lora_rank,
        recovery.loss.needs_teacher, recovery.teacher, recovery.micro_batch_size,
        recovery.max_tokens_per_step, recovery.gradient_checkpointing, spec.evaluation.batch_size,
    )  # fmt: skip


def _part(cost: CostReport) -> float | None:
    """A whole part of a GPU that holds as much again, so that all of the parts can be taken."""
    if not cost.peak_memory_mib or not cost.device_memory_mib:
        return None
    needed = SPARE * cost.peak_memory_mib + CONTEXT_MIB
    parts = min(int(cost.device_memory_mib / needed), MOST_ON_ONE_GPU)
    return math.floor(1e4 / max(parts, 1)) / 1e4  # Ray counts in ten-thousandths
