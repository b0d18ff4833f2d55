"""The process group of a warm slot."""

import sys

from trainables.common.process_group import (
    destroy_process_group,
    fresh_single_process_group,
    rank_and_world,
)


def test_a_group_for_every_trial_leaves_errors_as_they_are_printed() -> None:
    before = sys.excepthook
    for _ in range(3):
        fresh_single_process_group()
        assert rank_and_world() == (0, 1)
    destroy_process_group()
    assert sys.excepthook is before
