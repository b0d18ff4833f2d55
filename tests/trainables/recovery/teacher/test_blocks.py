"""Runs of the data's order in which a cache is filled: nested, and not much longer than asked."""

from __future__ import annotations

import pytest

from trainables.recovery.teacher.blocks import blocks_of


@pytest.mark.parametrize(("count", "end"), [(1, 8), (64, 64), (65, 72), (100, 102), (1050, 1175)])
def test_few_more_samples_are_run_through_than_are_asked_for(count: int, end: int) -> None:
    assert blocks_of(count, 21_000)[-1][1] == end


@pytest.mark.parametrize("count", [1, 9, 100, 777, 3000])
def test_fewer_samples_lie_in_the_first_blocks_of_more(count: int) -> None:
    whole = blocks_of(5000, 5000)
    assert whole[-1][1] == 5000
    assert [start for start, _ in whole[1:]] == [end for _, end in whole[:-1]]
    assert max(end - start for start, end in whole) == 256
    fewer = blocks_of(count, 5000)
    assert fewer == whole[: len(fewer)]
    assert fewer[-1][0] < count <= fewer[-1][1]
    assert count <= fewer[-1][1] <= max(8, 1.125 * count + 8)


def test_no_block_reaches_beyond_the_data() -> None:
    assert blocks_of(3, 3) == [(0, 3)]
    assert blocks_of(5, 3) == [(0, 3)]
    assert blocks_of(100, 100)[-1] == (91, 100)
