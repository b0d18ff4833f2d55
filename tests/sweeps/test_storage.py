"""Storages that cannot be used: one clear line, exit code 2, nothing started."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from helpers.command_line import invoke, refused


def test_storage_that_is_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for command in ("run quickstart", "status", "frontier quickstart"):
        assert "https://bucket/x is no storage: give a folder that all machines see" in refused(
            *command.split(), "--storage", "https://bucket/x"
        )
    monkeypatch.setenv("PRUNESWEEP_STORAGE", "az://bucket")
    assert "pip install 'prunesweep[az]'" in refused("status")
    assert "leave it out" in refused("launch", "quickstart", "--on", "slurm")
    assert list(tmp_path.iterdir()) == []


def test_object_storage_that_cannot_be_used(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRUNESWEEP_CACHE", str(tmp_path))
    for command in (("status",), ("frontier", "quickstart")):
        assert "Create the bucket 'nobody-has-this'" in refused(
            *command, "--storage", "s3://nobody-has-this/x"
        )
    said = invoke("status", "--storage", f"{bucket}/nothing").stdout
    assert f"No sweep has run in {bucket}/nothing yet" in said


def test_storage_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    message = refused("run", "quickstart", "--storage", tmp_path / "file" / "runs")
    assert "cannot be written" in message
    assert "--storage" in message


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 10**6))
    assert "MiB are free" in refused("run", "quickstart", "--storage", tmp_path)
