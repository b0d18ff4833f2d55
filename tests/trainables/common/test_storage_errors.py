"""Which errors are a disk's, whoever raised them."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from safetensors import SafetensorError

from trainables.common.storage_errors import is_of_storage


def test_a_full_disk_is_told_by_number() -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        Path("/dev/full").write_bytes(b"1")
    assert is_of_storage(caught.value)


def test_a_wrong_path_is_not_the_storage(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        (tmp_path / "none").read_text()
    assert not is_of_storage(caught.value)


def test_libraries_say_it_in_words_of_the_system() -> None:
    """As safetensors does, seen on a file system of 64 KiB."""
    said = "Error while serializing: I/O error: No space left on device (os error 28)"
    assert is_of_storage(SafetensorError(said))
    assert not is_of_storage(SafetensorError("Error while deserializing header: header too large"))


def test_what_it_came_of_counts() -> None:
    error = RuntimeError("the batch could not be read")
    assert not is_of_storage(error)
    error.__cause__ = OSError(errno.ESTALE, "Stale file handle")
    assert is_of_storage(error)
