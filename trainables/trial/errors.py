"""What a job failed of, wherever it was raised."""

from trainables.common.storage_errors import is_of_storage
from trainables.trial.desk import Failure


class GroupError(Exception):
    """A job failed in the workers of a group, which have said why."""

    def __init__(self, failure: Failure) -> None:
        """Keep what they said."""
        super().__init__(failure.message)
        self.failure = failure


def failure_of(error: BaseException) -> Failure:
    """The failure that an error is; that of the workers where they have said one."""
    cause = _innermost(error)
    if isinstance(cause, GroupError):
        return cause.failure
    diverged = isinstance(cause, FloatingPointError)
    return Failure(explain(cause), diverged=diverged, storage=is_of_storage(error))


def explain(error: BaseException) -> str:
    """One line: the innermost cause's type and message."""
    error = _innermost(error)
    text = " ".join(str(error).split())
    name = type(error).__name__
    return text if isinstance(error, ValueError) and text else f"{name}: {text}"[:2000]


def _innermost(error: BaseException) -> BaseException:
    """The cause of an error, without Ray's wrapping."""
    while error.__cause__ is not None and type(error).__module__.startswith("ray."):
        error = error.__cause__
    causes = getattr(error, "worker_failures", None)
    return _innermost(next(iter(causes.values()))) if causes else error
