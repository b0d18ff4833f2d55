"""The count that needs torch is asked for once per question, not once per command."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from sweeps.engine.spec import unpruned_parts
from sweeps.engine.spec.unpruned_parts import kept_answers, unpruned_of
from trainables.specs import ModelSpec, TrialSpec

TINY = TrialSpec(model=ModelSpec(path="tiny"))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """The processes that are started, with an empty cache folder."""
    started: list[Any] = []
    run = subprocess.run

    def counted(*args: Any, **settings: Any) -> Any:
        started.append(args)
        return run(*args, **settings)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(unpruned_parts.subprocess, "run", counted)
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
