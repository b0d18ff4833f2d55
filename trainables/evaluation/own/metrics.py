"""How an answer to a question of a user's file is scored; where lmms-eval has a rule, by its own.

Imported where lmms-eval is.
"""

import re
from collections.abc import Callable, Sequence

from trainables.evaluation.own.vqa_file import LETTERS


def score(metric: str, said: str, answers: Sequence[str], options: Sequence[str] = ()) -> float:
    """The score of an answer, in [0, 1].

    Args:
        metric: one of `METRICS`.
        said: by the model.
        answers: that are right; with `choice` letters.
        options: that are chosen from.
    """
    if metric == "choice":
        return float(chosen(said, options) in answers)
    return _RULES[metric](said, answers)


def plain(text: str) -> str:
    """Lower case, single blanks, no full stop at the end."""
    return " ".join(text.lower().split()).rstrip(".").rstrip()


def chosen(said: str, options: Sequence[str]) -> str | None:
    """The letter that an answer begins with, or that of the option that it is; None without one."""
    for letter, option in zip(LETTERS, options, strict=False):
        if plain(said) == plain(option):
            return letter
    found = re.match(r"\s*\(?([A-Za-z])\)?\s*(?:[.:,)\n]|$)", said)  # not "A large one"
    return found[1].upper() if found else None


def _exact(said: str, answers: Sequence[str]) -> float:
    return float(plain(said) in map(plain, answers))


def _contains(said: str, answers: Sequence[str]) -> float:
    whole = (rf"(?<!\w){re.escape(plain(answer))}(?!\w)" for answer in answers)
    return float(any(re.search(pattern, plain(said)) for pattern in whole))


def _vqa(said: str, answers: Sequence[str]) -> float:
    from lmms_eval.tasks.vqav2.utils import vqav2_process_results

    people = [{"answer": answer, "answer_id": i} for i, answer in enumerate(answers)]
    return float(
        vqav2_process_results({"answers": people, "question_id": 0}, [said])["exact_match"]
    )


def _anls(said: str, answers: Sequence[str]) -> float:
    from lmms_eval.api.metrics import anls

    return float(anls(answers, [said])["anls"])


def _relaxed(said: str, answers: Sequence[str]) -> float:
    from lmms_eval.tasks.chartqa.utils import relaxed_correctness

    return float(any(relaxed_correctness(plain(said), plain(answer)) for answer in answers))


_RULES: dict[str, Callable[[str, Sequence[str]], float]] = {
    "exact": _exact,
    "contains": _contains,
    "vqa": _vqa,
    "anls": _anls,
    "relaxed": _relaxed,
}
