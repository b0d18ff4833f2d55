"""How long an answer need be: generation ends where no longer one can score."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest

from trainables.evaluation import targets
from trainables.evaluation.catalog import TASKS

WORDS = ("yes", "no", "Yes.", "there", "is", "a", "No,", "yesyes")


@pytest.fixture
def longest(monkeypatch: pytest.MonkeyPatch) -> int:
    """Most tokens of an answer to POPE, where a word is a token."""
    given = (("yes",), ("no",))
    monkeypatch.setattr(targets, "targets", lambda folder, name: given)
    found = targets.most_tokens(None, TASKS["pope"], lambda text: len(text.split()))  # type: ignore[arg-type]
    assert found is not None
    return found


def test_an_answer_to_pope_scores_the_same_cut_or_whole(longest: int) -> None:
    from lmms_eval.tasks.pope.utils import pope_process_results

    assert longest == 6
    rng, right = random.Random(0), 0
    for _ in range(2000):
        said = rng.choices(WORDS, k=rng.choice((1, 1, 2, longest, longest + 1, 40)))
        doc = {"question_id": 1, "answer": rng.choice(("yes", "no"))}
        whole, cut = (
            pope_process_results(doc, [" ".join(text)])["pope_accuracy"]["score"]
            for text in (said, said[:longest])
        )
        assert whole == cut, said
        right += int(whole)
    assert right > 50


def test_the_limit_is_the_shorter_one_unless_somebody_sets_it(longest: int) -> None:
    from trainables.evaluation.answering.wrapper import InMemoryModel

    def most(task: int | None, needed: int | None, forced: int | None = None) -> int:
        asked: list[Any] = []
        model = InMemoryModel(
            lambda questions: asked.extend(questions) or [], forced, needed_tokens=needed
        )
        settings = {} if task is None else {"max_new_tokens": task}
        request = SimpleNamespace(args=("what?", settings, None, 0, "pope", "test"))
        with pytest.raises(ValueError, match="zip"):  # nobody answers
            model.generate_until([request])
        return int(asked[0].max_new_tokens)

    assert most(128, longest) == longest
    assert most(4, longest) == 4
    assert most(128, None) == 128
    assert most(128, longest, forced=32) == 32
    assert most(None, None) == 16


def test_where_it_is_not_known_the_task_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert targets.most_tokens(None, TASKS["gqa"], len) is None  # type: ignore[arg-type]
    assert [name for name, info in TASKS.items() if info.answer_lengths] == ["pope"]
