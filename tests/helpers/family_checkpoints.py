"""The tiny model of a family as a checkpoint folder, whole or with something broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers.family_models import FAMILIES
from helpers.family_processors import make_processor

TEMPLATE, TOKENIZER = "chat_template.jinja", "tokenizer_config.json"
TEXT_ONLY = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] }}\n{% endfor %}"
PRINTS_LISTS = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"


def save_family(name: str, folder: Path) -> Path:
    """Write the tiny model of a family and its processor; returns the folder."""
    FAMILIES[name]().model.save_pretrained(folder)
    make_processor(name).save_pretrained(folder)
    return folder


def edit(path: Path, **changes: Any) -> None:
    """Change keys of a JSON object in a file; None takes one out."""
    found = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in found.items() if value is not None}))


def _cut_template(folder: Path) -> None:
    path = folder / TEMPLATE
    path.write_text(path.read_text().replace("{% endfor %}", "", 1))


def _no_answers(folder: Path) -> None:
    path = folder / TEMPLATE
    users = "{% for m in messages if m['role'] == 'user' %}"
    path.write_text(path.read_text().replace("{% for m in messages %}", users))


def _other_image_token(folder: Path) -> None:
    edit(folder / "config.json", image_token_id=5, image_token_index=5)


def _no_end(folder: Path) -> None:
    edit(folder / TOKENIZER, eos_token=None)


def _no_processor(folder: Path) -> None:
    for path in folder.glob("*processor_config.json"):
        path.unlink()


# What is broken, and a word of what is said.
BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "text-only template": (lambda f: (f / TEMPLATE).write_text(TEXT_ONLY), "chat template"),
    "template that prints lists": (
        lambda f: (f / TEMPLATE).write_text(PRINTS_LISTS),
        "chat template",
    ),
    "unclosed template": (_cut_template, "chat template"),
    "no template": (lambda f: (f / TEMPLATE).unlink(), "chat template"),
    "template without answers": (_no_answers, "chat template"),
    "no end of answers": (_no_end, "end of answers"),
    "another image token": (_other_image_token, "image token"),
    "no processor": (_no_processor, "processor"),
}
