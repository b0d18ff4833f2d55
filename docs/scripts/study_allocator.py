"""What torch's CUDA caching allocator hands out for tensors that are made one after another.

The rules of `c10/cuda/CUDACachingAllocator.cpp` with its default settings: requests are rounded up
to 512 bytes. Those of at most 1 MiB are cut from segments of 2 MiB, those below 10 MiB from
segments of 20 MiB, larger ones get segments of the next multiple of 2 MiB. The smallest free block
that fits is taken, and what is left of it becomes a free block of its own, but among large blocks
only if it exceeds 1 MiB: otherwise it counts as allocated too. Torch-free.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence

from trainables.models.families.shape import LanguageShape
from trainables.specs import MIB

UNIT = 512
SMALL = MIB
SMALL_SEGMENT, LARGE_SEGMENT = 2 * MIB, 20 * MIB
OWN_SEGMENT = 10 * MIB


def allocated_bytes(requests: Iterable[int]) -> int:
    """`torch.cuda.memory_allocated` after these requests (bytes), nothing being freed."""
    free: dict[bool, list[int]] = {True: [], False: []}
    total = 0
    for request in requests:
        size = max(_up(request, UNIT), UNIT)
        small = size <= SMALL
        blocks = free[small]  # rising
        fitting = bisect_left(blocks, size)
        block = blocks.pop(fitting) if fitting < len(blocks) else _segment(size)
        rest = block - size
        if rest >= UNIT if small else rest > SMALL:
            insort(blocks, rest)
            block = size
        total += block
    return total


def language_tensors(shape: LanguageShape, kept: Sequence[tuple[int, int]]) -> Iterator[int]:
    """Elements of the parameters of the decoder: embeddings, layers, final norm; without the head.

    Args:
        shape: sizes of the dense language model.
        kept: (KV groups, neurons) of every layer.
    """
    hidden = shape.hidden_size
    norm = [hidden] * (2 if shape.norm_bias else 1)
    yield shape.vocab_size * hidden
    for groups, neurons in kept:
        query, key = groups * shape.heads_per_group * shape.head_dim, groups * shape.head_dim
        sizes = {"q": (query, hidden), "k": (key, hidden), "v": (key, hidden), "o": (hidden, query)}
        sizes |= {"gate": (neurons, hidden), "up": (neurons, hidden), "down": (hidden, neurons)}
        for part in shape.parts:
            rows, columns = sizes[part]
            yield rows * columns
            if part in shape.biased:
                yield rows
        yield from norm * shape.norms_per_layer
        if shape.qk_norm:
            yield from (shape.head_dim, shape.head_dim)
    yield from norm


def _segment(size: int) -> int:
    if size <= SMALL:
        return SMALL_SEGMENT
    return LARGE_SEGMENT if size < OWN_SEGMENT else _up(size, SMALL_SEGMENT)


def _up(size: int, step: int) -> int:
    return -(-size // step) * step
