"""The order of the samples: the same again, every sample once, and random enough."""

from __future__ import annotations

from itertools import combinations, islice

import numpy as np
import pytest

from trainables.recovery.train.schedule import take_batches

SIZE, SAMPLES, GROUPS = 16, 4096, 16
EPOCH = SAMPLES // SIZE


def llava_like(count: int, seed: int = 0) -> np.ndarray:
    """Tokens: 576 for the image of nine samples in ten, and a long tail of text."""
    draw = np.random.default_rng(seed)
    image = 576 * (draw.random(count) < 0.9)
    text = np.exp(draw.normal(4.8, 0.9, count)).astype(int) + 20
    return np.minimum(image + text, 2048)


LENGTHS = llava_like(SAMPLES)


def epochs(count: int, groups: int, seed: int = 0) -> list[list[list[int]]]:
    """The batches of the first epochs."""
    subset = np.arange(SAMPLES)
    stream = take_batches(subset, seed, SIZE, lambda i: int(LENGTHS[i]), groups)
    return [list(islice(stream, EPOCH)) for _ in range(count)]


def plain(subset: np.ndarray, seed: int, size: int, count: int) -> list[list[int]]:
    """The order without blocks, written out: permutations by (seed, epoch), cut into batches."""
    orders = [
        subset[np.random.default_rng((seed, epoch)).permutation(len(subset))] for epoch in range(9)
    ]
    return np.concatenate(orders)[: size * count].reshape(count, size).tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize(("samples", "size"), [(4, 4), (10, 4), (3, 8), (20, 5)])
def test_without_blocks_permutations_follow_each_other(samples: int, size: int) -> None:
    subset = np.arange(100, 100 + samples)
    count = samples * 9 // size
    assert list(islice(take_batches(subset, 3, size), count)) == plain(subset, 3, size, count)
    assert plain(subset, 3, size, 1) != plain(subset, 4, size, 1) or samples < size


def test_blocks_show_every_sample_once_per_epoch() -> None:
    for epoch in epochs(2, GROUPS):
        assert sorted(i for batch in epoch for i in batch) == list(range(SAMPLES))


def test_samples_that_fill_no_batch_are_carried_over() -> None:
    stream = take_batches(np.arange(22), 0, 4, lambda i: i, 3)
    shown = np.bincount([i for batch in islice(stream, 11) for i in batch], minlength=22)
    assert shown.tolist() == [2] * 22  # 11 batches of 4 are two epochs of 22


@pytest.mark.parametrize("groups", [1, 3, GROUPS])
def test_a_resume_goes_on_in_mid_epoch_without_asking_for_old_lengths(groups: int) -> None:
    subset, asked = np.arange(203), []

    def length(index: int) -> int:
        asked.append(index)
        return int(LENGTHS[index])

    whole = list(islice(take_batches(subset, 5, 8, length, groups), 60))
    for start in (1, 23, 41):
        asked.clear()
        rest = list(islice(take_batches(subset, 5, 8, length, groups, start), 60 - start))
        assert rest == whole[start:]
        assert len(asked) <= 8 * (60 - start + 2 * groups) * (groups > 1)


def test_lengths_of_successive_batches_are_uncorrelated() -> None:
    batches = [batch for epoch in epochs(8, GROUPS) for batch in epoch]
    longest = np.array([LENGTHS[batch].max() for batch in batches], dtype=float)
    assert len(longest) == 2048
    for lag in (1, 2, 3):
        r = np.corrcoef(longest[:-lag], longest[lag:])[0, 1]
        # A block's shuffle alone gives -1/(GROUPS - 1); the rest is noise of 1/sqrt(2048) = 0.022.
        assert abs(r) < 1 / (GROUPS - 1) + 3 * 0.022


def test_samples_meet_others_in_every_epoch() -> None:
    def pairs(epoch: list[list[int]]) -> set[tuple[int, int]]:
        return {pair for batch in epoch for pair in combinations(sorted(batch), 2)}

    first, second = (pairs(epoch) for epoch in epochs(2, GROUPS))
    # In a random order a pair meets again with probability 15/4095 = 0.4 %; sorted blocks bring
    # samples of one length together more often, up to GROUPS times.
    assert len(first & second) / len(first) < GROUPS * 15 / 4095
    fixed = pairs([batch.tolist() for batch in np.argsort(LENGTHS).reshape(-1, SIZE)])
    assert len(first & fixed) / len(first) < GROUPS * 15 / 4095


def test_blocks_save_most_of_the_padding() -> None:
    def padding(batches: list[list[int]]) -> float:
        """Share of the padded batches that is padding."""
        padded = sum(len(batch) * LENGTHS[batch].max() for batch in batches)
        return float(1 - sum(LENGTHS[batch].sum() for batch in batches) / padded)

    random, grouped = (padding(epochs(1, groups)[0]) for groups in (1, GROUPS))
    assert random > 0.35
    assert grouped < random / 5


def test_an_empty_subset() -> None:
    with pytest.raises(ValueError, match="no sample to train on"):
        next(take_batches(np.arange(0), 0, 4))
