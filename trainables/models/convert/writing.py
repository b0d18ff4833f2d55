"""Safetensors shards with an index, written tensor by tensor.

`safetensors.torch.save_file` wants a whole shard in memory. Here the header is computed from the
planned shapes and the values follow one by one, so the largest tensor bounds the memory.
Format: https://huggingface.co/docs/safetensors (8 bytes of header length, JSON header, data).
"""

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import torch

from trainables.common.files import write_json
from trainables.common.weights import INDEX, SINGLE

CODES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
Named = tuple[str, torch.Tensor]


def write_shards(
    folder: Path,
    groups: Sequence[Mapping[str, tuple[int, ...]]],
    produce: Callable[[int], Iterable[Named]],
    dtype: torch.dtype,
    max_bytes: int,
    progress: Callable[[int, int, Path], None],
) -> list[Path]:
    """Write all groups in shards, and the index if there is more than one; return the files.

    Args:
        folder: an existing folder.
        groups: shapes by name; the tensors of a group come into being together and stay together.
        produce: the tensors of one group, in its order.
        dtype: of the written values.
        max_bytes: of a shard; only a single larger group exceeds it.
        progress: called with (shard from 1, shards, file) after each.

    Raises:
        ValueError: if a value is not finite in `dtype`.
    """
    sizes = [dtype.itemsize * sum(map(math.prod, group.values())) for group in groups]
    shards: list[list[int]] = [[]]
    for index, size in enumerate(sizes):
        if shards[-1] and sum(sizes[i] for i in shards[-1]) + size > max_bytes:
            shards.append([])
        shards[-1].append(index)
    files: list[Path] = []
    places: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        path = folder / (name if len(shards) > 1 else SINGLE)
        shapes = {key: shape for index in shard for key, shape in groups[index].items()}
        write_file(path, shapes, (pair for index in shard for pair in produce(index)), dtype)
        places |= dict.fromkeys(shapes, path.name)
        files.append(path)
        progress(number, len(shards), path)
    if len(files) > 1:
        total = {"total_size": sum(sizes)}
        write_json(folder / INDEX, {"metadata": total, "weight_map": dict(sorted(places.items()))})
    return files


def write_file(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    tensors: Iterable[Named],
    dtype: torch.dtype,
) -> None:
    """Write one safetensors file; `tensors` come in the order of `shapes`, any floating type.

    Raises:
        ValueError: if a value is not finite in `dtype`.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, shape in shapes.items():
        end = offset + dtype.itemsize * math.prod(shape)
        header[name] = {"dtype": CODES[dtype], "shape": shape, "data_offsets": [offset, end]}
        offset = end
    blob = json.dumps(header, separators=(",", ":")).encode()
    blob += b" " * (-len(blob) % 8)  # the data start aligned
    with path.open("wb") as file:
        file.write(len(blob).to_bytes(8, "little") + blob)
        for (name, shape), (given, tensor) in zip(shapes.items(), tensors, strict=True):
            assert given == name, (given, name)
            assert tuple(tensor.shape) == shape, (name, tensor.shape, shape)
            # In flat pieces, so that a change of type never copies all of it.
            for part in tensor.contiguous().flatten().split(2**20):
                values = part.to(dtype)
                if not torch.isfinite(values).all():
                    cause = "does not fit" if torch.isfinite(part).all() else "is not finite"
                    raise ValueError(
                        f"a value of {name} {cause} in {str(dtype).removeprefix('torch.')}; "
                        "nothing was written"
                    )
                file.write(values.view(torch.uint8).numpy().data)
        file.flush()
        os.fsync(file.fileno())
