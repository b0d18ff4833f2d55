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


def release_memory() -> None:
    """Give back what no object holds any more, to the device and to the system.

    The C library keeps what is freed, in a warm slot of `smol` 3.8 of 5.9 GiB; glibc can be asked.
    """
    gc.collect()
    with contextlib.suppress(AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
