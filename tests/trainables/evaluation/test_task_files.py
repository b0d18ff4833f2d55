"""Task files are generated once per content and split, and a missing parquet file is named."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from trainables.evaluation.task_files import write_task_files


def test_files_are_written_once_and_point_to_the_split(
    task_data: SimpleNamespace, tmp_path: Path
) -> None:
    search = write_task_files({"tiny": task_data}, "search", tmp_path)
    stamp = (search / "tiny_choice.yaml").stat().st_mtime_ns
    assert write_task_files({"tiny": task_data}, "search", tmp_path) == search
    assert (search / "tiny_choice.yaml").stat().st_mtime_ns == stamp
    other = write_task_files({"tiny": task_data}, "report", tmp_path)
    assert other != search
    config = yaml.safe_load((other / "tiny_choice.yaml").read_text())
    assert config["task"] == "tiny_choice"
    assert config["dataset_kwargs"]["data_files"]["test"] == str(
        task_data.tasks["choice"]["report"]
    )
    assert {p.name for p in tmp_path.iterdir() if p.is_dir()} == {search.name, other.name}


def test_what_a_killed_process_left_is_removed(task_data: SimpleNamespace, tmp_path: Path) -> None:
    written = write_task_files({"tiny": task_data}, "report", tmp_path)
    shutil.rmtree(written)
    left = written.with_name(f".{written.name}.0a1b2c3d.part")
    left.mkdir()
    assert write_task_files({"tiny": task_data}, "report", tmp_path) == written
    assert not left.exists()


def test_other_data_gets_another_folder(task_data: SimpleNamespace, tmp_path: Path) -> None:
    whole = write_task_files({"tiny": task_data}, "search", tmp_path)
    part = SimpleNamespace(tasks={"choice": task_data.tasks["choice"]})
    assert write_task_files({"tiny": part}, "search", tmp_path) != whole


def test_a_missing_parquet_file_is_named(tmp_path: Path) -> None:
    data = SimpleNamespace(tasks={"choice": {"search": tmp_path / "gone.parquet"}})
    with pytest.raises(ValueError, match=r"tiny_choice.*gone\.parquet"):
        write_task_files({"tiny": data}, "search", tmp_path / "tasks")
    with pytest.raises(ValueError, match="'report'"):
        write_task_files({"tiny": data}, "report", tmp_path / "tasks")
