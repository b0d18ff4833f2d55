"""Copies that cannot be read, and machines that lack something: one sentence with the way out."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainables.evaluation.benchmarks import BENCHMARKS
from trainables.evaluation.benchmarks.checks import (
    altered_files,
    check_copy,
    check_needs,
    image_faults,
    missing_images,
)
from trainables.evaluation.benchmarks.copies import CARD, find_copy
from trainables.evaluation.benchmarks.preparing import check_benchmarks
from trainables.specs import EvaluationSpec

SHARE = 0.35  # of the tests' few images, some are on either side


@pytest.fixture
def changed(data_folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """`changed(task, change, file)`: a data folder whose copy has `change(table)` as its table."""

    def make(
        task: str, change: Callable[[pa.Table], pa.Table], file: str = "questions.parquet"
    ) -> Path:
        shutil.copytree(data_folder / task, tmp_path / task)
        path = tmp_path / task / file
        pq.write_table(change(pq.read_table(path)), path)
        card = json.loads((tmp_path / task / CARD).read_text())
        card["files"][file]["size_bytes"] = path.stat().st_size
        (tmp_path / task / CARD).write_text(json.dumps(card))
        return tmp_path

    return make


def _with_bytes(table: pa.Table, row: int, content: bytes | None, column: str = "image") -> Any:
    cells = table[column].to_pylist()
    cells[row] = None if content is None else {"bytes": content, "path": None}
    at = table.schema.get_field_index(column)
    return table.set_column(at, table.schema.field(column), pa.array(cells, table[column].type))


@pytest.mark.parametrize("task", list(BENCHMARKS))
def test_a_fetched_copy_passes(task: str, data_folder: Path) -> None:
    check_copy(find_copy(data_folder, task), SHARE)


def test_no_folder_and_no_copy(tmp_path: Path, data_folder: Path) -> None:
    spec = EvaluationSpec(tasks=("pope", "tiny_choice"))
    check_benchmarks(spec, needed=False)  # a plan goes without
    with pytest.raises(ValueError, match=r"data fetch pope --to DIR.*data_folder=DIR"):
        check_benchmarks(spec)
    somewhere = spec.model_copy(update={"data_folder": str(tmp_path)})
    for needed in (True, False):
        with pytest.raises(ValueError, match=r"no copy of task 'pope' in .*`prunesweep data fetch"):
            check_benchmarks(somewhere, needed)
    there = {"data_folder": str(data_folder), "search_share": SHARE}
    check_benchmarks(spec.model_copy(update=there))


def test_wrong_columns_are_named(changed: Callable[..., Path]) -> None:
    def spoil(table: pa.Table) -> pa.Table:
        table = table.drop_columns(["choices"])
        at = table.schema.get_field_index("answer")
        return table.set_column(at, "answer", pa.array(["A"] * len(table)))

    copy = find_copy(changed("scienceqa_img", spoil), "scienceqa_img")
    with pytest.raises(
        ValueError, match=r"'choices' is missing; 'answer' holds string, not integers"
    ):
        check_copy(copy, SHARE)


def test_a_missing_or_cut_file_is_named(changed: Callable[..., Path]) -> None:
    folder = changed("gqa", lambda table: table)
    (folder / "gqa" / "images.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"images\.parquet has 4 bytes, but its card says"):
        find_copy(folder, "gqa")
    (folder / "gqa" / "images.parquet").unlink()
    with pytest.raises(ValueError, match=r"has no file images\.parquet; run `prunesweep data"):
        find_copy(folder, "gqa")
    (folder / "gqa" / CARD).write_text("{")
    with pytest.raises(ValueError, match=r"copy\.json cannot be read"):
        find_copy(folder, "gqa")


def test_an_unreadable_image_is_named_by_its_row(changed: Callable[..., Path]) -> None:
    folder = changed("pope", lambda table: _with_bytes(table, 5, b"no picture"))
    with pytest.raises(ValueError, match=r"row 5 of .*questions\.parquet: .*cannot be read \(cann"):
        check_copy(find_copy(folder, "pope"), SHARE)


def test_a_late_unreadable_image_is_found_by_the_full_check_alone(
    changed: Callable[..., Path],
) -> None:
    folder = changed(
        "pope", lambda table: _with_bytes(_with_bytes(table, 17, b"\x89PNG\r\n"), 20, None)
    )
    copy = find_copy(folder, "pope")
    check_copy(copy, SHARE)
    seen: list[tuple[str, int, int | None]] = []
    faults = list(image_faults(copy, progress=lambda *done: seen.append(done)))
    assert [fault.split(" of ")[0] for fault in faults] == ["row 17", "row 20"]
    assert faults[1].endswith("(there is no image)")
    assert seen == [("pope", 24, 24)]
    assert "questions.parquet" in altered_files(copy)[0]


def test_an_image_that_no_table_holds_is_named(changed: Callable[..., Path]) -> None:
    folder = changed("gqa", lambda table: table.slice(1), "images.parquet")
    (fault,) = missing_images(find_copy(folder, "gqa"))
    assert fault.startswith("image 'n0', which 3 questions of ")


def test_a_broken_pair_is_refused(changed: Callable[..., Path]) -> None:
    folder = changed("mme", lambda table: table.slice(0, 23))
    names = folder / "mme" / "image_names.json"
    kept = json.loads(names.read_text())[:23]
    names.write_text(json.dumps(kept))
    card = json.loads((folder / "mme" / CARD).read_text())
    card["files"]["image_names.json"]["size_bytes"] = names.stat().st_size
    (folder / "mme" / CARD).write_text(json.dumps(card))
    with pytest.raises(ValueError, match=r"exactly 2 questions.*code_reasoning/0003\.png': 1"):
        check_copy(find_copy(folder, "mme"), SHARE)


def test_a_copy_that_names_images_by_question_is_refused(changed: Callable[..., Path]) -> None:
    folder = changed("mme", lambda table: table)
    names = [f"existence/{i // 2:04d}.png" for i in range(24)]
    (folder / "mme" / "image_names.json").write_text(json.dumps(names))
    card = json.loads((folder / "mme" / CARD).read_text())
    size = (folder / "mme" / "image_names.json").stat().st_size
    card["files"]["image_names.json"]["size_bytes"] = size
    (folder / "mme" / CARD).write_text(json.dumps(card))
    with pytest.raises(ValueError, match=r"as an earlier version did.*data fetch mme .*--again"):
        check_copy(find_copy(folder, "mme"), SHARE)


def test_an_empty_split_is_refused(data_folder: Path) -> None:
    with pytest.raises(ValueError, match=r"none of the 4 images.*search split at .*share=0\.001"):
        check_copy(find_copy(data_folder, "gqa"), 0.001)


def test_a_machine_without_java_or_a_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValueError, match=r"needs java for its scores.*install a Java runtime"):
        check_needs(BENCHMARKS["coco2017_cap_val"])
    check_needs(BENCHMARKS["pope"])
    monkeypatch.setitem(sys.modules, "Levenshtein", None)
    with pytest.raises(ValueError, match=r"needs Levenshtein.*prunesweep\[mathvista\]"):
        check_needs(BENCHMARKS["mathvista_testmini_format"])


def test_an_image_that_breaks_during_the_evaluation_is_named_by_its_row(
    changed: Callable[..., Path], tmp_path: Path, answer_by: Callable[..., None]
) -> None:
    from helpers.scored import evaluate

    from trainables.evaluation.benchmarks.task_yaml import benchmark_files
    from trainables.evaluation.request import EvaluationRequest
    from trainables.evaluation.task_files import arrow_cache, write_task_files

    copy = find_copy(changed("ai2d", lambda table: _with_bytes(table, 6, b"no picture")), "ai2d")
    files = benchmark_files(copy, (7, 6), arrow_cache(tmp_path))
    folder = write_task_files({}, "search", tmp_path / "tasks", files)

    answer_by(lambda question: f"{len(question.images())}")
    with pytest.raises(ValueError, match=r"row 6 of .*ai2d/questions\.parquet: its image cannot"):
        evaluate(None, None, EvaluationRequest(tasks=("ai2d",), split="search", task_folder=folder))
