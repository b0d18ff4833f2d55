"""The device of this process: its name, and what to do when its memory runs out."""

import contextlib
import ctypes
import gc
import platform
from pathlib import Path

import torch


def device_name(device: torch.device) -> str:
    """The device in words; for a CPU with its number of threads, which latency depends on."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(x.split(":", 1)[1].strip() for x in lines if x.startswith("model name"))
    return f"{name}, {torch.get_num_threads()} threads"


def processor_name(device: torch.device) -> str:
    """`device_name`, for a CPU with the instructions that torch and its like choose kernels by."""
    name = device_name(device)
    return name if device.type != "cpu" else f"{name}, {torch.backends.cpu.get_cpu_capability()}"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device, or this machine, has no memory left."""
    return isinstance(
        error, torch.OutOfMemoryError | MemoryError
    ) or "can't allocate memory" in str(error)


def reset_peaks() -> None:
    """Let `peaks` count from now on."""
    with contextlib.suppress(OSError):  # another system's kernel
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peaks() -> dict[str, float]:
    """The most memory that this process has held, in MiB, as `CostReport` names it."""
    found = dict[str, float]()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        line = next(line for line in lines if line.startswith("VmHWM:"))
        found["peak_host_memory_mib"] = int(line.split()[1]) / 1024
    if torch.cuda.is_available():
        _, total = torch.cuda.mem_get_info()
        found["peak_memory_mib"] = torch.cuda.max_memory_reserved() / 2**20
        found["device_memory_mib"] = total / 2**20
    return found


def hold_part(share: float) -> None:
    """Let this process have no more than this share of its GPU's memory; others have the rest."""
    if torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(min(share, 1.0))


def release_memory() -> None:
    """Give back what no object holds any more, to the device and to the system.

    The C library keeps what is freed, in a warm slot of `smol` 3.8 of 5.9 GiB; glibc can be asked.
    """
    gc.collect()
    with contextlib.suppress(AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
