"""Every benchmark as a small dataset in the hub's layout and schema."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

PIXELS = 24


def noise(seed: int) -> Image.Image:
    """An image of random pixels."""
    return Image.frombytes("RGB", (PIXELS, PIXELS), random.Random(seed).randbytes(3 * PIXELS**2))


def _texts(*names: str) -> dict[str, Any]:
    import datasets

    return {name: datasets.Value("string") for name in names}


def _features(task: str) -> dict[str, Any]:
    """The columns of the hub's dataset, with those that no task reads."""
    import datasets

    value, image = datasets.Value, datasets.Image()
    texts, integer = datasets.List(value("string")), value("int64")
    found: dict[str, dict[str, Any]] = {
        "gqa": {
            **_texts("id", "imageId", "question", "answer", "fullAnswer"),
            "isBalanced": value("bool"),
            **_texts("entailed", "equivalent", "semanticStr"),
        },
        "gqa_images": {"id": value("string"), "image": image},
        "scienceqa_img": {
            "image": image,
            "question": value("string"),
            "choices": texts,
            "answer": value("int8"),
            **_texts("hint", "task", "grade", "subject", "topic", "category", "skill"),
            **_texts("lecture", "solution"),
        },
        "pope": {
            **_texts("id", "question_id", "question", "answer", "image_source"),
            "image": image,
            "category": value("string"),
        },
        "mme": {
            "question_id": value("string"),
            "image": image,
            **_texts("question", "answer", "category"),
        },
        "mmmu_val": {
            **_texts("id", "question", "options", "explanation"),
            **{f"image_{i}": image for i in range(1, 8)},
            **_texts("img_type", "answer", "topic_difficulty", "question_type", "subfield"),
        },
        "ai2d": {
            "question": value("string"),
            "options": texts,
            "answer": value("string"),
            "image": image,
        },
        "docvqa_val": {
            **_texts("questionId", "question"),
            "question_types": texts,
            "image": image,
            "docId": integer,
            **_texts("ucsf_document_id", "ucsf_document_page_no"),
            "answers": texts,
            "data_split": value("string"),
        },
        "mathvista_testmini_format": {
            **_texts("pid", "question", "image"),
            "decoded_image": image,
            "choices": texts,
            "unit": value("string"),
            "precision": value("float64"),
            **_texts("answer", "question_type", "answer_type"),
            "metadata": {
                **_texts("category", "context", "grade"),
                "img_height": integer,
                "img_width": integer,
                **_texts("language"),
                "skills": texts,
                **_texts("source", "split", "task"),
            },
            "query": value("string"),
        },
        "coco2017_cap_val": {
            "question_id": value("string"),
            "image": image,
            "question": value("string"),
            "answer": texts,
            "id": integer,
            "license": value("int8"),
            **_texts("file_name", "coco_url"),
            "height": value("int32"),
            "width": value("int32"),
            "date_captured": value("string"),
        },
        "nocaps_val": {
            "image": image,
            **_texts("image_coco_url", "image_date_captured", "image_file_name"),
            "image_height": value("int32"),
            "image_width": value("int32"),
            "image_id": value("int32"),
            "image_license": value("int8"),
            "image_open_images_id": value("string"),
            "annotations_ids": datasets.List(value("int32")),
            "annotations_captions": texts,
            "image_domain": value("string"),
        },
    }
    return found[task]


def gqa_rows() -> list[dict[str, Any]]:
    """Three questions on each of four images."""
    return [
        {
            "id": f"20{i}",
            "imageId": f"n{i // 3}",
            "question": f"What color is thing {i}?",
            "answer": ("red", "green", "blue")[i % 3],
        }
        for i in range(12)
    ]


def _scienceqa() -> list[dict[str, Any]]:
    return [
        {
            "image": noise(i // 2),  # two questions show the same picture
            "question": f"Which is number {i}?",
            "choices": ["zero", "one", "two"],
            "answer": i % 3,
            "hint": "Look closely." if i == 0 else "",
        }
        for i in range(8)
    ]


def pope_rows() -> list[dict[str, Any]]:
    """Four questions on each of six images."""
    return [
        {
            "id": str(i),
            "question_id": str(i),
            "question": f"Is there a thing {i} in the image?",
            "answer": ("yes", "no")[i % 2],
            "image_source": f"COCO_val2014_{100 + i // 4:012d}",
            "image": noise(i // 4),
            "category": "popular",
        }
        for i in range(24)
    ]


def _mme() -> list[dict[str, Any]]:
    rows = []
    for category in ("existence", "count", "code_reasoning"):
        for image in range(4):
            for answer in ("Yes", "No"):
                rows.append(
                    {
                        "question_id": f"{category}/{image:04d}.png",
                        "image": noise(50 + len(rows) // 2),
                        "question": f"Is {category} {image} {answer}? Please answer yes or no.",
                        "answer": answer,
                        "category": category,
                    }
                )
    return rows


def _mmmu() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {
            "id": f"validation_{('Art', 'Math')[i % 2]}_{i + 1}",
            "question": f"<image 1> What is figure {i}?",
            "options": "['a circle', 'a square', 'a star']",
            "answer": "ABC"[i % 3],
            "question_type": "multiple-choice",
            "image_1": noise(70 + i),
        }
        for i in range(6)
    ]
    rows[1] |= {"question": "Compare <image 1> with <image 2>.", "image_2": noise(90)}
    rows.append(
        {
            "id": "validation_Math_99",
            "question": "What is 6 times 7? <image 1>",
            "options": "[]",
            "answer": "42",
            "question_type": "open",
            "image_1": noise(91),
        }
    )
    return rows


def _ai2d() -> list[dict[str, Any]]:
    return [
        {
            "question": f"What does part {i} show?",
            "options": ["leaf", "root", "stem", "flower"],
            "answer": str(i % 4),
            "image": noise(100 + i // 2),
        }
        for i in range(8)
    ]


def _docvqa() -> list[dict[str, Any]]:
    return [
        {
            "questionId": str(i),
            "question": f"What is field {i}?",
            "question_types": ["form"],
            "image": noise(120 + i // 2),
            "docId": i // 4,
            "ucsf_document_id": f"abc{i // 4}",
            "ucsf_document_page_no": str(i // 2 % 2),
            "answers": ["university", "the university"] if i == 0 else [f"value{i}"],
            "data_split": "val",
        }
        for i in range(8)
    ]


def _mathvista() -> list[dict[str, Any]]:
    def row(pid: int, **given: Any) -> dict[str, Any]:
        return {
            "pid": str(pid),
            "question": f"What is quantity {pid}?",
            "image": f"images/{pid}.jpg",
            "decoded_image": noise(140 + pid),
            "query": f"Question: What is quantity {pid}?",
            "metadata": {
                "category": "general-vqa",
                "context": "chart",
                "grade": "daily life",
                "img_height": PIXELS,
                "img_width": PIXELS,
                "language": "english",
                "skills": ["arithmetic reasoning"],
                "source": "made",
                "split": "testmini",
                "task": "figure question answering",
            },
            **given,
        }

    choice = {"question_type": "multi_choice", "answer_type": "text"}
    free = {"question_type": "free_form"}
    return [
        row(1, **choice, choices=["3/11", "8/11", "6/11"], answer="8/11"),
        row(2, **free, answer_type="integer", answer="14"),
        row(3, **free, answer_type="float", precision=2.0, answer="1.45"),
        row(4, **choice, choices=["yes", "no"], answer="no"),
        row(5, **free, answer_type="integer", answer="7", unit="cm"),
        row(6, **free, answer_type="float", precision=1.0, answer="0.6"),
    ]


CAPTIONS = (
    "a brown dog runs across the grass",
    "two people ride a red bicycle",
    "a bowl of fruit on a wooden table",
    "a train arrives at the station",
    "a cat sleeps on a blue sofa",
    "a boat floats on a calm lake",
)


def _references(text: str) -> list[str]:
    """Two references, equal but for what the tokenizer takes away."""
    return [text, f"{text.capitalize()}."]


def _coco() -> list[dict[str, Any]]:
    return [
        {
            # POPE shows the same images, under the names of another year.
            "question_id": f"{100 + i:012d}.jpg",
            "image": noise(i),
            "question": "Please carefully observe the image and come up with a caption.",
            "answer": _references(text),
            "id": 1000 + i,
        }
        for i, text in enumerate(CAPTIONS)
    ]


def _nocaps() -> list[dict[str, Any]]:
    return [
        {"image": noise(200 + i), "image_id": i, "annotations_captions": _references(text)}
        for i, text in enumerate(CAPTIONS)
    ]


ROWS: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "gqa": gqa_rows,
    "scienceqa_img": _scienceqa,
    "pope": pope_rows,
    "mme": _mme,
    "mmmu_val": _mmmu,
    "ai2d": _ai2d,
    "docvqa_val": _docvqa,
    "mathvista_testmini_format": _mathvista,
    "coco2017_cap_val": _coco,
    "nocaps_val": _nocaps,
}


def write_hub(
    folder: Path,
    task: str,
    config: str | None,
    split: str,
    rows: Sequence[dict[str, Any]],
    **other: Sequence[dict[str, Any]],
) -> None:
    """A dataset as the hub stores it: parquet per config and split, and a card that names them."""
    import datasets
    import yaml

    entries = []
    parts = {config or "default": (task, rows)} | {
        c: (f"{task}_images", r) for c, r in other.items()
    }
    for name, (kind, content) in parts.items():
        features = datasets.Features(_features(kind))
        full = [{column: row.get(column) for column in features} for row in content]
        target = folder / (name if config else "data")
        target.mkdir(parents=True, exist_ok=True)
        data = datasets.Dataset.from_list(full, features=features)
        data.to_parquet(target / f"{split}-00000-of-00001.parquet")
        entries.append(
            {
                "config_name": name,
                "data_files": [{"split": split, "path": f"{target.name}/{split}-*"}],
            }
        )
    front = yaml.safe_dump({"license": "cc-by-4.0", "configs": entries})
    (folder / "README.md").write_text(f"---\n{front}---\n# {task}\n")


def write_hubs(folder: Path) -> None:
    """A dataset in the hub's layout for every benchmark, below `folder` by its task's name."""
    from trainables.evaluation.benchmarks import BENCHMARKS

    for task, known in BENCHMARKS.items():
        other = {}
        if known.images_config:
            images = [{"id": f"n{i}", "image": noise(10 + i)} for i in range(4)]
            other[known.images_config] = images
        write_hub(folder / task, task, known.config, known.split, ROWS[task](), **other)
