"""The other end of a question that a light process asks of one with torch."""

import sys
from collections.abc import Callable


def reply(answer: Callable[[str], str]) -> None:
    """Write to stdout what is answered to stdin; what libraries print goes to stderr."""
    question, out = sys.stdin.read(), sys.stdout
    sys.stdout = sys.stderr
    out.write(answer(question))
