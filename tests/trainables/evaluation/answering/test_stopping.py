"""Stop strings, the length limit and NaN logits, against text that is cut afterwards."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from trainables.evaluation.answering.stopping import (
    SPARE_TOKENS,
    NaNLogitsError,
    StopStrings,
    cut,
    cut_off,
    refuse_nan,
)

LETTERS = ["", " ", "\n", "a", "b", "#", "ab", "\n\n", "é", "# "]


class Letters:
    """A tokenizer whose token i is LETTERS[i]; 0 is special."""

    def batch_decode(self, rows: Any, skip_special_tokens: bool) -> list[str]:
        assert skip_special_tokens
        return ["".join(LETTERS[int(i)] for i in row) for row in rows]


@pytest.mark.parametrize("prompt", [0, 3])
@pytest.mark.parametrize("until", [("#",), ("\n\n",), ("b#", "\n"), ("# ", "éa"), ("",), ()])
def test_an_answer_ends_at_the_first_step_at_which_it_would_be_cut(
    until: tuple[str, ...], prompt: int
) -> None:
    """Whatever is generated beyond that step changes nothing; before it nothing is cut."""
    draw = random.Random(0)
    rows = [[draw.randrange(len(LETTERS)) for _ in range(60)] for _ in range(40)]
    rows += [[1, 2, 7] * 6 + row for row in rows[:9]]  # blanks first, more than are looked back at
    rows = [row[:60] for row in rows]
    stop = StopStrings(Letters(), [until] * len(rows), prompt)
    assert stop.needed == any(until)
    ended_at: dict[int, int] = {}
    for length in range(1, 61):
        ids = torch.tensor([[5] * prompt + row[:length] for row in rows])
        for i in stop(ids, None).nonzero().flatten().tolist():
            ended_at.setdefault(i, length)
    for i, row in enumerate(rows):
        whole = "".join(LETTERS[t] for t in row)
        step = ended_at.get(i)
        if step is None:
            assert cut(whole, until) == whole.strip()
            continue
        assert cut("".join(LETTERS[t] for t in row[:step]), until) == cut(whole, until)
        before = "".join(LETTERS[t] for t in row[: step - 1]).lstrip()
        assert not any(s in before for s in until if s)
    if any(until):
        assert len(ended_at) > 10
    assert SPARE_TOKENS > 0


def test_rows_have_their_own_stop_strings() -> None:
    stop = StopStrings(Letters(), [("a",), ("b",), ()], 0)
    assert stop(torch.tensor([[3], [3], [3]]), None).tolist() == [True, False, False]
    assert stop(torch.tensor([[3, 4], [3, 4], [3, 4]]), None).tolist() == [True, True, False]


def test_blanks_before_an_answer_end_nothing() -> None:
    assert cut("\n\n yes\nno", ("\n",)) == "yes"
    assert cut(" yes ###\n more", ("###\n",)) == "yes"
    assert cut("yes ", ()) == "yes"


def test_an_answer_is_cut_off_without_end_token_or_stop_string_at_the_limit() -> None:
    tokens = torch.tensor([[7, 8, 9], [7, 2, 0], [7, 8, 2], [7, 8, 0]])
    reached = torch.tensor([False, False, False, True])
    assert cut_off(tokens, [2, 5], 3, reached) == [True, False, False, False]
    assert cut_off(tokens, [2, 5], 4, reached) == [False] * 4


def test_nan_logits_are_refused_and_others_handed_on() -> None:
    logits = torch.tensor([[0.0, float("inf")]])
    assert refuse_nan(torch.zeros(1, 1), logits) is logits
    logits[0, 0] = float("nan")
    with pytest.raises(NaNLogitsError, match="logits are NaN"):
        refuse_nan(torch.zeros(1, 1), logits)
