"""The tensors of an original checkpoint: names and shapes first, values one at a time.

Safetensors files are read through their header. An old `.bin` is unpickled with
`weights_only=True`, which refuses everything but tensors and plain containers, and memory-mapped,
so that its tensors cost memory only while they are read.
"""

import functools
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from trainables.common.names import first_line
from trainables.common.weights import SINGLE, listed_files, stored_tensors

BIN = "pytorch_model.bin"
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
}


@dataclass(frozen=True)
class TensorFact:
    """What is known of a tensor before it is read. `key` is its name in `file`."""

    file: Path
    key: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    def read(self) -> torch.Tensor:
        """The tensor, on the CPU, as it is stored."""
        if self.file.suffix == ".safetensors":
            with safe_open(self.file, framework="pt") as file:
                tensor: torch.Tensor = file.get_tensor(self.key)
            return tensor
        found: torch.Tensor = _open_bin(self.file)[self.key]
        return found


@dataclass(frozen=True)
class Source:
    """A checkpoint's tensors by their original names, in the order of the files."""

    folder: Path
    tensors: Mapping[str, TensorFact] = field(default_factory=dict)


def open_source(folder: Path) -> Source:
    """Names, shapes and types of all tensors of a checkpoint folder; no values are read.

    Raises:
        ValueError: if weight files are missing, damaged, or a `.bin` holds more than tensors.
    """
    tensors: dict[str, TensorFact] = {}
    files = listed_files(folder, SINGLE) or listed_files(folder, BIN)
    if files is None:
        raise ValueError(
            f"{folder} has no weights: neither {SINGLE} nor {BIN}, nor an index of either"
        )
    for path in files:
        facts = _safetensors_facts(path) if path.suffix == ".safetensors" else _bin_facts(path)
        twice = sorted(tensors.keys() & facts.keys())
        if twice:
            raise ValueError(
                f"{path} holds {', '.join(twice)} again, after another file of {folder}"
            )
        tensors |= facts
    return Source(folder, tensors)


def _safetensors_facts(path: Path) -> dict[str, TensorFact]:
    return {
        name: TensorFact(path, name, shape, _DTYPES.get(kind, torch.uint8))
        for name, (shape, kind) in stored_tensors(path).items()
    }


def _bin_facts(path: Path) -> dict[str, TensorFact]:
    state = _open_bin(path)
    strange = sorted(name for name, value in state.items() if not isinstance(value, torch.Tensor))
    if strange:
        raise ValueError(f"{path} holds {', '.join(strange)}, which are no tensors")
    return {
        name: TensorFact(path, name, tuple(value.shape), value.dtype)
        for name, value in state.items()
    }


@functools.lru_cache(maxsize=2)  # a fused output may need tensors of two files
def _open_bin(path: Path) -> dict[str, Any]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} holds more than tensors, and pickled code is never run ({first_line(error)}); "
            "get the weights as safetensors"
        ) from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise ValueError(
            f"{path} cannot be memory-mapped as a file of `torch.save` ({first_line(error)}); it "
            "is damaged or older than torch 1.6: save it again"
        ) from None
    if not isinstance(state, dict):
        raise ValueError(f"{path} holds a {type(state).__name__}, but must hold a dict of tensors")
    return state


def forget_files() -> None:
    """Close the mapped `.bin` files."""
    _open_bin.cache_clear()
