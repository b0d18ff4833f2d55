"""MathVista's answers are extracted by rules: no judge is made, let alone asked."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("Levenshtein")

TASK = "mathvista_testmini_format"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("somebody was called")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")  # with a key lmms-eval would ask


@pytest.mark.parametrize(
    ("reply", "extracted", "right"),
    [
        ("B", "B", True),
        ("8/11", "8/11", True),
        ("(B) 8/11", "(B) 8/11", True),
        ('The answer is "8/11".', "8/11", True),
        ("The correct answer is (B).", "The correct answer is (B).", True),
        ("8/12", "8/12", True),  # nearest by edit distance, as lmms-eval rules
        ("A", "A", False),
    ],
)
def test_what_no_rule_extracts_is_taken_as_it_stands(
    reply: str, extracted: str, right: bool, run: Callable[..., Any]
) -> None:
    done = run(TASK, lambda question: reply, rows=[0])
    (sample,) = done.samples
    assert sample["llm_as_judge_eval"]["extraction"] == extracted
    assert done.report.tasks[TASK].score == 100.0 * right


def test_decimals_are_rounded_to_the_hubs_float_precision(run: Callable[..., Any]) -> None:
    """lmms-eval calls round(1.449, 2.0), a TypeError, and so counts every decimal as wrong."""
    from lmms_eval.tasks.mathvista.mathvista_evals import MathVistaEvaluator

    given = ("1.449", None, "free_form", "float")
    assert MathVistaEvaluator().normalize_extracted_answer(*given, 2.0) is None
    assert MathVistaEvaluator().normalize_extracted_answer(*given, 2) == "1.45"
    assert run(TASK, lambda question: "1.449", rows=[2]).report.tasks[TASK].score == 100.0


def test_the_units_and_the_kind_of_answer_stand_in_the_prompt(run: Callable[..., Any]) -> None:
    asked = run(TASK, lambda question: "7", rows=[4, 5]).asked
    assert asked[0].text == (
        "What is quantity 5? (Unit: cm)\nAnswer the question using a single integer number."
    )
    assert asked[1].text.endswith("single floating-point number with one decimal place.")


def test_without_a_key_its_code_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    code = (
        "from trainables.evaluation.benchmarks.quick_extraction import import_without_judge\n"
        "import_without_judge()\n"
        "import os\n"
        "from lmms_eval.tasks.mathvista.mathvista_evals import MathVistaEvaluator\n"
        "print(type(MathVistaEvaluator.server).__name__, os.environ.get('API_TYPE'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-2:] == ["DummyProvider", "None"]
