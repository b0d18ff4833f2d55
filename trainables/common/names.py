"""Parts of sentences: unknown names, what another error says in its first line, durations."""

import difflib
from collections.abc import Iterable


def nearest(name: str, names: Iterable[str]) -> str:
    """` (did you mean ...?)` for the closest of `names`, or nothing."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f" (did you mean '{close[0]}'?)" if close else ""


def unknown(what: str, given: str, known: Iterable[str]) -> str:
    """An error sentence for an unknown name: suggests the nearest and lists the valid ones."""
    names = list(known)
    close = difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"{given!r} is not a known {what}.{hint} Valid: {', '.join(names) or 'none'}."


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its type where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def one_line(error: BaseException) -> str:
    """The error in one line; its type only where the message is not one of ours."""
    while type(error).__module__.startswith("tenacity") and error.__cause__:
        error = error.__cause__  # lmms-eval tries to score an answer five times
    text = " ".join(str(error).split())[:500]
    return text if isinstance(error, ValueError) and text else f"{type(error).__name__}: {text}"


def lasting(seconds: float) -> str:
    """Seconds for people: `0.4 s`, `20 s`, `3 min`, `2.5 h`."""
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
