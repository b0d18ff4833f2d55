"""Energy that a device has used, where it counts it.

NVIDIA GPUs since Volta count millijoules (NVML). Intel and AMD processors count microjoules per
package (RAPL), which Linux shows to administrators only unless told otherwise. Everything that runs
on the device is in the count, so it is read when nothing else runs.
"""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import torch

Joules = Callable[[], float]

POWERCAP = Path("/sys/class/powercap")
# The counters move in steps of some tens of milliseconds, so a window has to be much longer.
WINDOW_SECONDS = 2.0
MOST_RUNS = 1000


def joules_per_run(run: Callable[[], object], device: torch.device) -> float | None:
    """Joules of one `run`, the mean over a window of some seconds; None without a counter.

    Args:
        run: does its work on `device` and waits for it.
        device: whose energy counts.
    """
    counter = energy_counter(device)
    if counter is None:
        return None
    before, start, runs = counter(), time.perf_counter(), 0
    while time.perf_counter() - start < WINDOW_SECONDS and runs < MOST_RUNS:
        run()
        runs += 1
    used = counter() - before
    return used / runs if used > 0 else None  # a processor's counter starts over now and then


def energy_counter(device: torch.device) -> Joules | None:
    """A function that returns the joules used so far; None where the device reports none."""
    return _nvidia(device) if device.type == "cuda" else _packages(POWERCAP)


def _nvidia(device: torch.device) -> Joules | None:
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        # By its id, because NVML does not know of CUDA_VISIBLE_DEVICES.
        uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except pynvml.NVMLError:
        return None
    return lambda: float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3


def _packages(folder: Path) -> Joules | None:
    """Of all processor packages, which stand in `folder` as `intel-rapl:<number>`."""
    zones = [zone for zone in folder.glob("intel-rapl:*") if zone.name.count(":") == 1]
    files = [zone / "energy_uj" for zone in zones]

    def read() -> float:
        return sum(int(path.read_text(encoding="ascii")) for path in files) / 1e6

    with contextlib.suppress(OSError, ValueError):
        return read if files and read() >= 0 else None
    return None
