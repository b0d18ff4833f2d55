"""The count that needs torch is asked for once per question, not once per command."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sweeps.engine.spec import unpruned_parts
from sweeps.engine.spec.unpruned_parts import kept_answers, unpruned_of
from trainables.specs import ModelSpec, TrialSpec

TINY = TrialSpec(model=ModelSpec(path="tiny"))


@pytest.fixture(scope="module")
def answers() -> dict[str, Any]:
    """What the process that counts said to each question, for all tests: it takes seconds."""
    return {}


@pytest.fixture
def asked(
    answers: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[list[str]]:
    """The questions that processes are started for, with an empty cache folder."""
    started: list[str] = []
    run = subprocess.run

    def counted(*args: Any, **settings: Any) -> Any:
        question = settings["input"]
        started.append(question)
        if question not in answers:
            answers[question] = run(*args, **settings)
        return answers[question]

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(subprocess, "run", counted)
    unpruned_parts._ask.cache_clear()
    yield started
    unpruned_parts._ask.cache_clear()


def test_a_second_command_reads_the_answer_of_the_first(asked):
    first = unpruned_of(TINY)
    unpruned_parts._ask.cache_clear()  # as in another process
    assert unpruned_of(TINY) == first
    assert len(asked) == 1
    assert first.params > 0


def test_a_broken_answer_is_asked_for_again(asked):
    first = unpruned_of(TINY)
    (path,) = kept_answers().iterdir()
    path.write_text('[{"unpruned": ')
    unpruned_parts._ask.cache_clear()
    assert unpruned_of(TINY) == first
    assert len(asked) == 2


def test_other_code_does_not_take_over_the_answer(asked, monkeypatch):
    unpruned_of(TINY)
    unpruned_parts._ask.cache_clear()
    monkeypatch.setattr(unpruned_parts, "_counted_by", lambda: "another version")
    unpruned_of(TINY)
    assert len(asked) == 2
