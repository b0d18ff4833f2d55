"""Whether an error says that a disk or a file system has failed, whatever was being done."""

import errno
import os
from collections.abc import Iterator

# Of a path that is wrong (ENOENT, EACCES, EISDIR) the storage is not to blame.
NUMBERS = (
    errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EROFS, errno.ENODEV, errno.ENOTCONN,
    errno.ESHUTDOWN, errno.EHOSTDOWN, errno.ETIMEDOUT,
)  # fmt: skip
TEXTS = tuple(os.strerror(number) for number in NUMBERS[:4])


def is_of_storage(error: BaseException) -> bool:
    """Whether it, or what it came of, is a full, failing or vanished file system.

    Libraries that are not written in Python (safetensors, Arrow, torch) raise errors of their own,
    with the system's words in them.
    """
    return any(
        each.errno in NUMBERS if isinstance(each, OSError) and each.errno else _says(str(each))
        for each in _chain(error)
    )


def _says(text: str) -> bool:
    return any(words in text for words in TEXTS)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen = set[int]()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
