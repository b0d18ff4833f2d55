"""Whether models fit into a device's memory, said before they are loaded; torch-free arithmetic.

Only what is needed whatever happens is counted: weights that lie on the device together. So what is
refused cannot work, and what is let through may still run out of memory later.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from trainables.common.weights import stored_tensors, weight_files
from trainables.specs import DTYPE_BYTES, Dtype

GIB = 2**30
WAYS_OUT = (
    "use a GPU with more memory{dtype}. Every worker holds the whole dense model, as a student is "
    "cut from it, so more workers, ZeRO or `quantization` (of the finished student) do not lower "
    "this; `prunesweep evaluate MODEL --spread` scores a dense model over all GPUs of a machine"
)


def checkpoint_bytes(folder: Path, dtype: Dtype) -> int:
    """Bytes of a checkpoint's weights in a type, from the headers of its safetensors files."""
    tensors = (stored_tensors(path).values() for path in weight_files(folder))
    return DTYPE_BYTES[dtype] * sum(math.prod(shape) for file in tensors for shape, _ in file)


def refuse_small_device(
    needs: Mapping[str, int], device: str, total_bytes: int, dtype: Dtype
) -> None:
    """Refuse a device that cannot hold all of `needs` at once.

    Args:
        needs: bytes by what they are for.
        device: its name.
        total_bytes: all of its memory.
        dtype: type of the weights.

    Raises:
        ValueError: says what is needed, what there is, and the way out.
    """
    needed = sum(needs.values())
    if needed <= total_bytes:
        return
    parts = ", ".join(f"{what} {size / GIB:.1f} GiB" for what, size in needs.items())
    smaller = ", or model.dtype=bfloat16, which halves it" if dtype == "float32" else ""
    raise ValueError(
        f"{device} has {total_bytes / GIB:.1f} GiB of memory, but {needed / GIB:.1f} GiB are "
        f"needed for weights alone ({parts}); {WAYS_OUT.format(dtype=smaller)}"
    )
