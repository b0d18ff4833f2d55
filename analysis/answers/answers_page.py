"""The answers side by side as HTML: a section of the frontier's page, and a page of its own."""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path

from analysis.answers.side_by_side import Answer, Answers, ShownModel, ShownSample, caption
from trainables.common.files import replace_file, write_json, writing
from trainables.records import GALLERY, GallerySample

LONGEST = 400  # characters of a question or an answer; the whole text is in answers.json
SHARP_BELOW = 160  # pixels; smaller pictures are enlarged, and not blurred by it

STYLE = """
.answers { font: 13px/1.35 Helvetica, Arial, sans-serif; color: #222; margin: 2em; }
.answers h2 { font-size: 17px; margin: 0 0 .3em; }
.answers p { color: #666; max-width: 75em; margin: 0 0 1em; }
.answers .scroll { overflow-x: auto; }
.answers table { border-collapse: collapse; border-top: 1.5px solid #222;
  border-bottom: 1.5px solid #222; }
.answers th, .answers td { text-align: left; vertical-align: top; padding: .5em .8em;
  border-bottom: 1px solid #ddd; overflow-wrap: anywhere; white-space: pre-line; }
.answers thead th { vertical-align: bottom; border-bottom: 1px solid #222; min-width: 6.5em;
  max-width: 11em; }
.answers small { display: block; color: #666; font-weight: normal; margin-top: .2em; }
.answers th:first-child, .answers td.picture { position: sticky; left: 0; background: white;
  padding-left: 0; }
.answers td.picture img { display: block; width: 132px; }
.answers td.picture img.sharp { image-rendering: pixelated; }
.answers td.question { min-width: 13em; max-width: 20em; }
.answers td.truth { min-width: 5em; max-width: 14em; font-weight: bold;
  border-right: 1px solid #222; }
.answers td.answer { max-width: 16em; }
.answers td.right { background: #eef6ee; }
.answers td.wrong { background: #fbeeec; }
.answers td.wrong q { text-decoration: underline wavy #b3432f 1px; text-underline-offset: 3px; }
.answers td.partly { background: #fdf7e6; }
.answers td b { font-weight: bold; margin-right: .35em; }
.answers q { quotes: none; }
@media (max-width: 700px) {
  .answers { margin: 1em; }
  .answers td.picture img { width: 76px; }
  .answers td.question { min-width: 8.5em; }
}
"""


def answers_section(answers: Answers, folder: Path) -> str:
    """A self-contained part of a page: style, caption and table, with the pictures in it.

    Args:
        answers: the table.
        folder: the sweep's folder, which holds the pictures.
    """
    models = "".join(_head(model) for model in answers.models)
    rows = "".join(_row(row, answers, folder) for row in answers.rows)
    key = "&#10003; right, &#10007; wrong (underlined), ~ partly right with its score out of 100."
    return (
        f'<section class="answers" id="answers"><style>{STYLE}</style>'
        "<h2>Answers side by side</h2>"
        f"<p>{escape(caption(answers))} {key}</p>"
        '<div class="scroll" tabindex="0"><table><thead><tr><th scope="col">picture</th>'
        '<th scope="col">question</th><th scope="col">truth</th>'
        f"{models}</tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def answers_page(answers: Answers, folder: Path) -> str:
    """The section as a page of its own, which needs no other file and no network."""
    heading = escape(f"{answers.sweep}: answers side by side")
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{heading}</title></head><body>{answers_section(answers, folder)}</body></html>\n"
    )


def write_answers(folder: Path, answers: Answers) -> tuple[Path, Path]:
    """Write `answers.html` and `answers.json` beside the frontier; returns their paths.

    Raises:
        ValueError: the folder cannot be written.
    """
    html, json = folder / "answers.html", folder / "answers.json"
    with writing("the answers", folder):
        replace_file(html, answers_page(answers, folder).encode())
        write_json(json, answers)
    return html, json


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
    path = (Path(folder) / GALLERY).with_name(sample.picture)
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
