"""MathVista without a judge: the answers are extracted by lmms-eval's own rules alone.

With `quick_extract` lmms-eval first tries `The answer is "..."`, but asks its judge about every
other answer, and already importing its code asks for the judge's key. Here no judge exists: an
answer that no rule extracts is taken as it stands, and lmms-eval's normalisation decides (a letter,
`(B)`, a number, or the choice with the least edit distance), as with what a judge extracts.
"""

import os
from collections.abc import Callable
from typing import Any
from unittest import mock

Results = Callable[[dict[str, Any], list[str]], dict[str, Any]]


def import_without_judge() -> None:
    """Import MathVista's code, whose judge is made on import, with lmms-eval's dummy as judge."""
    with mock.patch.dict(os.environ, {"API_TYPE": "dummy"}):
        import lmms_eval.tasks.mathvista.mathvista_evals  # noqa: F401


def without_judge(own: Results) -> Results:
    """lmms-eval's own scoring of a MathVista answer, with quick extraction and nothing else.

    Args:
        own: `process_results` of a task file that was loaded for this purpose; the module that
            it came with is changed.
    """
    import_without_judge()
    from lmms_eval.tasks.mathvista.mathvista_evals import MathVistaEvaluator

    class QuickEvaluator(MathVistaEvaluator):
        def get_chat_response(self, *args: Any, **kwargs: Any) -> str:
            return ""  # the judge's place

        def extract_answer(
            self, response: str, problem: dict[str, Any], quick_extract: bool = False
        ) -> str:
            extracted: str = super().extract_answer(response, problem, quick_extract)
            return extracted or response

    module = own.__globals__
    module["config"]["metadata"]["quick_extract"] = True
    module["mathvista_evaluator"] = QuickEvaluator()

    def results(doc: dict[str, Any], answers: list[str]) -> dict[str, Any]:
        # The hub's column holds floats, and lmms-eval calls round(x, 1.0): a TypeError that it
        # takes for an answer that is no number, so that no decimal answer could be right.
        precision = doc.get("precision")
        return own({**doc, "precision": int(precision or 0)}, answers)

    return results
