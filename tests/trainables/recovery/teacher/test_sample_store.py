"""The sample store: what was added is found again, after kills and damage, by many at once."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from trainables.recovery.teacher import sample_store
from trainables.recovery.teacher.sample_store import (
    KEY,
    PATTERN,
    SampleStore,
    open_shard,
    stored_keys,
    write_shard,
)

CONTENT = {"weights": "abc", "dtype": "bfloat16"}
PLENTY = 2**40


def values(number: int) -> dict[str, Tensor]:
    """Tensors that tell the sample's number; samples differ in rows, and so do their tensors."""
    rows = number % 4
    return {
        "state": torch.full((rows + 1, 8), float(number), dtype=torch.bfloat16),
        "ids": torch.full((rows, 2), number, dtype=torch.int32),
    }


def fill(store: SampleStore, numbers: range, max_bytes: int = PLENTY) -> None:
    with store.writing(max_bytes) as writer:
        for number in numbers:
            if f"s{number}" not in store:
                writer.add(f"s{number}", values(number))


def check(store: SampleStore, numbers: range) -> None:
    for number in numbers:
        found, expected = store.read(f"s{number}"), values(number)
        assert found.keys() == expected.keys()
        for name, tensor in expected.items():
            assert found[name].dtype == tensor.dtype
            assert torch.equal(found[name], tensor)


@pytest.fixture
def one_sample_per_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_store, "SHARD_BYTES", 1)


@pytest.fixture
def store(tmp_path: Path) -> SampleStore:
    return SampleStore(tmp_path, "teacher", CONTENT)


def test_samples_are_found_by_the_writer_and_by_others(store: SampleStore, tmp_path: Path) -> None:
    other = SampleStore(tmp_path, "teacher", dict(reversed(CONTENT.items())))
    fill(store, range(10))
    check(store, range(10))
    assert "s0" not in other
    other.refresh()
    check(other, range(10))
    assert len(other) == 10
    assert len(list(store.folder.glob(PATTERN))) == 1


def test_subsets_and_grown_data_share_samples(store: SampleStore) -> None:
    fill(store, range(5))
    assert store.missing(f"s{n}" for n in (3, 7, 7, 4, 9)) == ["s7", "s9"]
    fill(store, range(12))
    check(store, range(12))
    assert len(list(store.folder.glob(PATTERN))) == 2


def test_other_content_is_another_store(store: SampleStore, tmp_path: Path) -> None:
    fill(store, range(3))
    assert len(SampleStore(tmp_path, "teacher", {**CONTENT, "weights": "abd"})) == 0
    assert len(SampleStore(tmp_path, "vision", CONTENT)) == 0


@pytest.mark.usefixtures("one_sample_per_shard")
def test_a_truncated_shard_is_a_miss_and_is_computed_again(
    store: SampleStore, tmp_path: Path
) -> None:
    fill(store, range(4))
    damaged = sorted(store.folder.glob(PATTERN))[2]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    again = SampleStore(tmp_path, "teacher", CONTENT)
    assert again.missing(f"s{n}" for n in range(4)) == ["s2"]
    fill(again, range(4))
    check(SampleStore(tmp_path, "teacher", CONTENT), range(4))


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff" * 64])
def test_a_file_that_is_no_shard_is_passed_over(
    store: SampleStore, tmp_path: Path, damage: bytes
) -> None:
    fill(store, range(2))
    (store.folder / "shard-00007.safetensors").write_bytes(damage)
    again = SampleStore(tmp_path, "teacher", CONTENT)
    check(again, range(2))
    fill(again, range(3))
    assert (again.folder / "shard-00008.safetensors").exists()


def test_a_shard_of_other_content_is_never_a_hit(store: SampleStore, tmp_path: Path) -> None:
    other = SampleStore(tmp_path, "teacher", {"weights": "of another teacher"})
    fill(other, range(3))
    store.folder.mkdir(parents=True)
    for shard in other.folder.glob(PATTERN):
        shutil.copy(shard, store.folder)
    store.refresh()
    assert store.missing(["s0", "s1", "s2"]) == ["s0", "s1", "s2"]


def test_rows_that_do_not_fit_their_samples_are_no_shard(tmp_path: Path) -> None:
    path = tmp_path / "shard-00000.safetensors"
    write_shard(path, "content", [("s1", values(1)), ("s2", values(2))])
    whole = path.read_bytes()
    assert open_shard(path, "content") is not None
    path.write_bytes(whole.replace(b'{\\"ids\\": [1, 2]', b'{\\"ids\\": [1, 3]'))
    assert path.read_bytes() != whole
    assert open_shard(path, "content") is None


def test_a_folder_whose_key_is_another_one_is_not_listed_and_mended(
    store: SampleStore, tmp_path: Path
) -> None:
    fill(store, range(2))
    assert list(stored_keys(tmp_path, "teacher")) == [CONTENT]
    (store.folder / KEY).write_text('{"weights": "abd"}')
    assert list(stored_keys(tmp_path, "teacher")) == []
    check(SampleStore(tmp_path, "teacher", CONTENT), range(2))  # shards say whose they are
    fill(store, range(3))
    assert list(stored_keys(tmp_path, "teacher")) == [CONTENT]


def test_reads_are_views_of_the_mapped_file(store: SampleStore) -> None:
    fill(store, range(4))
    pointer = store.read("s1")["state"].data_ptr()
    assert store.read("s1")["state"].data_ptr() == pointer
    shard = str(next(store.folder.glob(PATTERN)))
    lines = Path("/proc/self/maps").read_text().splitlines()
    spans = [line.split()[0].split("-") for line in lines if line.endswith(shard)]
    assert any(int(start, 16) <= pointer < int(end, 16) for start, end in spans)
    shutil.rmtree(store.folder)  # what is mapped stays, and no read opens a file
    check(store, range(4))


def test_the_store_does_not_outgrow_its_limit(store: SampleStore, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="over its limit"):
        fill(store, range(1000), max_bytes=6000)
    kept = SampleStore(tmp_path, "teacher", CONTENT)
    assert 0 < len(kept) < 1000  # what fitted is kept
    check(kept, range(len(kept)))
    tensors = sum(
        t.numel() * t.element_size() for n in range(len(kept)) for t in values(n).values()
    )
    assert tensors <= 6000
    with pytest.raises(ValueError, match="already holds"):
        fill(kept, range(1000), max_bytes=6000)


def test_what_was_added_before_an_error_is_kept(store: SampleStore, tmp_path: Path) -> None:
    def fall_over() -> None:
        with store.writing(PLENTY) as writer:
            writer.add("s1", values(1))
            raise RuntimeError("the teacher fell over")

    with pytest.raises(RuntimeError, match="the teacher fell over"):
        fall_over()
    check(SampleStore(tmp_path, "teacher", CONTENT), range(1, 2))


# Writes samples of 1 MiB, a shard each, and notes every one that it computes.
SCRIPT = """
import sys, pathlib, torch
from trainables.recovery.teacher import sample_store
root, name, count = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
sample_store.SHARD_BYTES = 1
store = sample_store.SampleStore(root, "teacher", {"weights": "abc"})
with store.writing(2**40) as writer:
    for key in store.missing(f"s{n}" for n in range(count)):
        with open(root / "computed", "a") as log:
            log.write(f"{name} {key}\\n")
        writer.add(key, {"state": torch.full((256, 1024), float(key[1:]))})
"""


@pytest.fixture
def start(tmp_path: Path) -> Callable[[str, int], subprocess.Popen[bytes]]:
    def start(name: str, count: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path), name, str(count)])

    return start


def check_large(store: SampleStore) -> None:
    for number in range(len(store)):
        assert torch.equal(
            store.read(f"s{number}")["state"], torch.full((256, 1024), float(number))
        )


def test_a_killed_writer_loses_one_shard_at_most(
    tmp_path: Path, start: Callable[[str, int], subprocess.Popen[bytes]]
) -> None:
    folder = SampleStore(tmp_path, "teacher", {"weights": "abc"}).folder
    first = start("first", 100_000)
    deadline = time.monotonic() + 60
    while len(list(folder.glob(PATTERN))) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    (folder / "shard-00099.safetensors.part").write_bytes(b"unfinished")

    store = SampleStore(tmp_path, "teacher", {"weights": "abc"})
    survived = len(store)
    check_large(store)
    begun = len((tmp_path / "computed").read_text().split("\n")) - 1
    assert 5 <= survived
    assert begun - survived in (0, 1)
    assert start("second", survived + 3).wait() == 0
    store.refresh()
    assert len(store) == survived + 3
    check_large(store)
    lines = (tmp_path / "computed").read_text().splitlines()[begun:]
    assert lines == [f"second s{n}" for n in range(survived, survived + 3)]
    assert not list(folder.glob("*.part"))


def test_two_processes_at_once_compute_everything_once(
    tmp_path: Path, start: Callable[[str, int], subprocess.Popen[bytes]]
) -> None:
    processes = [start(name, 20) for name in ("first", "second")]
    assert [process.wait() for process in processes] == [0, 0]
    computed = [line.split()[1] for line in (tmp_path / "computed").read_text().splitlines()]
    assert sorted(computed) == sorted(f"s{n}" for n in range(20))
    store = SampleStore(tmp_path, "teacher", {"weights": "abc"})
    assert len(store) == 20
    check_large(store)
