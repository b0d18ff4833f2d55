"""In which runs of the data's permutation a cache is filled. Torch-free: `plan` counts by them.

A run is an eighth of what precedes it, but at least 8 samples and at most 256: whichever trial
comes first and however much of the data it trains on, a sample shares its batches with the same
others, and few are answered that nobody asked for (none of 64, 2 beyond 100, 121 beyond 1,200).
"""

from itertools import pairwise

LEAST, MOST, SHARE = 8, 256, 8


def blocks_of(count: int, samples: int) -> list[tuple[int, int]]:
    """[start, end) of the runs that the first `count` of so many samples lie in."""
    edges = [0]
    while edges[-1] < min(count, samples):
        step = min(MOST, max(LEAST, edges[-1] // SHARE))
        edges.append(min(edges[-1] + step, samples))
    return list(pairwise(edges))
