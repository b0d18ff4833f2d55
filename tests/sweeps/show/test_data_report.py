"""`prunesweep data check` as a user sees it: counts, faults by id, and exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from sweeps.engine.cli import app


def check(*arguments: object, code: int) -> Any:
    given = ["data", "check", *map(str, arguments), "--workers", "1"]
    result = CliRunner().invoke(app, given, env={"COLUMNS": "120"})
    assert result.exit_code == code, (result.output, result.exception)
    return result


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Twelve samples in the LLaVA format, whose images lie in a folder of their own."""
    (tmp_path / "images").mkdir()
    turns = [{"from": "human", "value": "what ?"}, {"from": "gpt", "value": "a [cat]"}]
    rows = [{"id": i, "image": f"{i}.png", "conversations": turns} for i in range(12)]
    for i in range(12):
        Image.new("RGB", (8, 8)).save(tmp_path / "images" / f"{i}.png")
    path = tmp_path / "data.json"
    path.write_text(json.dumps(rows))
    return path


def test_a_clean_file(file: Path) -> None:
    shown = check(file, "--image-folder", file.parent / "images", code=0).stdout
    assert "12, of which 0 are text only" in shown
    assert "12 files" in shown
    assert "nothing is broken" in shown
    found = json.loads(
        check(file, "--image-folder", file.parent / "images", "--json", code=0).stdout
    )
    assert (found["samples"], found["turns"], found["broken"]) == (12, 12, {})


def test_broken_samples_exit_with_one(file: Path) -> None:
    folder = file.parent / "images"
    for i in range(1, 9):
        (folder / f"{i}.png").write_bytes(b"not [an] image")
    shown = check(file, "--image-folder", folder, code=1).stdout
    assert "unreadable image: 8" in shown
    assert "sample '1': image" in shown
    assert "and 3 more; --json lists all" in shown
    listed = json.loads(check(file, "--image-folder", folder, "--json", code=1).stdout)["broken"]
    assert [name for name, _ in listed["unreadable image"]] == [str(i) for i in range(1, 9)]


def test_a_file_of_which_nothing_can_be_used_is_listed(tmp_path: Path) -> None:
    chat = {"id": "chat", "messages": [{"role": "user", "content": "what ?"}]}
    film = {"id": "film", "video": "a.mp4"}
    (tmp_path / "data.json").write_text(json.dumps([chat, film]))
    shown = check(tmp_path / "data.json", code=1).stdout
    assert "sample 'chat' has `messages`, but no `conversations`" in shown
    assert "sample 'film' shows a video" in shown


def test_links_that_leave_the_folder(file: Path, tmp_path: Path) -> None:
    folder, moved = file.parent / "images", file.parent / "moved"
    folder.rename(moved)
    folder.mkdir()
    for i in range(12):
        (folder / f"{i}.png").symlink_to(moved / f"{i}.png")
    (moved / "3.png").unlink()
    shown = check(file, "--image-folder", folder, code=1).stdout
    assert "image outside its folder: 12" in shown
    assert "data.linked_folders" in shown
    shown = check(file, "--image-folder", folder, "--linked-folder", moved, code=1).stdout
    assert "image path '3.png' does not exist" in shown
    assert "11, of which 0 are text only" in shown


@pytest.mark.parametrize(
    ("content", "message"), [('[{"id": 1', "truncated"), ("[]", "no usable"), (None, "cannot read")]
)
def test_an_unreadable_file_exits_with_two(file: Path, content: str | None, message: str) -> None:
    file.unlink() if content is None else file.write_text(content)
    result = check(file, code=2)
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_lengths_with_a_model(file: Path) -> None:
    shown = check(file, "--image-folder", file.parent / "images", "--model", "tiny", code=0).stdout
    assert "per sample p5" in shown
