"""The answers side by side in a terminal: for rich, and as plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.answers.side_by_side import Answers, ShownSample, Verdict, caption

if TYPE_CHECKING:
    from rich.table import Table

COLOURS: dict[Verdict, str] = {"right": "green", "wrong": "red", "partly right": "yellow"}


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


def _name(row: ShownSample) -> str:
    return f"{row.sample.task} {row.sample.doc_id}"


def _truth(row: ShownSample) -> str:
    return " / ".join(row.sample.truth)


def _indented(text: str) -> str:
    return text.strip().replace("\n", "\n      ")
