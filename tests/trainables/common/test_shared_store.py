"""Entries that machines share through an object store, against a real S3 server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from trainables.common import lease as leases
from trainables.common.cache import VARIABLE
from trainables.common.copies import working_copy
from trainables.common.lease import next_lease
from trainables.common.objects import objects_at
from trainables.common.store import SIZES, Store
from trainables.specs import digest

KEY = {"weights": "abc"}


@pytest.fixture
def url(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A storage of its own, seen from a machine of its own."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "here"))
    return f"{bucket}/{uuid.uuid4().hex[:8]}"


def _store(url: str) -> Store:
    return Store(working_copy(url) / "store")


def _build(folder: Path) -> None:
    (folder / "deep").mkdir()
    (folder / "deep" / "value").write_text("1")


def _refuse(folder: Path) -> None:
    raise AssertionError("it is there")


BUILDER = """
import sys, time
from pathlib import Path
from trainables.common.copies import working_copy
from trainables.common.store import Store

def build(folder):
    time.sleep(1.0)
    (folder / "value").write_text(sys.argv[2])

store = Store(working_copy(sys.argv[1]) / "store")
print("ready", flush=True)
sys.stdin.readline()
folder, built = store.get_or_create("kind", {"weights": "abc"}, build)
print(int(built), (folder / "value").read_text())
"""


def test_machines_that_need_the_same_build_it_once(url: str, tmp_path: Path) -> None:
    machines = [
        subprocess.Popen(
            [sys.executable, "-c", BUILDER, url, str(i)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, VARIABLE: str(tmp_path / str(i))},
        )
        for i in range(2)
    ]  # fmt: skip
    for machine in machines:
        assert machine.stdout is not None
        assert machine.stdout.readline() == "ready\n"
    for machine in machines:
        assert machine.stdin is not None
        machine.stdin.write("\n")
        machine.stdin.flush()
    said = [machine.communicate(timeout=60)[0].split() for machine in machines]
    assert sorted(built for built, _ in said) == ["0", "1"]
    builder = next(value for built, value in said if built == "1")
    assert {value for _, value in said} == {builder}


def test_another_machine_finds_it(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _store(url).find("kind", KEY) is None
    _, built = _store(url).get_or_create("kind", KEY, _build)
    assert built
    monkeypatch.setenv(VARIABLE, str(tmp_path / "there"))
    found = _store(url).find("kind", KEY)
    assert found is not None
    assert found.is_relative_to(tmp_path / "there")
    assert (found / "deep" / "value").read_text() == "1"
    assert _store(url).get_or_create("kind", KEY, _refuse) == (found, False)


@pytest.mark.parametrize("damage", ["file", "shorter", "sizes"])
def test_an_entry_that_is_not_whole_is_built_again(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    _store(url).get_or_create("kind", KEY, _build)
    objects, name = objects_at(url), f"store/kind/{digest(KEY)}"
    if damage == "file":
        objects.delete([f"{name}/deep/value"])
    elif damage == "shorter":
        objects.put(f"{name}/deep/value", b"")
    else:  # its builder died before it
        objects.delete([f"{name}/{SIZES}"])
    monkeypatch.setenv(VARIABLE, str(tmp_path / "there"))
    assert _store(url).find("kind", KEY) is None
    assert _store(url).get_or_create("kind", KEY, _build)[1]
    sizes = json.loads(objects.read(f"{name}/{SIZES}"))
    assert {f"{name}/{file}": size for file, size in sizes.items()} == {
        file: entry.size for file, entry in objects.listed(name).items() if "sizes" not in file
    }


def test_a_builder_that_died_elsewhere_is_waited_for_no_longer_than_its_lease(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = _store(url)
    turns = store.root / "kind" / f".{digest(KEY)}"
    with monkeypatch.context() as patch:
        patch.setattr(leases, "_boot", lambda: "another machine")
        assert next_lease(turns, None) is not None
    monkeypatch.setattr(leases, "LEASE_SECONDS", 1.5)
    monkeypatch.setattr("trainables.common.store.NAP_SECONDS", 0.1)
    assert store.get_or_create("kind", KEY, _build)[1]


def test_a_folder_that_appears_while_it_is_listed_is_no_file(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = objects_at(url)
    files, known = objects._files, objects._files._info

    async def late(path: str, **more: Any) -> Any:
        await files._pipe_file(f"{path}/000001.json", b"1")
        return await known(path, **more)

    with monkeypatch.context() as patch:
        patch.setattr(files, "_info", late)
        assert objects.listed("lease") == {}
    assert list(objects.listed("lease")) == ["lease/000001.json"]
