"""Files of a ledger that cannot be read: one message, the same in every command, and it goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.command_line import invoke
from helpers.ledgers import old_quickstart

from trainables.common import files

TRIAL = "006-widthwise-45-none"
DAMAGES: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:300]),
    "empty": lambda path: path.write_bytes(b""),
    "no object": lambda path: path.write_text("[]"),
    "another": lambda path: path.write_text('{"record_version": 99}'),
    "bytes": lambda path: path.write_bytes(b"\xff\xfe{}"),
}
READING = ("status", "status quickstart", "frontier quickstart", "recommend quickstart")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return old_quickstart(tmp_path)


def asked(command: str, folder: Path, code: int = 0) -> tuple[str, list[str]]:
    """What a command prints, and the lines on stderr."""
    files._passed_over.clear()  # all commands of a test run in one process
    done = invoke(*command.split(), "--storage", folder.parent, code=code)
    return done.stdout, done.stderr.splitlines()


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("command", [*READING, "spider quickstart", "plan quickstart"])
def test_a_damaged_record_is_passed_over(folder: Path, damage: str, command: str) -> None:
    path = folder / "trials" / TRIAL / "record.json"
    DAMAGES[damage](path)
    (told,) = asked("status", folder)[1]
    assert told.startswith(f"'{path}' cannot be read (")
    assert told.endswith("move the file away, and `prunesweep run` repeats the trial.")
    assert asked(command, folder)[1] == [told]


@pytest.mark.parametrize("command", ["export", "evaluate"])
def test_a_trial_with_a_damaged_record_has_no_model(folder: Path, command: str) -> None:
    DAMAGES["truncated"](folder / "trials" / TRIAL / "record.json")
    (told,) = asked("status", folder)[1]
    more = f"--to {folder}/out" if command == "export" else ""
    assert asked(f"{command} {TRIAL} {more}", folder, code=2)[1] == [f"error: {told}"]


def test_a_damaged_trial_is_marked(folder: Path) -> None:
    DAMAGES["empty"](folder / "trials" / TRIAL / "record.json")
    (found,) = json.loads(asked("status quickstart --json", folder)[0])
    assert found["counts"] == {"completed": 19, "damaged": 1}
    assert found["trials"][TRIAL] == "damaged"
    assert found["damaged"].keys() == {TRIAL}


def test_a_run_passes_over_a_damaged_record_and_writes_the_rest_again(folder: Path) -> None:
    """A request and the sweep follow from what is sound; a record is never rewritten."""
    record = folder / "trials" / TRIAL / "record.json"
    others = [folder / "trials" / name / "spec.json" for name in ("dense", "005-layerwise-45-none")]
    keys = [json.loads(path.read_text())["key"] for path in others]
    for path in (record, *others, folder / "sweep.json"):
        DAMAGES["truncated"](path)
    left = record.read_bytes()
    text, told = asked("run quickstart", folder, code=1)
    assert "19 trials completed, 0 stopped early, 0 failed, 1 damaged; 0 jobs in this run." in text
    assert sum(f"'{record}' cannot be read" in line for line in told) == 1
    assert record.read_bytes() == left
    assert [json.loads(path.read_text())["key"] for path in others] == keys
    assert asked("status", folder)[1] == [line for line in told if str(record) in line]


@pytest.mark.parametrize("name", ["forecast.json", "used_up.json", "over_budget.json"])
def test_what_a_run_left_word_of_may_be_damaged(folder: Path, name: str) -> None:
    (folder / name).write_text("{")
    (told,) = asked("status quickstart", folder)[1]
    assert f"'{folder / name}' cannot be read" in told


def test_a_damaged_report_leaves_the_search_split(folder: Path) -> None:
    path = folder / "trials" / "019-layerwise-15-none" / "report.json"
    DAMAGES["truncated"](path)
    (told,) = asked("recommend quickstart", folder)[1]
    assert told.startswith(f"'{path}'")
    assert told.endswith("`prunesweep run` closes it again.")


def test_damaged_answers_are_compared_without_pairs(folder: Path) -> None:
    path = folder / "trials" / "dense" / "report_samples.parquet"
    path.write_bytes(path.read_bytes()[:500])
    (told,) = asked("frontier quickstart", folder)[1]
    assert told.startswith(f"'{path}' cannot be read (")
