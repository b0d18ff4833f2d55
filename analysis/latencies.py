"""Latencies of a sweep: what is built alike is as fast, so its measurements are pooled.

Trials of one architecture (kept layers, heads and neurons, quantization, model and dtype) differ in
what they learned, not in what they compute, and the dense base is measured again beside each of
them, with the same libraries. A measurement is the median of its repeats; its logarithm is taken to
vary around that of its architecture with one standard deviation throughout, which follows from all
architectures that were measured more than once. It holds what repeats within a measurement cannot
show: clock, heat, neighbours. The latency of an architecture is the geometric mean of its
measurements.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any

from analysis.load import Trial

Architecture = tuple[Any, ...]
LIBRARIES = ("torch", "transformers", "bitsandbytes", "torchao")  # whose versions decide as well


@dataclass(frozen=True)
class Latencies:
    """Pooled latencies.

    Attributes:
        architectures: of each trial that was measured, by id.
        logs: of the milliseconds of every measurement of an architecture.
    """

    architectures: dict[str, Architecture]
    logs: dict[Architecture, tuple[float, ...]]

    @classmethod
    def of(cls, trials: Sequence[Trial]) -> "Latencies":
        """Those of all `trials` of a sweep that were measured."""
        architectures: dict[str, Architecture] = {}
        logs: dict[Architecture, list[float]] = {}
        for trial in trials:
            if (latency := trial.latency) is None:
                continue
            own, dense = _architectures(trial, latency.device)
            architectures[trial.trial_id] = own
            logs.setdefault(own, []).append(math.log(latency.median_ms))
            logs.setdefault(dense, []).append(math.log(latency.dense_median_ms))
        return cls(architectures, {key: tuple(found) for key, found in logs.items()})

    @cached_property
    def _means(self) -> dict[Architecture, float]:
        return {key: fmean(found) for key, found in self.logs.items()}

    @cached_property
    def degrees(self) -> int:
        """Degrees of freedom of `deviation`; 0 where nothing was measured twice."""
        return sum(len(found) - 1 for found in self.logs.values())

    @cached_property
    def deviation(self) -> float:
        """Standard deviation of the logarithm of one measurement; infinite if it is not known."""
        squares = sum(
            (x - self._means[key]) ** 2 for key, found in self.logs.items() for x in found
        )
        return math.sqrt(squares / self.degrees) if self.degrees else math.inf

    def milliseconds(self, trial_id: str) -> float:
        """The latency of a measured trial's architecture."""
        return math.exp(self._means[self.architectures[trial_id]])

    def error(self, trial_id: str) -> float:
        """Standard error of the logarithm of its latency."""
        return self.deviation / math.sqrt(len(self.logs[self.architectures[trial_id]]))

    def interval(self, trial_id: str) -> tuple[float, float] | tuple[None, None]:
        """The 95 % interval of its latency, in milliseconds; (None, None) if it is not known."""
        from analysis.contrasts import t_factor  # brings scipy

        if not self.degrees:
            return None, None
        middle = self.milliseconds(trial_id)
        ratio = math.exp(t_factor(self.degrees) * self.error(trial_id))
        return middle / ratio, middle * ratio


def _architectures(trial: Trial, device: str) -> tuple[Architecture, Architecture]:
    """What decides the latencies of the trial's model and of the dense base beside it."""
    spec, pruned = trial.record.spec, trial.record.pruning
    measured = (trial.report or trial.record).provenance.packages
    libraries = tuple(measured.get(name) for name in LIBRARIES)
    model, asked = spec.model.model_dump_json(), spec.efficiency.model_dump_json()
    place = (device, libraries, model, asked)
    dense = (*place, "none", None)
    if pruned is None or (pruned.ratio == 0 and spec.quantization == "none"):
        return dense, dense
    shape = (pruned.layers, pruned.kv_groups, pruned.neurons)
    return (*place, spec.quantization, shape), dense
