"""Task files of one split of a file of questions, for lmms-eval."""

from pathlib import Path

import yaml

from trainables.common.files import replacing
from trainables.evaluation.own.task_info import own_rows
from trainables.evaluation.own.vqa_file import LETTERS, VqaData, VqaQuestion, read_vqa, vqa_files
from trainables.specs import EvaluationSpec, Split, digest

TEMPLATE = Path(__file__).parents[1] / "tasks" / "own"
COPIED = ("_vqa_template_yaml", "vqa.py")
SENTENCE_TOKENS = 64
INSTRUCTION = "Answer with the option's letter from the given choices directly."


def vqa_task_files(
    settings: EvaluationSpec, split: Split, folder: Path, cache: Path
) -> dict[str, str]:
    """Names and contents of the task files of all files of questions; {} without any.

    Args:
        settings: tasks, and how images are shared out and ordered.
        split: whose questions are asked.
        folder: where the questions are laid down as lmms-eval reads them, once.
        cache: where `datasets` may keep its form of them.

    Raises:
        ValueError: a file does not fit, or has no question on this split.
    """
    files: dict[str, str] = {}
    for name, file in vqa_files(settings).items():
        data = read_vqa(file, settings.image_folder)
        table = _laid_down(data, own_rows(name, data.image_ids, split, settings), folder)
        task = {
            "include": COPIED[0],
            "task": name,
            "dataset_kwargs": {
                "data_files": {"test": str(table.resolve())},
                "cache_dir": str(cache.resolve()),
            },
            "generation_kwargs": {"do_sample": False, "max_new_tokens": _most_tokens(data)},
        }
        files[f"{name}.yaml"] = yaml.safe_dump(task, sort_keys=False)
    return {n: (TEMPLATE / n).read_text("utf-8") for n in COPIED} | files if files else {}


def _most_tokens(data: VqaData) -> int:
    """Where nothing shorter is known to do (`TaskInfo.answer_lengths`), room for a sentence."""
    return SENTENCE_TOKENS + max(len(a.encode()) for q in data.questions for a in q.answers)


def asked_text(question: VqaQuestion) -> str:
    """The question as a model reads it: as it stands, and with its options where it has some."""
    if not question.options:
        return question.question
    listed = (f"{a}. {b}" for a, b in zip(LETTERS, question.options, strict=False))
    return "\n".join((question.question, *listed, INSTRUCTION))


def _targets(question: VqaQuestion) -> list[str]:
    right = list(question.answers)
    if not question.options:
        return right
    return right + [question.options[LETTERS.index(letter)] for letter in right]


def _laid_down(data: VqaData, rows: tuple[int, ...], folder: Path) -> Path:
    """A parquet file of those rows in that order; pictures in files are named, not copied."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    asked = [data.questions[row] for row in rows]
    paths = ["" if isinstance(q.image, bytes) else str(q.image) for q in asked]
    target = folder / "own" / f"{digest([data.digest, rows, paths], length=24)}.parquet"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        table = pa.table(
            {
                "row": [q.row for q in asked],
                "image_id": [q.image_id for q in asked],
                "path": paths,
                "picture": pa.array(
                    [q.image if isinstance(q.image, bytes) else b"" for q in asked], pa.binary()
                ),
                "question": [asked_text(q) for q in asked],
                "answers": pa.array([list(q.answers) for q in asked], pa.list_(pa.string())),
                "targets": pa.array([_targets(q) for q in asked], pa.list_(pa.string())),
                "options": pa.array([list(q.options) for q in asked], pa.list_(pa.string())),
                "metric": [data.metric] * len(asked),
            }
        )
        with replacing(target) as part:
            pq.write_table(table, part)
    return target
