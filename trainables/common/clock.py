"""What a trial cost: seconds by stage."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from trainables.common.device import device_name
from trainables.common.provenance import now
from trainables.records import CostReport


class Clock:
    """Seconds by stage: `with clock("recover"): ...`.

    Stages may be entered again and may nest; a second counts for the innermost stage only.
    """

    def __init__(self) -> None:
        self.started = now()
        self._start = time.monotonic()
        self._seconds: dict[str, float] = {}
        self._inner: list[float] = []  # seconds spent in stages nested in each open one
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Count the time of the block for `stage`."""
        start = time.monotonic()
        self._inner.append(0.0)
        try:
            yield
        finally:
            whole = time.monotonic() - start
            own = whole - self._inner.pop()
            self._seconds[stage] = self._seconds.get(stage, 0.0) + own
            if self._inner:
                self._inner[-1] += whole

    def cost(self, device: torch.device, devices: int) -> CostReport:
        """The cost so far; device seconds are seconds times the devices held."""
        peak = None
        if torch.cuda.is_available():
            peak = torch.cuda.max_memory_allocated() / 2**20
        return CostReport(
            device=device_name(device),
            devices=devices,
            device_seconds={k: round(v * devices, 3) for k, v in self._seconds.items()},
            wall_seconds=round(time.monotonic() - self._start, 3),
            peak_memory_mib=peak,
        )
