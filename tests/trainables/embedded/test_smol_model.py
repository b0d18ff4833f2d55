"""The second embedded model, put together from the language model's package and our parts."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from trainables.common.weights import checkpoint_contents
from trainables.embedded import smol_dataset as dataset
from trainables.embedded import smol_model as model
from trainables.embedded.smol_pictures import KINDS
from trainables.models.dense import DenseModel, load_dense
from trainables.models.families.registry import MODELS, language_shape
from trainables.specs import ModelSpec

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder() -> Path:
    try:
        return model.put_together()
    except ValueError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def dense(folder: Path) -> DenseModel:
    return load_dense(ModelSpec(path="smol"))


def test_the_folder_is_what_the_registry_says(folder: Path, dense: DenseModel) -> None:
    said = json.loads((folder / "config.json").read_text())
    known = MODELS["smol"].config
    assert known is not None
    for part in ("text_config", "vision_config"):
        assert {key: said[part][key] for key in known[part]} == known[part]
    assert sum(p.numel() for p in dense.model.parameters()) == MODELS["smol"].params
    assert dense.shape == language_shape(ModelSpec(path="smol"))
    assert "/" not in said["text_config"].get("_name_or_path", "")
    assert (folder / "LICENSE").read_text().lstrip().startswith("Apache License")


def test_made_again_it_is_the_same(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "folder", lambda: tmp_path / "again")
    assert checkpoint_contents(model.put_together()) == checkpoint_contents(folder)


def test_it_answers_held_out_questions(dense: DenseModel, tmp_path: Path) -> None:
    from helpers.greedy_answers import answer

    from trainables.evaluation.answering.generation import Question

    try:
        data = dataset.prepare(tmp_path)
    except ValueError as error:
        pytest.skip(str(error))
    import io

    from PIL import Image

    for kind in KINDS:
        rows = pq.read_table(data.tasks[kind]["search"]).slice(0, 24).to_pylist()
        images = [Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB") for row in rows]
        asked = [
            Question(row["question"], lambda image=image: [image], 3)  # type: ignore[misc]
            for row, image in zip(rows, images, strict=True)
        ]
        said = answer(dense.model, dense.processor, asked, 24)
        right = sum(a.strip() == row["answer"] for a, row in zip(said, rows, strict=True))
        assert right >= 20, (kind, said)
