"""How fast a recovery ran, and what of the device's peak it used."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Dense bf16 tensor-core peaks in TFLOP/s by what the device's name contains, from the vendors' data
# sheets (SXM parts; sparsity not counted). First match counts, so longer names stand first.
PEAK_TFLOPS = {
    "H200": 989.0,
    "H100 PCIe": 756.0,
    "H100": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "L40": 181.0,
    "A40": 150.0,
    "A10": 125.0,
    "RTX 4090": 165.0,
    "RTX 3090": 71.0,
    "B200": 2250.0,
}


def peak_tflops(device: torch.device) -> float | None:
    """The device's bf16 peak in TFLOP/s, or None where it is not known (a CPU, for one)."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in PEAK_TFLOPS.items() if part in name), None)


def model_flops_utilisation(
    flops: float, seconds: float, device: torch.device, devices: int
) -> float | None:
    """MFU: model FLOPs per second over the devices' peak (Chowdhery et al., arXiv 2204.02311).

    `flops` is what so many devices like this one together computed, recomputation not counted.
    """
    peak = peak_tflops(device)
    return None if peak is None or not seconds else flops / seconds / (peak * 1e12 * devices)


class Stopwatch:
    """Seconds that one kind of work took; on a GPU by events, so that timing stalls nothing."""

    def __init__(self, device: torch.device) -> None:
        """A stopwatch at zero."""
        self._cuda = device.type == "cuda"
        self._seconds = 0.0
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count what happens inside."""
        if self._cuda:
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            first.record()
            yield
            last.record()
            self._events.append((first, last))
            return
        start = time.perf_counter()
        yield
        self._seconds += time.perf_counter() - start

    def seconds(self) -> float:
        """Seconds so far; waits for the device."""
        if self._events:
            torch.cuda.synchronize()
            self._seconds += sum(first.elapsed_time(last) for first, last in self._events) / 1e3
            self._events.clear()
        return self._seconds
