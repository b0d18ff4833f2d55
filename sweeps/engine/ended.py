"""The error of a run that ends before its time."""

from pathlib import Path

GOES_ON = "Nothing that was finished is lost: the same command goes on from here."


class EndedError(Exception):
    """Something outside ended the run; says what, and what to do. Nothing finished is lost."""


def unwritable(folder: Path, why: str) -> str:
    """What to say of a sweep whose folder is gone, full, or does not answer."""
    return (
        f"'{folder}' can no longer be written ({why}). Nothing that was finished is lost: mend it, "
        "and the same command goes on from here."
    )
