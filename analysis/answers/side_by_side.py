"""The same few questions, answered by the dense base, the frontier and the native models.

The closing pass keeps what each model said on the report split (`REPORT_SAMPLES`, in the trial's
folder) and, once per sweep, the pictures and questions of a fixed handful of samples (`GALLERY`;
how they are chosen is written in `trainables/trial/gallery.py`). Both are joined here, for the
table in the terminal, in the pages and in MLflow.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Literal

from analysis.load import Trial
from analysis.tables import number, with_error
from trainables.common.files import DamagedError, pass_over, read_if_sound
from trainables.records import GALLERY, REPORT_SAMPLES, Gallery, GallerySample
from trainables.specs import Frozen

if TYPE_CHECKING:
    from rich.table import Table

Verdict = Literal["right", "wrong", "partly right"]
MARKS: dict[Verdict, str] = {"right": "✓", "wrong": "✗", "partly right": "~"}
COLOURS: dict[Verdict, str] = {"right": "green", "wrong": "red", "partly right": "yellow"}
RIGHT = 100.0
NOTHING = "(nothing)"
Key = tuple[str, int, str]


class Answer(Frozen):
    """What a model said, and its score (0..100; a caption's may be higher, and is never right)."""

    text: str
    score: float

    @property
    def verdict(self) -> Verdict:
        """How the task's scoring took it."""
        if abs(self.score - RIGHT) < 1e-6:
            return "right"
        return "wrong" if self.score <= 0 else "partly right"

    @property
    def shown(self) -> str:
        """What is printed: an answer may be empty, or hold no letter that its task could take."""
        return self.text.strip() or NOTHING

    @property
    def mark(self) -> str:
        """The verdict as one sign, with the score where it is in between."""
        score = f"{self.score:.0f}" if self.verdict == "partly right" else ""
        return MARKS[self.verdict] + score


class ShownModel(Frozen):
    """A column of the table.

    Attributes:
        trial_id: id in the ledger.
        label: readable name, not unique.
        weights_mib: weight memory of the whole model.
        retention: on the whole report split, and its standard error; that is what to compare by.
    """

    trial_id: str
    label: str
    weights_mib: float | None
    retention: float | None
    retention_se: float | None

    @property
    def size(self) -> str:
        """The weight memory with its unit."""
        return f"{number(self.weights_mib)} MiB"

    @property
    def quality(self) -> str:
        """The retention with its standard error."""
        return f"retention {with_error(self.retention, self.retention_se)} %"


class ShownSample(Frozen):
    """A row of the table: a sample, and the answers in the order of the models."""

    sample: GallerySample
    answers: tuple[Answer, ...]


class Answers(Frozen):
    """The whole table: the dense base first, then the others by rising weight memory."""

    sweep: str
    models: tuple[ShownModel, ...]
    rows: tuple[ShownSample, ...]


def find_answers(folder: Path, trials: Sequence[Trial], shown: Collection[str]) -> Answers | None:
    """The answers of the dense base and of other models to the sweep's gallery, side by side.

    A sample that one of the models has not answered is left out.

    Args:
        folder: the sweep's folder in the ledger.
        trials: the sweep's trials.
        shown: ids of trials besides the dense base, e.g. those of the frontier; the native models
            that entered as references are always shown.

    Returns:
        None where there is no gallery (a sweep that is not closed yet, one from an older version,
        or `gallery=0`), or where no sample was answered by all.
    """
    gallery = read_if_sound(folder / GALLERY, Gallery)
    if gallery is None:
        return None
    samples = gallery.samples
    keys = {sample.key for sample in samples}
    wanted = [t for t in sorted(trials, key=_order) if t.is_reference or t.trial_id in shown]
    said = [(trial, answers) for trial in wanted if (answers := answers_of(trial, keys))]
    if not said or not said[0][0].is_dense:
        return None
    rows = tuple(
        ShownSample(sample=sample, answers=tuple(answers[sample.key] for _, answers in said))
        for sample in samples
        if all(sample.key in answers for _, answers in said)
    )
    if not rows:
        return None
    return Answers(
        sweep=trials[0].record.sweep,
        models=tuple(_model(trial) for trial, _ in said),
        rows=rows,
    )


def answers_of(trial: Trial, keys: Collection[Key]) -> dict[Key, Answer]:
    """What the trial's model said to those samples; empty where its samples cannot be read."""
    path = trial.folder / REPORT_SAMPLES if trial.folder else None
    if path is None or not path.exists():
        return {}
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(
            path,
            columns=["task", "doc_id", "image_id", "score", "answer"],
            filters=[("doc_id", "in", sorted({doc for _, doc, _ in keys}))],
        )
    except (OSError, ValueError) as error:
        pass_over(DamagedError(path, error))
        return {}
    return {
        key: Answer(text=row["answer"], score=row["score"])
        for row in table.to_pylist()
        if (key := (row["task"], row["doc_id"], row["image_id"])) in keys
    }


def caption(answers: Answers) -> str:
    """What the table shows, how its samples were chosen, and what it must not be read as."""
    count = len(answers.rows)
    return (
        f"{count} samples of the report split, chosen by a digest of task and image without a look "
        "at any answer or score, and the same for every model. "
        f"{count} samples are too few to compare models by: that is what the retention is for "
        "(all samples of the report split, +/- one standard error)."
    )


def answers_table(answers: Answers) -> Table:
    """A rich table: a row per sample, with a line per model in it."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=f"Answers of {answers.sweep}", caption=caption(answers), box=box.SIMPLE_HEAD,
        show_lines=True, title_style="bold", caption_style="dim", caption_justify="left",
    )  # fmt: skip
    table.add_column("question", ratio=2)
    table.add_column("answers", ratio=3)
    for row in answers.rows:
        question = Text(f"{_name(row)}\n", style="dim")
        question.append(row.sample.question, style="not dim")
        lines = Table.grid(padding=(0, 1))
        lines.add_row("=", Text("truth"), Text(_truth(row), style="bold"))
        for model, answer in zip(answers.models, row.answers, strict=True):
            colour = COLOURS[answer.verdict]
            text = Text(answer.shown, style=colour)
            lines.add_row(Text(answer.mark, style=colour), Text(model.label), text)
        table.add_row(question, lines)
    return table


def answers_plain(answers: Answers) -> str:
    """The table as text: a block per sample, a line per model."""
    width = max(len(model.label) for model in answers.models)
    marks = max((len(answer.mark) for row in answers.rows for answer in row.answers), default=1)
    blocks = []
    for row in answers.rows:
        lines = [f"{_name(row)}: {_indented(row.sample.question)}"]
        lines.append(f"  {'='.ljust(marks)} {'truth'.ljust(width)}  {_truth(row)}")
        for model, answer in zip(answers.models, row.answers, strict=True):
            name = f"{answer.mark.ljust(marks)} {model.label.ljust(width)}"
            lines.append(f"  {name}  {_indented(answer.shown)}")
        blocks.append("\n".join(lines))
    return "\n\n".join([*blocks, caption(answers)])


def _order(trial: Trial) -> tuple[bool, float, str]:
    return not trial.is_dense, trial.axes["weights_mib"] or 0.0, trial.trial_id


def _model(trial: Trial) -> ShownModel:
    retention, retention_se = trial.retention("report")
    # A native model is named by its path, of which the last part is enough here.
    label = PurePath(trial.label).name if trial.is_reference else trial.label
    return ShownModel(
        trial_id=trial.trial_id,
        label=label if trial.is_dense or not trial.is_reference else f"{label} (native)",
        weights_mib=trial.axes["weights_mib"],
        retention=retention,
        retention_se=retention_se,
    )


def _name(row: ShownSample) -> str:
    return f"{row.sample.task} {row.sample.doc_id}"


def _truth(row: ShownSample) -> str:
    return " / ".join(row.sample.truth)


def _indented(text: str) -> str:
    return text.strip().replace("\n", "\n      ")
