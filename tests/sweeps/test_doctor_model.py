"""`prunesweep doctor --model`: what to mend of a model, and what it answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.command_line import invoke, refused
from helpers.family_checkpoints import BROKEN, TOKENIZER, edit, save_family
from PIL import Image

from trainables.common.store import Store
from trainables.specs import EvaluationSpec, ModelSpec, TrialSpec
from trainables.trial.evaluate import score
from trainables.trial.inputs import load_inputs

TASKS = ("tiny_choice", "tiny_counting")


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage whose embedded data are generated once."""
    return tmp_path_factory.mktemp("runs")


def examined(model: object, storage: Path, code: int) -> tuple[dict[str, Any], list[Any]]:
    """(level, text) by subject, and the answers."""
    given = ("--model", model, "--tasks", ",".join(TASKS), "--storage", storage, "--json")
    found = json.loads(invoke("doctor", *given, code=code).stdout)
    return {f["what"]: (f["level"], f["text"]) for f in found["findings"]}, found["answers"]


def test_a_model_that_can_be_tried_shows_what_it_answers(storage: Path) -> None:
    found, answers = examined("tiny", storage, 0)
    assert {level for level, _ in found.values()} == {"ok"}
    assert found["several turns"][1] == "25 tokens, 9 of images and 4 of answers"
    assert [row["task"] for row in answers] == [t for t in TASKS for _ in range(8)]
    right = [row["answer"] == row["truth"][0] for row in answers]
    assert right == [row["score"] == 100 for row in answers]
    assert right.count(True) > 12
    assert found["tiny_choice"][1] == f"{sum(right[:8])} of 8 answers score"
    table = invoke("doctor", "--model", "tiny", "--tasks", TASKS[0], "--storage", storage).stdout
    assert table.count(answers[0]["question"]) == 1
    assert table.count("tiny_choice") == 4, "one line of what was found, three answers"


def test_own_questions_are_asked_too(storage: Path, tmp_path: Path) -> None:
    rows, images = [], tmp_path / "images"
    images.mkdir()
    for at in range(8):
        Image.new("RGB", (48, 48), (30 * at, 0, 200)).save(images / f"{at}.png")
        row = {"image": f"{at}.png", "question": "How many circles are there?"}
        rows.append({**row, "answers": ["0", "1", "2", "3", "4", "purple"]})
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(rows))
    given = ("doctor", "--model", "tiny", "--tasks", file, "--storage", storage)
    assert "image '0.png' is not in" in refused(*given)
    found = json.loads(invoke(*given, "--image-folder", images, "--json").stdout)
    (line,) = (f for f in found["findings"] if f["what"] == "mine")
    assert line["text"].endswith("answers score")
    assert {row["question"] for row in found["answers"]} == {row["question"]}


@pytest.mark.parametrize("broken", BROKEN)
def test_what_is_broken_is_named_and_a_trial_would_fail(
    broken: str, storage: Path, tmp_path: Path
) -> None:
    breaks, what = BROKEN[broken]
    breaks(save_family("internvl-qwen2", tmp_path / "model"))
    found, answers = examined(tmp_path / "model", storage, 2)
    assert [subject for subject, (level, _) in found.items() if level == "error"] == [what]
    assert answers == []


def test_a_folder_that_is_no_checkpoint(storage: Path, tmp_path: Path) -> None:
    found, _ = examined(tmp_path, storage, 2)
    level, text = found["checkpoint"]
    assert level == "error"
    assert "has no config.json" in text


def test_image_tokens_are_compared_with_what_the_model_makes(storage: Path, tmp_path: Path) -> None:
    """Only the model knows, where the number depends on the size of an image."""
    folder = save_family("internvl-qwen2", tmp_path / "model")
    edit(folder / "processor_config.json", image_seq_length=3)
    found, _ = examined(folder, storage, 2)
    assert "writes 9 tokens for 1 images" in found["one turn"][1]
    assert "the model makes 12 of them" in found["one turn"][1]


def test_tokens_without_a_row_are_a_warning(storage: Path, tmp_path: Path) -> None:
    folder = save_family("llava-llama", tmp_path / "model")
    tokens = json.loads((folder / "tokenizer.json").read_text())
    tokens["model"]["vocab"]["far"] = 200
    (folder / "tokenizer.json").write_text(json.dumps(tokens))
    found, _ = examined(folder, storage, 2)
    assert found["vocabulary"][0] == "warning"
    assert "1 tokens have no row among the embedding's 64 ('far')" in found["vocabulary"][1]


def test_a_model_that_scores_nothing_shows_its_answers(storage: Path, tmp_path: Path) -> None:
    folder = save_family("llava-llama", tmp_path / "model")
    found, answers = examined(folder, storage, 2)
    assert found["answers"][1].startswith("none of 16 scores, and a sweep refuses")
    assert len(answers) == 16
    settings = EvaluationSpec(tasks=TASKS, search_limit=4)
    spec = TrialSpec(model=ModelSpec(path=str(folder)), evaluation=settings)
    inputs = load_inputs(spec, Store(storage / "store"), data=False)
    with pytest.raises(ValueError, match="the dense model scores 0 on every task") as error:
        score(inputs, inputs.dense.model, "search", tmp_path / "log.txt", "reference")
    said = str(error.value)
    assert answers[8]["task"] == "tiny_counting"  # whose questions are short enough to stay whole
    row = answers[8]
    asked = f"tiny_counting: {row['question']!r} was answered {row['answer']!r}, right is "
    assert asked + repr(row["truth"][0]) in said
    for row in answers[:2]:
        question = row["question"]
        shown = question if len(question) <= 80 else f"{question[:80]}..."
        assert f"tiny_choice: {shown!r} was answered " in said
    assert said.count("was answered") == 3


def test_a_model_without_an_end_of_answers_is_refused_by_a_sweep(tmp_path: Path) -> None:
    folder = save_family("llava-llama", tmp_path / "model")
    edit(folder / TOKENIZER, eos_token=None)
    given = ("evaluate", folder, "--tasks", TASKS[0], "--storage", tmp_path / "runs")
    assert "end of answers: the tokenizer has no" in invoke(*given, code=2).stderr
