"""Working copies of an object store, against a real S3 server: two machines are two caches."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trainables.common.attempts import claim, claim_within, owned
from trainables.common.cache import VARIABLE
from trainables.common.copies import (
    fetched,
    is_there,
    pull,
    put_rest,
    remote_of,
    remove,
    touch,
    url_of,
    working_copy,
)
from trainables.common.files import replace_file, write_json
from trainables.common.objects import Objects, ObjectStoreError, objects_at
from trainables.records import ASKED, CHECKPOINT, LOG, RECORD, REQUEST, STAGE, TRAINED

On = Callable[[str], Path]


@pytest.fixture
def url(bucket: str) -> str:
    """A storage of its own."""
    return f"{bucket}/{uuid.uuid4().hex[:8]}"


@pytest.fixture
def objects(url: str) -> Objects:
    return objects_at(url)


@pytest.fixture
def on(url: str, tmp_path: Path) -> Iterator[On]:
    """A function that goes to a machine, which is a cache, and returns its working copy."""
    with pytest.MonkeyPatch.context() as patch:

        def go(machine: str) -> Path:
            patch.setenv(VARIABLE, str(tmp_path / machine))
            return working_copy(url)

        yield go


def _trial(copy: Path) -> Path:
    folder = copy / "sweep" / "trials" / "001"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_an_object_is_created_once_and_put_again_counts_as_put(objects: Objects) -> None:
    assert objects.create("a/b", b"one")
    assert objects.create("a/b", b"one"), "its answer may have been lost on the way"
    assert not objects.create("a/b", b"two")
    assert objects.read("a/b") == b"one"
    objects.put("a/b", b"three")
    assert objects.listed("a")["a/b"].size == 5
    assert objects.listed("a")["a/b"].md5 == "35d6d33467aae9a2e3dccb4b6b027878"  # md5sum's
    assert objects.listed("a/none") == {}
    assert objects.folders() == ["a"]
    objects.delete(["a/b", "a/none"])
    with pytest.raises(FileNotFoundError):
        objects.read("a/b")


RACER = """
import sys
from trainables.common.objects import objects_at
objects = objects_at(sys.argv[1])
print("ready", flush=True)
for name in sys.stdin:
    print(int(objects.create(name.strip(), sys.argv[2].encode())), flush=True)
"""


def test_of_two_processes_one_creates_an_object(url: str) -> None:
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, url, str(i)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for i in range(2)
    ]  # fmt: skip
    wins = []
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for race in range(20):
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write(f"race/{race}\n")
            racer.stdin.flush()
        won = [int(racer.stdout.readline()) for racer in racers if racer.stdout]
        assert sum(won) == 1
        assert objects_at(url).read(f"race/{race}") == str(won.index(1)).encode()
        wins.append(won.index(1))
    for racer in racers:
        racer.communicate()


def test_what_cannot_be_used_is_said_in_a_sentence(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ObjectStoreError, match="Create the bucket 'nobody-has-this'"):
        objects_at("s3://nobody-has-this/x").listed()
    for other in ("http://host/x", "s3://", "ftp://a/b"):
        with pytest.raises(ValueError, match="s3://BUCKET/PREFIX, gs://"):
            objects_at(other)
    with pytest.raises(ValueError, match=r"pip install 'prunesweep\[az\]'"):
        objects_at("az://container/x")


def test_missing_credentials_name_their_variables(bucket: str) -> None:
    code = f"from trainables.common.objects import objects_at; objects_at('{bucket}').listed()"
    kept = {k: v for k, v in os.environ.items() if k not in ("AWS_ACCESS_KEY_ID", "HOME")}
    kept |= {"AWS_EC2_METADATA_DISABLED": "true", "HOME": "/nowhere"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=kept, capture_output=True, text=True, check=False
    )
    assert "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_ENDPOINT_URL" in done.stderr


def test_an_ordinary_folder_has_no_object(tmp_path: Path, on: On, url: str) -> None:
    copy = on("a")
    assert remote_of(tmp_path / "x") is None
    assert (url_of(copy), url_of(copy / "sweep"), url_of(tmp_path)) == (url, "", "")
    assert working_copy(url + "/") == copy


def test_what_is_written_on_one_machine_is_read_on_another(on: On, objects: Objects) -> None:
    trial = _trial(on("a"))
    for name in (REQUEST, STAGE, "plan.json", CHECKPOINT, TRAINED, "attempt.json"):
        replace_file(trial / name, name.encode())
    (trial / LOG).write_text("one line\n")
    put_rest(trial)
    assert set(objects.listed("sweep/trials")) == {
        f"sweep/trials/001/{name}" for name in (REQUEST, STAGE)
    }
    other = _trial(on("b"))
    pull(other.parents[1], rest=False)
    assert {p.name for p in other.iterdir()} == {REQUEST, STAGE}
    pull(other)
    assert {p.name for p in other.iterdir()} == {REQUEST, STAGE, "plan.json", LOG}
    pull(other, checkpoint=True)
    assert (other / CHECKPOINT).read_bytes() == CHECKPOINT.encode()
    assert fetched(other / TRAINED).read_bytes() == TRAINED.encode()


def test_a_pull_gets_what_changed_and_forgets_what_is_gone(on: On) -> None:
    mine = _trial(on("a"))
    replace_file(mine / REQUEST, b"1")
    replace_file(mine / STAGE, b"load")
    (mine / LOG).write_text("one\ntwo\n")
    put_rest(mine)
    theirs = _trial(on("b"))
    pull(theirs)
    (theirs / LOG).write_text("one\ntwo\nthree, not put yet\n")
    on("a")
    replace_file(mine / STAGE, b"plan")  # as long as before
    on("b")
    pull(theirs)
    assert (theirs / STAGE).read_bytes() == b"plan"
    assert (theirs / LOG).read_text().endswith("not put yet\n")
    on("a")
    remove(mine / STAGE)
    on("b")
    pull(theirs.parents[1])
    assert not (theirs / STAGE).exists()
    on("a")
    remove(mine / REQUEST)
    on("b")
    pull(theirs.parents[1])
    assert not theirs.exists()


def test_what_goes_between_listing_and_fetching_is_no_error(
    on: On, objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = _trial(on("a"))
    replace_file(mine / REQUEST, b"1")
    replace_file(mine / STAGE, b"load")
    theirs, listed = _trial(on("b")), objects.listed

    def then_gone(*given: object) -> object:
        found = listed(*given)  # type: ignore[arg-type]
        objects.delete([f"sweep/trials/001/{STAGE}"])
        return found

    monkeypatch.setattr(objects, "listed", then_gone)
    pull(theirs)
    assert {p.name for p in theirs.iterdir()} == {REQUEST}


def test_of_two_records_the_first_one_counts_everywhere(on: On) -> None:
    first = _trial(on("a"))
    write_json(first / RECORD, {"by": "a"})
    second = _trial(on("b"))
    with pytest.raises(FileExistsError, match="never rewritten"):
        write_json(second / RECORD, {"by": "b"})
    assert (second / RECORD).read_bytes() == (first / RECORD).read_bytes()
    assert {p.name for p in second.iterdir()} == {RECORD}


def test_a_claim_on_one_machine_refuses_the_writer_on_another(on: On) -> None:
    mine = _trial(on("a"))
    claim(mine, "first")
    start = claim_within(mine, "first")
    with owned(mine, start):
        pass
    theirs = _trial(on("b"))
    claim(theirs, "second")
    on("a")
    for stale in ("first", start):
        with pytest.raises(RuntimeError, match="001 belongs to attempt second"):
            write_json(mine / STAGE, {}, owned(mine, stale))
    with pytest.raises(RuntimeError, match="stale"):
        claim_within(mine, "first")
    assert not (mine / STAGE).exists()
    on("b")
    write_json(theirs / STAGE, {}, owned(theirs, "second"))


def test_what_one_machine_leaves_another_finds_and_takes_away(on: On) -> None:
    here = _trial(on("here")) / ASKED
    assert not is_there(here)
    touch(here)
    there = _trial(on("there")) / ASKED
    assert is_there(there)
    remove(there)
    on("here")
    assert not is_there(here)
