"""The answers side by side as HTML: a section of a sweep's report; and as a file of plain data."""

import base64
from html import escape
from pathlib import Path

from analysis.answers.side_by_side import Answer, Answers, ShownModel, ShownSample, caption
from trainables.common.files import write_json, writing
from trainables.records import GALLERY, GallerySample

LONGEST = 400  # characters of a question or an answer; the whole text is in answers.json
SHARP_BELOW = 160  # pixels; smaller pictures are enlarged, and not blurred by it

STYLE = Path(__file__).with_name("answers.css").read_text(encoding="utf-8")


def answers_section(answers: Answers, folder: Path) -> str:
    """A part of a page that has `STYLE`: caption and table, with the pictures of `folder`."""
    models = "".join(_head(model) for model in answers.models)
    rows = "".join(_row(row, answers, folder) for row in answers.rows)
    key = "&#10003; right, &#10007; wrong (underlined), ~ partly right with its score out of 100."
    return (
        '<section class="answers">'
        "<h2>Answers side by side</h2>"
        f"<p>{escape(caption(answers))} {key}</p>"
        '<div class="scroll" tabindex="0"><table><thead><tr><th scope="col">picture</th>'
        '<th scope="col">question</th><th scope="col">truth</th>'
        f"{models}</tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def write_answers(folder: Path, answers: Answers) -> Path:
    """Write `answers.json` beside the frontier, with every answer whole; returns its path.

    Raises:
        ValueError: the folder cannot be written.
    """
    json = folder / "answers.json"
    with writing("the answers", folder):
        write_json(json, answers)
    return json


def _head(model: ShownModel) -> str:
    title = escape(model.trial_id, quote=True)
    return (
        f'<th scope="col" title="{title}">{escape(model.label)}'
        f"<small>{escape(model.size)}</small><small>{escape(model.quality)}</small></th>"
    )


def _row(row: ShownSample, answers: Answers, folder: Path) -> str:
    sample = row.sample
    cells = "".join(_cell(answer) for answer in row.answers)
    return (
        f'<tr><td class="picture">{_picture(sample, folder)}</td>'
        f'<td class="question">{_text(sample.question)}'
        f"<small>{escape(sample.task)} {sample.doc_id}</small></td>"
        f'<td class="truth">{_text(" / ".join(sample.truth))}</td>{cells}</tr>'
    )


def _cell(answer: Answer) -> str:
    name = answer.verdict.split()[0]
    return (
        f'<td class="answer {name}"><b role="img" aria-label="{answer.verdict}">'
        f"{escape(answer.mark)}</b><q>{_text(answer.shown)}</q></td>"
    )


def _picture(sample: GallerySample, folder: Path) -> str:
    """The picture as a data URI; a note where its file is gone."""
    path = (folder / GALLERY).with_name(sample.picture)
    if not path.is_file():
        return "<small>the picture is gone</small>"
    kind = "jpeg" if path.suffix == ".jpg" else "png"
    data = base64.b64encode(path.read_bytes()).decode()
    sharp = ' class="sharp"' if max(sample.width, sample.height) < SHARP_BELOW else ""
    alt = escape(f"image {sample.image_id}", quote=True)
    return f'<img{sharp} alt="{alt}" src="data:image/{kind};base64,{data}">'


def _text(text: str) -> str:
    """A text escaped, and cut where it is too long for a table."""
    text = text.strip()
    if len(text) > LONGEST:
        return f"{escape(text[:LONGEST])}<small>... {len(text):,} characters</small>"
    return escape(text)
