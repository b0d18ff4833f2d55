"""The gallery: a choice that cannot flatter, and pictures and questions as the models got them."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers.scored import evaluate
from helpers.trials import make_evaluation, make_trial
from PIL import Image

from trainables.common.files import read_json
from trainables.embedded import tiny_dataset as tiny
from trainables.embedded.data import EmbeddedData
from trainables.evaluation import harness
from trainables.evaluation.answering.generation import Answer
from trainables.evaluation.catalog import TASKS, embedded_tasks
from trainables.evaluation.request import EvaluationRequest
from trainables.evaluation.saved_tables import score_anew
from trainables.evaluation.task_files import write_task_files
from trainables.records import GALLERY, LOG, REPORT_SAMPLES, REPORT_SCORES, Gallery
from trainables.records.score_table import ScoreTable, TaskSamples
from trainables.trial import closing, gallery
from trainables.trial.asked import _truth
from trainables.trial.gallery import LARGEST_SIDE, choose, one_picture, write_gallery
from trainables.trial.jobs import ReportJob


def samples(images: int, task: str, seed: int = 0) -> TaskSamples:
    """Two questions about each image, with random scores and answers."""
    draw = np.random.default_rng(seed)
    count = 2 * images
    return TaskSamples(
        doc_ids=tuple(range(count)),
        image_ids=tuple(f"set:{i // 2}" for i in range(count)),
        scores=100.0 * draw.integers(0, 2, count),
        weights=np.ones(count),
        answers=tuple(f"{task} {x}" for x in draw.integers(0, 9, count)),
    )


def table(images: int = 30, tasks: tuple[str, ...] = ("c", "a", "b"), seed: int = 0) -> ScoreTable:
    return ScoreTable({task: samples(images, task, seed) for task in tasks})


def test_the_choice_is_spread_over_tasks_and_images() -> None:
    chosen = choose(table(), 8)
    assert Counter(task for task, *_ in chosen) == {"a": 3, "b": 3, "c": 2}
    assert len({image for *_, image in chosen}) == 8
    assert [task for task, *_ in chosen] == sorted(task for task, *_ in chosen)
    assert all(image == f"set:{doc // 2}" for _, doc, image in chosen)


def test_the_choice_does_not_look_at_scores_or_answers_or_order() -> None:
    chosen = choose(table(), 8)
    assert choose(table(seed=1), 8) == chosen
    assert choose(table(tasks=("a", "b", "c")), 8) == chosen
    # The first of a task is the one with the smallest digest of its names, computed here anew.
    names = [f"prunesweep gallery/a/set:{doc // 2}/{doc}" for doc in range(60)]
    first = min(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    assert choose(table(), 1) == [("a", int(first.rsplit("/", 1)[1]), first.split("/")[2])]


def test_a_longer_choice_contains_a_shorter_one() -> None:
    assert set(choose(table(), 5)) < set(choose(table(), 12))


def test_no_image_is_shown_twice_even_if_there_are_too_few() -> None:
    chosen = choose(table(images=3), 8)
    assert sorted(image for *_, image in chosen) == ["set:0", "set:1", "set:2"]
    assert choose(table(), 0) == []


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedData:
    """The embedded data, with fewer scenes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny, "SCENES", {"train": 4, "search": 4, "report": 40})
        return tiny.prepare(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def asked(
    data: EmbeddedData, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, ScoreTable, list[tuple[str, list[Any]]]]:
    """Task files of the report split, the samples of a model that says "red", what it was asked."""
    folder = write_task_files({"tiny": data}, "report", tmp_path_factory.mktemp("tasks"))
    seen: list[tuple[str, list[Any]]] = []

    def answer(questions: Any) -> list[Answer]:
        seen.extend((q.text, list(q.images())) for q in questions)
        return [Answer("red", unfinished=False) for _ in questions]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(harness, "Answerer", lambda *_: answer)
        _, found = evaluate(
            None,
            None,
            EvaluationRequest(tasks=embedded_tasks(), split="report", task_folder=folder),
        )
    return folder, found, seen


def write(asked: Any, folder: Path, count: int = 8, found: ScoreTable | None = None) -> Gallery:
    task_folder, answered, _ = asked
    return write_gallery(folder / GALLERY, found or answered, task_folder, count, folder / LOG)


def test_documents_equal_the_parquet_files_and_what_the_model_is_asked(
    asked: Any, data: EmbeddedData, tmp_path: Path
) -> None:
    shown = write(asked, tmp_path)
    assert read_json(tmp_path / GALLERY, Gallery) == shown
    assert len(shown.samples) == 8
    assert len({s.task for s in shown.samples}) == 5
    for sample in shown.samples:
        kind = sample.task.removeprefix("tiny_")
        rows = pq.read_table(data.tasks[kind]["report"]).to_pylist()
        row = rows[sample.doc_id]
        assert sample.image_id == f"tiny:{row['image_id']}"
        assert sample.truth == (row["answer"],)
        kept = Image.open(tmp_path / "gallery" / sample.picture)
        given = Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB")
        assert kept.size == given.size == (sample.width, sample.height)
        assert kept.tobytes() == given.tobytes()
        texts = [text for text, (image,) in asked[2] if image.tobytes() == kept.tobytes()]
        assert sample.question in texts
        assert row["question"].strip() == sample.question


def test_it_is_written_once_and_kept_when_a_sweep_is_extended(asked: Any, tmp_path: Path) -> None:
    few = ScoreTable({name: s.take(s.doc_ids[:20]) for name, s in asked[1].tasks.items()})
    first = write(asked, tmp_path, found=few)
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "gallery").iterdir()}
    assert write(asked, tmp_path) == first, "more samples do not change what is shown"
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "gallery").iterdir()} == stamps
    assert len(write(asked, tmp_path, count=3).samples) == 3


def test_a_crash_midway_leaves_no_gallery_and_the_next_call_writes_it(
    asked: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[str] = []
    save = gallery._save

    def full_disk(picture: Image.Image, folder: Path, name: str) -> str:
        if len(saved) == 2:
            raise OSError(28, "No space left on device")
        saved.append(name)
        return save(picture, folder, name)

    monkeypatch.setattr(gallery, "_save", full_disk)
    with pytest.raises(OSError, match="No space"):
        write(asked, tmp_path)
    assert not (tmp_path / GALLERY).exists()
    monkeypatch.undo()
    shown = write(asked, tmp_path)
    held = {p.name for p in (tmp_path / "gallery").iterdir()}
    assert held == {"gallery.json", *(s.picture for s in shown.samples)}


def test_a_question_about_several_images_is_one_picture() -> None:
    red, blue = Image.new("RGB", (40, 20), "red"), Image.new("RGB", (10, 30), "blue")
    sheet = one_picture([red, blue, red])
    assert sheet.size == (40 + 8 + 10, 30 + 8 + 20)
    assert sheet.getpixel((0, 0)) == sheet.getpixel((0, 38)) == (255, 0, 0)
    assert sheet.getpixel((48, 29)) == (0, 0, 255)
    assert sheet.getpixel((44, 10)) == (255, 255, 255)
    assert one_picture([]).getextrema() == ((255, 255),) * 3
    assert one_picture([Image.new("L", (1000, 500))]).size == (LARGEST_SIDE, LARGEST_SIDE // 2)


@pytest.fixture
def public(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Task files of MME and POPE over a few rows: lmms-eval's own functions and prompts."""
    import datasets
    import yaml

    colours = ("red", "blue", "green")
    rows = [
        {"image": Image.new("RGB", (700, 350), colour), "category": category, "answer": answer,
         "question_id": f"{colour}.png", "question": f"Is it {colour}? Please answer yes or no."}
        for answer in ("Yes", "No")  # the two questions of an image do not stand together
        for category in ("color", "code_reasoning")
        for colour in colours
    ]  # fmt: skip
    features = {name: datasets.Value("string") for name in rows[0]} | {"image": datasets.Image()}
    data = datasets.Dataset.from_list(rows, features=datasets.Features(features))
    data.to_parquet(tmp_path / "data.parquet")
    folder = tmp_path / "tasks"
    folder.mkdir()
    for name in ("mme", "pope"):
        known = TASKS[name]
        monkeypatch.setitem(TASKS, name, known.model_copy(update={"embedded": True}))
        (folder / f"{name}_utils.py").write_text(f"from lmms_eval.tasks.{name}.utils import *")
        asks = {"pre_prompt": "", "post_prompt": "\nAnswer the question using one word."}
        task: dict[str, Any] = {
            "task": name,
            "dataset_path": "parquet",
            "dataset_kwargs": {"data_files": {"test": str(tmp_path / "data.parquet")}},
            "test_split": "test",
            "output_type": "generate_until",
            "doc_to_target": "answer",
            "lmms_eval_specific_kwargs": {"default": asks},
            "metric_list": [{"metric": "exact_match", "aggregation": "mean"}],
        }
        text = yaml.safe_dump(task)
        for key in ("doc_to_visual", "doc_to_text"):
            text += f"{key}: !function {name}_utils.{name}_{key}\n"
        (folder / f"{name}.yaml").write_text(text)
    return folder


def test_public_tasks_show_their_own_prompts_and_mme_both_questions(
    public: Path, tmp_path: Path
) -> None:
    def one(doc: int, image: str) -> TaskSamples:
        return TaskSamples((doc,), (image,), np.array([100.0]), np.ones(1), ("Yes",))

    tasks = {"mme_cognition": one(4, "mme:blue.png"), "pope": one(2, "coco:green.png")}
    found = ScoreTable(tasks)
    shown = write_gallery(tmp_path / GALLERY, found, public, 8, tmp_path / LOG)
    pair, single = shown.samples
    asked = "Is it {}?\nAnswer the question using one word."
    assert (pair.task, pair.truth) == ("mme_cognition", ("Yes | No",))
    assert pair.question == f"{asked.format('blue')} | {asked.format('blue')}"
    assert single.truth == ("Yes",)
    assert single.question == "Is it green? Please answer yes or no.\n" + asked[asked.index("A") :]
    for sample, colour in ((pair, (0, 0, 255)), (single, (0, 128, 0))):
        assert sample.picture.endswith(".jpg")
        with Image.open(tmp_path / "gallery" / sample.picture) as picture:
            assert picture.size == (sample.width, sample.height) == (336, 168)
            assert np.allclose(picture.getpixel((5, 5)), colour, atol=3)


def test_every_accepted_answer_is_a_truth() -> None:
    assert _truth([["a cat", "one cat"]]) == ("a cat", "one cat")
    assert _truth([3]) == ("3",)


def test_scores_stand_when_the_gallery_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "demo" / "trials" / "a"
    folder.mkdir(parents=True)
    record = make_trial("a").record
    scores = make_evaluation("report", 0.9, 0.01, dense=False)
    asked = SimpleNamespace(task_folder=tmp_path / "report")
    inputs = SimpleNamespace(spec=record.spec, request=lambda split, limit: asked)

    def broken(*_: Any) -> None:
        raise KeyError("image")

    monkeypatch.setattr(closing, "_inputs", lambda folder, store, copies: (inputs, record))
    monkeypatch.setattr(closing, "load_plan", lambda folder: None)
    monkeypatch.setattr(closing, "finished_student", lambda *_: None)
    monkeypatch.setattr(closing, "keep_scores", lambda *_, **__: score_anew)
    monkeypatch.setattr(closing, "score", lambda *_, **__: (scores, table()))
    monkeypatch.setattr(closing, "write_gallery", broken)
    job = ReportJob(trial_id="a", folder=folder, store=tmp_path, attempt="x", gallery=8)
    assert closing.score_report_split(job) == scores
    assert ScoreTable.load(folder / REPORT_SAMPLES).samples == table().samples
    assert (folder / REPORT_SCORES).exists()
    assert "the gallery was not written: KeyError: 'image'" in (folder / LOG).read_text()
    (folder / LOG).unlink()
    closing.score_report_split(job.model_copy(update={"gallery": 0}))
    assert not (folder / LOG).exists()
