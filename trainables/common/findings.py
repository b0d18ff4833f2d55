"""What a check found, one line per subject."""

from typing import Literal

from trainables.specs import Frozen

Level = Literal["ok", "warning", "error"]


class Finding(Frozen):
    """One line of a report; an error is what has to be mended first."""

    what: str
    level: Level
    text: str
