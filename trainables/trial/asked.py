"""Questions of lmms-eval's tasks and what is right, as people read them."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from trainables.evaluation.catalog import task_of
from trainables.evaluation.isolation import isolated
from trainables.evaluation.sample_scores import JOINT
from trainables.evaluation.targets import load_task
from trainables.records.score_table import ScoreTable
from trainables.specs import Frozen

SHOWN = 80  # characters of a text within a sentence


class Asked(NamedTuple):
    """A sample of a task: its question, what is right, and its images."""

    question: str
    truth: tuple[str, ...]
    images: Sequence[Image.Image]


class Answered(Frozen):
    """What a model said to a question; `score` is of 0 to 100."""

    task: str
    question: str
    truth: tuple[str, ...]
    answer: str
    score: float

    @property
    def sentence(self) -> str:
        """In one line, long texts cut."""
        truth = " or ".join(repr(_short(text)) for text in self.truth[:3])
        return (
            f"{self.task}: {_short(self.question)!r} was answered {_short(self.answer)!r}, right "
            f"is {truth}"
        )


def look_up(task_folder: Path, samples: Iterable[tuple[str, int]]) -> Iterator[Asked]:
    """The samples (task as it is reported, doc_id), in their order; within `isolated`.

    `task_folder` holds the task files, from `Inputs.request`.
    """
    for reported, doc_id in samples:
        known = task_of(reported)
        name = known.name if known else reported
        task = load_task(task_folder, name)
        docs = _documents(task, name, doc_id)
        yield Asked(
            question=JOINT.join(str(task.doc_to_text(doc)).strip() for doc in docs),
            truth=_truth([task.doc_to_target(doc) for doc in docs]),
            images=task.doc_to_visual(docs[0]) or (),
        )


def answered(
    table: ScoreTable, task_folder: Path, each: int, log: Path | None = None
) -> list[Answered]:
    """The first `each` answers of every task of a table, with their questions.

    Args:
        table: a model's answers.
        task_folder: task files of its tasks.
        each: how many per task.
        log: file that lmms-eval's output is appended to.
    """
    rows = [
        (task, *row)
        for task, s in table.tasks.items()
        for row in list(zip(s.doc_ids, s.answers, s.scores, strict=True))[:each]
    ]
    with isolated(log):
        found = list(look_up(task_folder, [(task, doc_id) for task, doc_id, *_ in rows]))
    return [
        Answered(
            task=task,
            question=sample.question,
            truth=sample.truth,
            answer=answer,
            score=float(score),
        )
        for (task, _, answer, score), sample in zip(rows, found, strict=True)
    ]


def _documents(task: Any, name: str, doc_id: int) -> list[dict[str, Any]]:
    """The documents of one sample: one, or the two questions that MME asks about an image."""
    docs = task.eval_docs
    known = task_of(name)
    if known is None or known.rows != "mme":
        return [docs[doc_id]]
    plain = task.eval_docs_no_media
    wanted = [plain[doc_id][key] for key in ("category", "question_id")]
    pairs = zip(plain["category"], plain["question_id"], strict=True)
    return [docs[i] for i, pair in enumerate(pairs) if list(pair) == wanted]


def _truth(targets: Sequence[Any]) -> tuple[str, ...]:
    if len(targets) > 1:
        return (JOINT.join(str(target) for target in targets),)
    (target,) = targets
    return tuple(str(t) for t in target) if isinstance(target, list | tuple) else (str(target),)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[:SHOWN]}..."
