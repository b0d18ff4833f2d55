"""The store: built once, atomically, under contention and after failures."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.stores import builds

from trainables.common.store import Store

KEY = {"weights": "abc", "samples": 8}


def test_an_entry_is_built_once(tmp_path: Path) -> None:
    store, calls = Store(tmp_path), []

    def build(folder: Path) -> None:
        calls.append(folder)
        (folder / "value").write_text("1")

    first, built = store.get_or_create("importance", KEY, build)
    second, again = store.get_or_create("importance", dict(reversed(KEY.items())), build)
    assert (built, again) == (True, False)
    assert first == second
    assert (first / "value").read_text() == "1"
    assert len(calls) == 1
    assert [row["key"] for row in builds(store, "importance")] == [KEY]
    assert builds(store, "other") == []


def test_other_keys_and_kinds_are_other_entries(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folders = {
        store.get_or_create(kind, key, lambda _: None)[0]
        for kind in ("a", "b")
        for key in (KEY, {**KEY, "samples": 9})
    }
    assert len(folders) == 4


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def fail(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        store.get_or_create("a", KEY, fail)
    assert [p.name for p in (tmp_path / "a").iterdir() if p.is_dir()] == []
    assert store.get_or_create("a", KEY, lambda _: None)[1]


def test_what_a_killed_builder_left_is_swept_away(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder, _ = store.get_or_create("a", KEY, lambda _: None)
    shutil.rmtree(folder)
    (tmp_path / "a" / f".{folder.name}.dead.part").mkdir()
    store.get_or_create("a", KEY, lambda _: None)
    assert list((tmp_path / "a").glob(".*.part")) == []


def test_threads_that_need_the_same_key_build_it_once(tmp_path: Path) -> None:
    store, calls = Store(tmp_path), []
    barrier = threading.Barrier(6)

    def work() -> None:
        barrier.wait()
        store.get_or_create("a", KEY, lambda folder: calls.append(folder))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


def _truncate(entry: Path) -> None:
    (entry / "value").write_text("12")


def _delete(entry: Path) -> None:
    (entry / "value").unlink()


def _lose_the_sizes(entry: Path) -> None:
    (entry / "sizes.json").write_text("{")


@pytest.mark.parametrize("damage", [_truncate, _delete, _lose_the_sizes])
def test_a_damaged_entry_is_built_again(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    store = Store(tmp_path)

    def build(folder: Path) -> None:
        (folder / "value").write_text("1234")

    entry, _ = store.get_or_create("a", KEY, build)
    assert store.find("a", KEY) == entry
    damage(entry)
    assert store.find("a", KEY) is None
    assert store.get_or_create("a", KEY, build) == (entry, True)
    assert (entry / "value").read_text() == "1234"
    assert store.get_or_create("a", KEY, build) == (entry, False)
