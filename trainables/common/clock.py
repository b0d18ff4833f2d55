"""What a trial cost: seconds by stage."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from trainables.common.device import device_name, peaks, reset_peaks
from trainables.common.provenance import now
from trainables.records import CostReport


class Clock:
    """Seconds by stage: `with clock("recover"): ...`.

    Stages may be entered again and may nest; a second counts for the innermost stage only, which
    `tell` is told whenever it is another one.
    """

    def __init__(self, tell: Callable[[str], None] = lambda stage: None) -> None:
        self._tell = tell
        self.started = now()
        self._start = self._since = time.monotonic()
        self._seconds: dict[str, float] = {}
        self._open: list[str] = []  # the innermost last
        reset_peaks()

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Count the time of the block for `stage`."""
        self._settle()
        self._open.append(stage)
        self._tell(stage)
        try:
            yield
        finally:
            self._settle()
            self._open.pop()
        if self._open:
            self._tell(self._open[-1])

    def _settle(self) -> None:
        """Count what has passed since the last call for the stage that was innermost."""
        moment = time.monotonic()
        if self._open:
            stage = self._open[-1]
            self._seconds[stage] = self._seconds.get(stage, 0.0) + moment - self._since
        self._since = moment

    def cost(self, device: torch.device, devices: int) -> CostReport:
        """The cost so far, open stages included; device seconds are seconds times the devices held.

        A rung is judged, and a trial stopped there, within the stage of its recovery.
        """
        self._settle()
        return CostReport(
            device=device_name(device),
            devices=devices,
            device_seconds={k: round(v * devices, 3) for k, v in self._seconds.items()},
            wall_seconds=round(time.monotonic() - self._start, 3),
            **peaks(),
        )
