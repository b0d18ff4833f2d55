"""The error of a run that ends before its time."""


class EndedError(Exception):
    """Something outside ended the run; says what, and what to do. Nothing finished is lost."""
