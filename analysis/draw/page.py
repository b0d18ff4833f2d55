"""Figures as one self-contained page (4.8 MB: plotly.js is in it) that needs no network."""

from collections.abc import Mapping, Sequence
from html import escape

import plotly.io

from analysis.draw.looks import Figure


def page(
    heading: str, figures: Mapping[str, Figure], notes: Sequence[str], section: str = ""
) -> str:
    """The page: figures by their element's id, paragraphs of text, then `section` (HTML)."""
    parts: list[str] = []
    for name, figure in figures.items():
        part = plotly.io.to_html(
            figure,
            include_plotlyjs=not parts,  # once, with the first figure
            full_html=not parts,
            validate=False,
            config={"displaylogo": False, "responsive": True},
            default_height="88vh",
            div_id=name,
        )
        parts.append(part)
    style = "font:13px Helvetica,Arial,sans-serif;color:#666;margin:0 2em 1em"
    text = "".join(f'<p style="{style}">{escape(note)}</p>' for note in notes)
    first = parts[0].replace("<head>", f"<head><title>{escape(heading)}</title>", 1)
    before, closing, after = first.rpartition("</body>")
    return f"{before}{''.join(parts[1:])}{text}{section}{closing}{after}"
