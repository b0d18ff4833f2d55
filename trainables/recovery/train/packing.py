"""Micro-batches: which samples of a global batch share a forward pass, and on which worker."""

from bisect import bisect_left
from collections.abc import Sequence

from trainables.models.collation import within_budget
from trainables.recovery.train.schedule import Lengths

# What a further pass may cost, as a share of a full one: so much padding must it save at least. On
# the LLaVA-like mix of tests/benchmarks/recovery.py, 32 samples in passes of 8 (16) times the mean
# length, padding falls from 6.9 to 3.5 % (14.1 to 6.4 %) of the tokens for one pass in six (four).
PASS_SHARE = 1 / 16


def micro_batches(
    indices: Sequence[int],
    lengths: Lengths,
    world: int,
    micro_batch_size: int,
    max_tokens: int | None = None,
) -> list[list[list[int]]]:
    """The samples of every pass of every worker; equally many passes on all, none of them empty.

    Args:
        indices: the global batch.
        lengths: tokens of a sample; asked only with `max_tokens`.
        world: number of workers; must divide the batch.
        micro_batch_size: most samples per pass; does not hold with `max_tokens`.
        max_tokens: most tokens per pass, padding included (samples times the longest of them).

    Returns:
        [worker][pass][sample]. With `max_tokens`, samples of similar length share a pass. One
        worker pads as little as few passes allow; of several, the n-th passes cost about the same,
        and so do the workers' sums.

    Raises:
        ValueError: the batch cannot be shared out evenly, or a single sample has more than
            `max_tokens`.
    """
    if len(indices) % world or not indices:
        raise ValueError(
            f"batch_size={len(indices)} cannot be shared by {world} workers; make it a "
            f"multiple of {world}"
        )
    if max_tokens is None:
        return [_strided(indices[rank::world], micro_batch_size) for rank in range(world)]
    tokens = [lengths(index) for index in indices]
    longest = max(tokens)
    if longest > max_tokens:
        raise ValueError(
            f"sample {indices[tokens.index(longest)]} of the data has {longest} tokens, but "
            f"recovery.max_tokens_per_step={max_tokens}; raise it to at least {longest}, or lower "
            f"data.max_tokens to {max_tokens}"
        )
    # Positions in the batch, as a batch of several epochs may show a sample twice.
    order = sorted(range(len(tokens)), key=lambda at: -tokens[at])
    if world == 1:
        packs = _least_padded(order, tokens, max_tokens)
    else:
        packs = _even(order, tokens, world, max_tokens)
    return [[[indices[at] for at in pack] for pack in own] for own in _deal(packs, tokens, world)]


def _strided(own: Sequence[int], most: int) -> list[list[int]]:
    parts = -(-len(own) // most)
    return [list(own[part::parts]) for part in range(parts)]


def _least_padded(order: list[int], tokens: list[int], limit: int) -> list[list[int]]:
    """Packs of neighbours with the least sum of loads, plus `PASS_SHARE` of the limit for each.

    Exact, by dynamic programming: cost[j] is the least for the first j of the order, the last pack
    of which begins at start[j].
    """
    cost, start = [0.0], [0]
    for end in range(1, len(order) + 1):
        best, first = float("inf"), end - 1
        for at in range(end - 1, -1, -1):
            load = (end - at) * tokens[order[at]]
            if load > limit:
                break
            if cost[at] + load < best:
                best, first = cost[at] + load, at
        cost.append(best + PASS_SHARE * limit)
        start.append(first)
    packs, end = [], len(order)
    while end:
        packs.append(order[start[end] : end])
        end = start[end]
    return packs[::-1]


def _even(order: list[int], tokens: list[int], world: int, limit: int) -> list[list[int]]:
    """As few packs as the limit allows, rounded up to a multiple of `world`, and evenly filled.

    `order` are positions by falling length, `tokens` the length by position.
    """
    count = -(-len(within_budget(order, tokens, limit)) // world) * world
    least = bisect_left(  # the smallest limit that still gives as few packs
        range(limit),
        True,
        lo=tokens[order[0]],
        key=lambda most: len(within_budget(order, tokens, most)) <= count,
    )
    packs = within_budget(order, tokens, least)
    while len(packs) < count:
        largest = max((p for p in packs if len(p) > 1), key=lambda p: _load(p, tokens))
        packs.remove(largest)
        packs += [largest[: len(largest) // 2], largest[len(largest) // 2 :]]
    return packs


def _deal(packs: list[list[int]], tokens: list[int], world: int) -> list[list[list[int]]]:
    """Packs of similar load in every round; in each, the largest to the worker with the least."""
    packs = sorted(packs, key=lambda pack: -_load(pack, tokens))
    dealt: list[list[list[int]]] = [[] for _ in range(world)]
    loads = [0] * world
    for at in range(0, len(packs), world):
        ranks = sorted(range(world), key=lambda rank: loads[rank])
        for rank, pack in zip(ranks, packs[at : at + world], strict=True):
            dealt[rank].append(pack)
            loads[rank] += _load(pack, tokens)
    return dealt


def _load(pack: list[int], tokens: list[int]) -> int:
    return len(pack) * tokens[pack[0]]  # the first is the longest
