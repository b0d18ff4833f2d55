"""Sentences about names: what is unknown, what was probably meant, what there is."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def unknown(what: str, given: str, known: Iterable[str]) -> str:
    """An error sentence for an unknown name: suggests the nearest and lists the valid ones."""
    names = list(known)
    close = difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"{given!r} is not a known {what}.{hint} Valid: {', '.join(names) or 'none'}."
