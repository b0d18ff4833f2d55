"""Micro-batches: every sample once, equally many passes, within the limit and balanced."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.recovery.train.packing import PASS_SHARE, micro_batches


def padded(parts: list[int], tokens: dict[int, int]) -> int:
    """Tokens of a pass, padding included."""
    return len(parts) * max(tokens[i] for i in parts)


def never(index: int) -> int:
    pytest.fail(f"the length of {index} was asked for")


@pytest.mark.parametrize(("count", "world", "most"), [(12, 3, 2), (12, 1, 5), (4, 4, 8), (7, 1, 7)])
def test_a_fixed_size(count: int, world: int, most: int) -> None:
    indices = list(range(100, 100 + count))
    dealt = micro_batches(indices, never, world, most)
    assert sorted(i for own in dealt for part in own for i in part) == indices
    for rank, own in enumerate(dealt):
        assert sorted(i for part in own for i in part) == indices[rank::world]
        assert len(own) == -(-(count // world) // most)
        assert {len(part) for part in own} <= {len(own[0]), len(own[0]) - 1}


def test_a_batch_that_cannot_be_shared() -> None:
    with pytest.raises(ValueError, match=r"batch_size=12 .*5 workers.*multiple of 5"):
        micro_batches(list(range(12)), never, 5, 2)
    with pytest.raises(ValueError, match="cannot be shared"):
        micro_batches([], never, 1, 2)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.data())
def test_a_limit_of_tokens(data: st.DataObject) -> None:
    world = data.draw(st.integers(1, 5))
    share = data.draw(st.integers(1, 20))
    lengths = data.draw(
        st.lists(st.integers(1, 900), min_size=world * share, max_size=world * share)
    )
    limit = data.draw(st.integers(max(lengths), 4000))
    indices = list(range(50, 50 + len(lengths)))
    tokens = dict(zip(indices, lengths, strict=True))
    dealt = micro_batches(indices, tokens.__getitem__, world, 1, limit)
    assert sorted(i for own in dealt for part in own for i in part) == indices
    assert len({len(own) for own in dealt}) == 1
    loads = [padded(part, tokens) for own in dealt for part in own]
    assert max(loads) <= limit
    sums = [sum(padded(part, tokens) for part in own) for own in dealt]
    assert max(sums) - min(sums) <= max(loads)


def test_few_passes_and_little_padding() -> None:
    draw = random.Random(0)
    lengths = [576 * (draw.random() < 0.9) + draw.randint(30, 600) for _ in range(128)]
    dealt = micro_batches(range(128), lengths.__getitem__, 4, 1, 8192)
    tokens = dict(enumerate(lengths))
    loads = [padded(part, tokens) for own in dealt for part in own]
    least = -(-sum(lengths) // 8192)
    assert least <= len(loads) <= -(-(least + 4) // 4) * 4
    assert sum(loads) < 1.15 * sum(lengths)
    for passes in zip(*dealt, strict=True):  # the workers wait for each other in every pass
        costs = [padded(part, tokens) for part in passes]
        assert max(costs) < 1.25 * min(costs)
    sums = [sum(padded(part, tokens) for part in own) for own in dealt]
    assert max(sums) < 1.05 * min(sums)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=9), st.integers(60, 300))
def test_one_worker_pads_as_little_as_few_passes_allow(lengths: list[int], limit: int) -> None:
    """No other way of cutting the sorted lengths costs less: all of them are tried."""
    (own,) = micro_batches(range(len(lengths)), lengths.__getitem__, 1, 1, limit)
    tokens = dict(enumerate(lengths))
    cost = sum(padded(part, tokens) for part in own) + PASS_SHARE * limit * len(own)
    falling = sorted(lengths, reverse=True)
    inner = range(1, len(falling))
    for cuts in itertools.chain.from_iterable(
        itertools.combinations(inner, count) for count in range(len(falling))
    ):
        loads = [(b - a) * falling[a] for a, b in itertools.pairwise((0, *cuts, len(falling)))]
        if max(loads) <= limit:
            assert cost <= sum(loads) + PASS_SHARE * limit * len(loads) + 1e-6


def test_a_long_sample_is_not_padded_to() -> None:
    """Evenly filled passes would be (60, 10, 10) and (10, 10, 10); 3 x 60 is mostly padding."""
    lengths = [10, 60, 10, 10, 10, 10]
    ((first, second),) = micro_batches(range(6), lengths.__getitem__, 1, 1, 180)
    assert (first, sorted(second)) == ([1], [0, 2, 3, 4, 5])


def test_a_sample_shown_twice_is_there_twice() -> None:
    dealt = micro_batches([7, 7, 3, 7], lambda i: i, 2, 1, 14)
    assert sorted(i for own in dealt for part in own for i in part) == [3, 7, 7, 7]


def test_a_single_sample_over_the_limit() -> None:
    with pytest.raises(ValueError, match=r"sample 4 .* 900 tokens.*at least 900.*data.max_tokens"):
        micro_batches([3, 4], {3: 10, 4: 900}.__getitem__, 1, 1, 512)
