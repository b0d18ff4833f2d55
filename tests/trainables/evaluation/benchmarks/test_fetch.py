"""Fetching from a folder in the hub's layout: the code path of the hub, without a network."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from trainables.evaluation.benchmarks import BENCHMARKS
from trainables.evaluation.benchmarks.checks import check_schema, image_faults, missing_images
from trainables.evaluation.benchmarks.copies import find_copy, read_copy
from trainables.evaluation.benchmarks.fetch import fetch


@pytest.mark.parametrize("task", list(BENCHMARKS))
def test_a_copy_holds_the_columns_that_the_task_reads(
    task: str, hub: Path, data_folder: Path
) -> None:
    known, copy = BENCHMARKS[task], find_copy(data_folder, task)
    check_schema(copy)
    assert list(image_faults(copy)) == missing_images(copy) == []
    assert pq.read_schema(copy.questions).names == list(known.columns)
    assert set(copy.card.columns) == set(known.columns)
    assert copy.card.licence == "cc-by-4.0"  # of the card in `hub`
    assert (copy.card.hub, copy.card.split) == (known.hub, known.split)
    assert pq.read_metadata(copy.questions).num_rows == copy.card.rows == len(copy.image_names)


def test_images_are_copied_byte_for_byte_and_typed(hub: Path, data_folder: Path) -> None:
    import datasets

    (original,) = (hub / "pope" / "data").glob("*.parquet")
    copy = find_copy(data_folder, "pope")
    columns = ["image"]
    assert pq.read_table(copy.questions, columns=columns).equals(
        pq.read_table(original, columns=columns), check_metadata=False
    )
    loaded = datasets.Dataset.from_parquet(str(copy.questions))
    assert isinstance(loaded.features["image"], datasets.Image)


def test_a_copy_is_made_once_and_again_only_when_asked(hub: Path, tmp_path: Path) -> None:
    known = BENCHMARKS["pope"]
    copy, new = fetch(known, tmp_path, source=hub / "pope")
    assert new
    same, new = fetch(known, tmp_path, source=hub / "nowhere")  # not looked at
    assert not new
    assert same.card == copy.card
    other, new = fetch(known, tmp_path, source=hub / "pope", again=True)
    assert new
    assert other.digest == copy.digest  # the same content, whenever it was fetched
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["pope"]


def test_a_killed_fetch_leaves_no_copy_and_the_next_one_works(hub: Path, tmp_path: Path) -> None:
    """Killed by the kernel once its files are written, and before they count."""
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from trainables.evaluation.benchmarks import BENCHMARKS\n"
        "from trainables.evaluation.benchmarks import fetch as module\n"
        "module.os.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "module.fetch(BENCHMARKS['pope'], Path(sys.argv[1]), source=Path(sys.argv[2]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), str(hub / "pope")], capture_output=True
    )
    assert done.returncode == -9
    assert (tmp_path / ".pope.part" / "copy.json").is_file()
    with pytest.raises(ValueError, match="no copy of task 'pope'"):
        find_copy(tmp_path, "pope")
    copy, new = fetch(BENCHMARKS["pope"], tmp_path, source=hub / "pope")
    assert new
    assert not (tmp_path / ".pope.part").exists()
    assert read_copy(copy.folder).card == copy.card


def test_without_a_hub_the_sentence_says_where_to_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from trainables.evaluation.benchmarks import BENCHMARKS\n"
        "from trainables.evaluation.benchmarks.fetch import fetch\n"
        "try:\n"
        "    fetch(BENCHMARKS['pope'], Path(sys.argv[1]))\n"
        "except ValueError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert "lmms-lab-encoder/POPE, the data of task 'pope', cannot be fetched (" in done.stdout
    assert "run this on a machine that reaches huggingface.co" in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == [".pope.lock"]


def test_a_source_without_the_columns_or_the_split_is_refused(hub: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no columns options for task 'ai2d', but id, "):
        fetch(BENCHMARKS["ai2d"], tmp_path, source=hub / "pope")
    with pytest.raises(ValueError, match=r"'mme' scores images with exactly 2 questions"):
        fetch(BENCHMARKS["mme"], tmp_path, source=hub / "pope")  # it happens to have the columns
    with pytest.raises(ValueError, match=r"has no split 'validation', but test"):
        fetch(BENCHMARKS["nocaps_val"], tmp_path, source=hub / "pope")
    with pytest.raises(ValueError, match="'DocVQA'"):
        fetch(BENCHMARKS["docvqa_val"], tmp_path, source=hub / "pope")
    broken = tmp_path / "broken"
    shutil.copytree(hub / "pope", broken)
    (file,) = (broken / "data").glob("*.parquet")
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"broken cannot be read as the data of task 'pope'"):
        fetch(BENCHMARKS["pope"], tmp_path, source=broken)
    assert not (tmp_path / "pope").exists()


def test_a_full_disk_is_not_blamed_on_the_source(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(datasets.Dataset, "to_parquet", full)
    with pytest.raises(ValueError, match=r"no room for the data of task 'pope' \(No space left"):
        fetch(BENCHMARKS["pope"], tmp_path, source=hub / "pope")
    assert [path.name for path in tmp_path.iterdir()] == [".pope.lock"]


def test_the_card_names_every_file_with_its_digest(data_folder: Path) -> None:
    card = json.loads((data_folder / "gqa" / "copy.json").read_text())
    assert set(card["files"]) == {"questions.parquet", "images.parquet", "image_names.json"}
    for name, file in card["files"].items():
        assert (data_folder / "gqa" / name).stat().st_size == file["size_bytes"]
        assert len(file["sha256"]) == 64
