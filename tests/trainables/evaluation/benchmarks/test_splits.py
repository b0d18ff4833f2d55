"""Splits of whole images: disjoint, nested, the same in every process and in every benchmark."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.benchmark_hub import noise, write_hub

from trainables.evaluation.benchmarks import BENCHMARKS
from trainables.evaluation.benchmarks.copies import coco_number, find_copy
from trainables.evaluation.benchmarks.fetch import fetch
from trainables.evaluation.benchmarks.splits import select_rows, unit

IMAGES = tuple(f"image {i // 3}" for i in range(900))  # three questions on each of 300


def _images(rows: tuple[int, ...]) -> list[str]:
    return list(dict.fromkeys(IMAGES[row] for row in rows))


def test_the_splits_share_no_image_and_lose_none() -> None:
    search = select_rows("c", IMAGES, "search", 0.3)
    report = select_rows("c", IMAGES, "report", 0.3)
    assert not {IMAGES[r] for r in search} & {IMAGES[r] for r in report}
    assert sorted((*search, *report)) == list(range(900))
    # 300 draws at 0.3: 90 images, with a standard deviation of 8.
    assert 66 <= len(_images(search)) <= 114


def test_smaller_limits_are_the_beginning_of_larger_ones_in_whole_images() -> None:
    everything = select_rows("c", IMAGES, "search", 0.5)
    for limit in (1, 3, 4, 100, 10_000):
        some = select_rows("c", IMAGES, "search", 0.5, limit=limit)
        assert some == everything[: len(some)]
        assert len(some) == min(-(-limit // 3) * 3, len(everything))
        assert all(sorted(some[i : i + 3]) == list(some[i : i + 3]) for i in range(0, len(some), 3))


def test_the_seed_orders_the_images_and_leaves_their_sides() -> None:
    first, other = (select_rows("c", IMAGES, "search", 0.5, seed) for seed in (0, 1))
    assert set(first) == set(other)
    assert _images(first) != _images(other)
    again = select_rows("c", IMAGES, "search", 0.5, 1)
    assert again == other


def test_order_and_side_are_independent() -> None:
    """The first images of a split are not those that are nearest to the border."""
    sides = [unit("side", f"c:{image}") for image in _images(select_rows("c", IMAGES, "search", 1))]
    half = len(sides) // 2
    assert abs(sum(sides[:half]) - sum(sides[half:])) / half < 0.1  # four standard deviations


def test_a_larger_share_only_adds_images() -> None:
    small = select_rows("c", IMAGES, "search", 0.2)
    large = select_rows("c", IMAGES, "search", 0.6)
    assert set(small) < set(large)


def test_another_process_selects_the_same() -> None:
    code = (
        "from trainables.evaluation.benchmarks.splits import select_rows\n"
        "images = [f'image {i // 3}' for i in range(900)]\n"
        "print(*select_rows('c', images, 'search', 0.5, 7, 40))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    here = " ".join(map(str, select_rows("c", IMAGES, "search", 0.5, 7, 40)))
    assert {text.strip() for text in said} == {here}


@pytest.mark.parametrize("name", ["COCO_val2014_000000310196", "000000310196.jpg"])
def test_a_coco_image_has_one_name_in_all_years(name: str) -> None:
    assert coco_number(name) == 310196


def test_other_names_are_no_coco_images() -> None:
    with pytest.raises(ValueError, match=r"'figure\.png' is not the name of a COCO image"):
        coco_number("figure.png")


def test_benchmarks_of_one_collection_agree_on_the_side_of_an_image(data_folder: Path) -> None:
    """POPE asks about the images that COCO's captions describe."""
    copies = [find_copy(data_folder, task) for task in ("pope", "coco2017_cap_val")]
    assert set(copies[0].image_names) == set(copies[1].image_names)
    sides = [
        {
            copy.image_names[row]
            for row in select_rows(copy.benchmark.collection, copy.image_names, "search", 0.5)
        }
        for copy in copies
    ]
    assert sides[0] == sides[1]
    assert sides[0]


def test_pairs_and_questions_on_one_image_stay_together(data_folder: Path) -> None:
    for task in BENCHMARKS:
        copy = find_copy(data_folder, task)
        for split in ("search", "report"):
            rows = select_rows(copy.benchmark.collection, copy.image_names, split, 0.35, limit=3)
            images = {copy.image_names[row] for row in rows}
            whole = {row for row, image in enumerate(copy.image_names) if image in images}
            assert set(rows) == whole
            assert len(rows) >= min(3, copy.card.rows // 4)


# Where MME shows which picture (a number stands for its pixels), and the picture's name.
MME = [
    ("existence/000000000103.jpg", 1, "coco:103"),  # POPE shows it, too
    ("count/000000000103.jpg", 2, "coco:103"),  # stored anew
    ("position/0007.png", 1, "coco:103"),
    ("color/000000000104.jpg", 3, "coco:104"),
    ("OCR/0001.jpg", 4, None),
    ("text_translation/0009.png", 4, None),
    ("scene/Places365_val_00000103.jpg", 5, None),
    ("celebrity/tt0032138_shot_0395_img_0.jpg", 6, None),
    ("landmark/000000000103a.jpg", 7, None),
]


def test_a_picture_has_one_name_in_all_categories_and_both_benchmarks(
    data_folder: Path, tmp_path: Path
) -> None:
    rows = [
        {
            "question_id": key,
            "image": noise(pixels),
            "question": f"Is it? {answer}",
            "answer": answer,
            "category": key.partition("/")[0],
        }
        for answer in ("Yes", "No")
        for key, pixels, _ in MME
    ]
    write_hub(tmp_path / "hub", "mme", None, "test", rows)
    mme, _ = fetch(BENCHMARKS["mme"], tmp_path / "copies", source=tmp_path / "hub")
    names = mme.image_names[: len(MME)]
    assert mme.image_names == names * 2
    assert [n if n.startswith("coco:") else None for n in names] == [name for _, _, name in MME]
    own = names[4:]
    assert own[0] == own[1]
    assert len(set(own)) == 4
    pope = find_copy(data_folder, "pope")
    asked = pope.image_names.index("103")
    sides = set()
    for share in (0.1, 0.3, 0.5, 0.7, 0.9):
        search, searched = (
            select_rows(copy.benchmark.collection, copy.image_names, "search", share)
            for copy in (mme, pope)
        )
        for same in ([0, 1, 2, 9, 10, 11], [4, 5, 13, 14]):
            assert len({row in search for row in same}) == 1
        assert (0 in search) == (asked in searched)
        sides.add(0 in search)
    assert sides == {True, False}
