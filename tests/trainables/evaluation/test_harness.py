"""Evaluation through lmms-eval: known scores, clusters, repeatability, and no trace left behind."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.scored import evaluate

from trainables.evaluation.answering.generation import Answer
from trainables.evaluation.benchmarks.benchmark import IMAGE_NAME
from trainables.evaluation.catalog import TASKS
from trainables.evaluation.isolation import isolated
from trainables.evaluation.request import EvaluationRequest
from trainables.evaluation.sample_scores import task_rows
from trainables.evaluation.saved_tables import keep_in, remove_saved_tables
from trainables.evaluation.scoring import report
from trainables.evaluation.task_files import write_task_files
from trainables.records.score_table import ScoreTable

TASK_NAMES = ("tiny_attribute", "tiny_choice")


def questions(folder: Path, tasks: tuple[str, ...] = TASK_NAMES, **more: Any) -> EvaluationRequest:
    """What a model is asked on the search split."""
    return EvaluationRequest(tasks=tasks, split="search", task_folder=folder, **more)


def test_known_answers_give_known_scores(
    say: Callable[..., None], task_folder: Path, task_data: SimpleNamespace
) -> None:
    # Answers "Red." everywhere: right on questions 0, 4 and 8 of `attribute`, never on `choice`.
    say(lambda text: " Red. ")
    got, table = evaluate(None, None, questions(task_folder))
    assert got.tasks["tiny_attribute"].score == pytest.approx(100 * 3 / 12)
    assert got.tasks["tiny_choice"].score == 0.0
    assert got.average == pytest.approx(12.5)
    assert got.tasks["tiny_attribute"].samples == 12
    assert got.tasks["tiny_attribute"].chance == TASKS["tiny_attribute"].chance
    rows = table.tasks["tiny_attribute"]
    assert list(np.flatnonzero(rows.scores)) == [0, 4, 8]
    assert rows.answers[0].strip() == "Red."
    assert rows.image_ids == tuple(f"tiny:{r['image_id']}" for r in task_data.rows["attribute"])
    # Right once on images 0, 1 and 2, never on image 3: sums of (s - 25) / 12 are 25/12 three
    # times and -75/12, so sqrt(4 / 3 * (3 * 25^2 + 75^2)) / 12.
    expected = np.sqrt(4 / 3 * (3 * 25**2 + 75**2)) / 12
    assert got.tasks["tiny_attribute"].stderr == pytest.approx(expected)


def test_limit_takes_the_first_samples(say: Callable[..., None], task_folder: Path) -> None:
    say(lambda text: "red")
    got, table = evaluate(None, None, questions(task_folder, limit=5))
    assert [t.samples for t in got.tasks.values()] == [5, 5]
    assert got.tasks["tiny_attribute"].score == pytest.approx(100 * 2 / 5)
    assert table.tasks["tiny_attribute"].doc_ids == (0, 1, 2, 3, 4)


def test_retention_is_paired_with_the_dense_table(
    say: Callable[..., None], task_folder: Path
) -> None:
    say(lambda text: "red" if "red" in text else "green")
    _, dense = evaluate(None, None, questions(task_folder, tasks=("tiny_attribute",)))
    say(lambda text: "red")
    got, _ = evaluate(
        None, None, questions(task_folder, tasks=("tiny_attribute",), limit=10), dense
    )
    assert got.dense_average == pytest.approx(60.0)
    assert got.retention == pytest.approx(0.5)
    assert got.retention_se is not None
    assert got.retention_se > 0


def test_a_real_model_twice_in_one_process(model: Any, processor: Any, task_folder: Path) -> None:
    before = {name: p.clone() for name, p in model.named_parameters()}
    first = evaluate(model, processor, questions(task_folder, batch_size=5))
    again = evaluate(model, processor, questions(task_folder, batch_size=3))
    assert first[0].samples_per_second is not None
    for a, b in zip(first[1].tasks.values(), again[1].tasks.values(), strict=True):
        assert a.answers == b.answers
        assert len(set(a.answers)) > 2
    assert report("search", ScoreTable(first[1].tasks)) == report(
        "search", ScoreTable(again[1].tasks)
    )
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_no_trace_is_left(
    model: Any,
    processor: Any,
    task_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    launch = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "3"}
    for name, value in launch.items():
        monkeypatch.setenv(name, value)
    timeout = torch.distributed.distributed_c10d.default_pg_timeout
    random.seed(1)
    torch.manual_seed(3)
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    got, _ = evaluate(model, processor, questions(task_folder), log=tmp_path / "log.txt")
    assert [t.samples for t in got.tasks.values()] == [12, 12]  # not a quarter of them
    assert {name: os.environ[name] for name in launch} == launch
    assert torch.distributed.distributed_c10d.default_pg_timeout == timeout
    assert random.getstate() == states[0]
    assert (np.random.get_state()[1] == states[1]).all()
    assert torch.equal(torch.get_rng_state(), states[2])
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""
    assert "tiny_attribute" in (tmp_path / "log.txt").read_text()


def test_a_live_group_of_workers_is_not_waited_for(
    say: Callable[..., None], task_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch.distributed as dist

    def never() -> None:
        raise AssertionError("a barrier that the other workers do not join")

    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "get_rank", lambda: 0)
    monkeypatch.setattr(dist, "barrier", never)
    say(lambda text: "red")
    evaluate(None, None, questions(task_folder, tasks=("tiny_attribute",)))
    assert dist.is_initialized()


def test_nan_logits_give_no_score(
    build_model: Callable[..., Any], processor: Any, task_folder: Path
) -> None:
    model = build_model()
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    state = torch.get_rng_state()
    with pytest.raises(ValueError, match="task 'tiny_attribute': the model's logits are NaN"):
        evaluate(model, processor, questions(task_folder))
    assert torch.equal(torch.get_rng_state(), state)


def test_mme_scores_equal_lmms_evals_own() -> None:
    from lmms_eval.tasks.mme.utils import eval_type_dict, mme_aggregate_results

    rng = random.Random(0)
    logged: list[dict[str, Any]] = []
    for part, categories in (("perception", "Perception"), ("cognition", "Cognition")):
        for category in eval_type_dict[categories]:
            for image in range(rng.randint(2, 5)):
                for _ in range(2):
                    entry = {
                        "question_id": f"{category}/{image}.png",
                        "category": category,
                        "score": float(rng.random() < 0.6),
                    }
                    logged.append(
                        {
                            "doc_id": len(logged),
                            "doc": {IMAGE_NAME: str(len(logged) // 2)},
                            "filtered_resps": ["yes"],
                            f"mme_{part}_score": entry,
                        }
                    )
    got = report("report", ScoreTable(task_rows(TASKS["mme"], logged)))
    for part, scale in (("perception", 20), ("cognition", 8)):
        key = f"mme_{part}_score"
        theirs = mme_aggregate_results([s[key] for s in logged if key in s]) / scale
        assert got.tasks[f"mme_{part}"].score == pytest.approx(theirs)
        assert got.tasks[f"mme_{part}"].chance == 37.5


def test_blank_images_are_grey_of_the_same_size_and_change_answers(
    model: Any, processor: Any, task_folder: Path
) -> None:
    """With the same grey image everywhere, equal questions get equal answers."""
    from PIL import Image

    from trainables.evaluation.answering.wrapper import blank

    shown = blank(Image.effect_noise((20, 30), 50).convert("RGB"))
    assert (shown.size, shown.mode) == ((20, 30), "RGB")
    assert shown.getextrema() == ((128, 128),) * 3

    def answers(blank_images: bool) -> tuple[str, ...]:
        _, table = evaluate(
            model,
            processor,
            questions(task_folder, tasks=("tiny_attribute",), blank_images=blank_images),
        )
        return table.tasks["tiny_attribute"].answers

    seen, blind = answers(False), answers(True)
    assert blind[:4] == blind[4:8] == blind[8:], "questions repeat every four"
    assert seen != blind


@pytest.fixture
def broken_folder(
    tmp_path: Path,
    make_rows: Callable[..., list[dict[str, Any]]],
    make_parquet: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Path]:
    """A function that writes task files of two kinds, after a change to the rows of `choice`."""
    # lmms-eval tries to score an answer five times, 2 s apart.
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)

    def write(change: Callable[[list[dict[str, Any]]], None]) -> Path:
        files = {}
        for kind in ("attribute", "choice"):
            rows = make_rows(kind)
            if kind == "choice":
                change(rows)
            files[kind] = {"search": make_parquet(tmp_path / f"{kind}.parquet", rows)}
        return write_task_files(
            {"tiny": SimpleNamespace(tasks=files)}, "search", tmp_path / "tasks"
        )

    return write


def no_answers(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        row["answer"] = None


def test_a_task_that_crashes_leaves_the_scores_of_the_others(
    say: Callable[..., None], broken_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder, log = broken_folder(no_answers), tmp_path / "log.txt"
    say(lambda text: "red")
    got, table = evaluate(None, None, questions(folder), log=log)
    assert list(got.tasks) == list(table.tasks) == ["tiny_attribute"]
    assert got.average == pytest.approx(25.0)
    assert list(got.failed) == ["tiny_choice"]
    assert got.failed["tiny_choice"].startswith("AttributeError: 'NoneType' object has no")
    text = log.read_text()
    assert "Traceback" in text
    assert "tiny_attribute: 12 questions" in text
    with pytest.raises(ValueError, match="no task could be scored: task 'tiny_choice'"):
        evaluate(None, None, questions(folder, tasks=("tiny_choice",)))


def test_an_image_that_cannot_be_read_is_named_by_its_row(
    model: Any, processor: Any, broken_folder: Callable[..., Path]
) -> None:
    def spoil(rows: list[dict[str, Any]]) -> None:
        rows[5]["image"] = {"bytes": b"not an image", "path": None}

    folder = broken_folder(spoil)
    got, _ = evaluate(model, processor, questions(folder))
    assert got.failed["tiny_choice"].startswith(
        "row 5 of split 'test': its image cannot be read (UnidentifiedImageError"
    )
    assert got.tasks["tiny_attribute"].samples == 12


def test_a_task_that_the_dense_base_failed_on_counts_as_failed(
    say: Callable[..., None], task_folder: Path, broken_folder: Callable[..., Path]
) -> None:
    say(lambda text: "red")
    _, dense = evaluate(None, None, questions(broken_folder(no_answers)))
    got, table = evaluate(None, None, questions(task_folder), dense)
    assert got.retention == pytest.approx(1.0)
    assert list(got.tasks) == list(table.tasks) == ["tiny_attribute"]
    assert "the dense base has no score on it (AttributeError" in got.failed["tiny_choice"]


def test_kept_tables_are_not_asked_for_again(
    say: Callable[..., None], task_folder: Path, broken_folder: Callable[..., Path], tmp_path: Path
) -> None:
    def score(folder: Path, **key: Any) -> Any:
        keep = keep_in(tmp_path, key)
        return evaluate(None, None, questions(folder), keep=keep)

    say(lambda text: "red")
    score(broken_folder(no_answers), model="a")
    say(lambda text: "C")
    got, table = score(task_folder, model="a")
    assert not got.failed
    assert set(table.tasks["tiny_attribute"].answers) == {"red"}, "kept before the crash"
    assert set(table.tasks["tiny_choice"].answers) == {"C"}, "the task that had crashed"
    _, other = score(task_folder, model="b")
    assert set(other.tasks["tiny_attribute"].answers) == {"C"}, "another model's"
    remove_saved_tables(tmp_path)
    _, anew = score(task_folder, model="a")
    assert set(anew.tasks["tiny_attribute"].answers) == {"C"}


def test_unfinished_answers_are_counted_and_saved(
    model: Any, processor: Any, task_folder: Path, tmp_path: Path
) -> None:
    """The random model says more than two tokens to nearly everything, and ends before 60."""
    shares = {}
    for limit in (1, 2, 60):
        got, table = evaluate(model, processor, questions(task_folder, max_new_tokens=limit))
        shares[limit] = got.tasks["tiny_attribute"].unfinished
        assert shares[limit] == np.mean(table.tasks["tiny_attribute"].unfinished)
        table.save(tmp_path / "table.parquet")
        again = ScoreTable.load(tmp_path / "table.parquet")
        for name, rows in table.tasks.items():
            assert again.tasks[name].unfinished == rows.unfinished
            assert len(rows.unfinished) == 12
    assert shares[1] >= shares[2] > shares[60]


def test_no_answer_is_longer_than_the_longest_allowed() -> None:
    with isolated(None):
        from trainables.evaluation.answering.wrapper import MOST_NEW_TOKENS, InMemoryModel
    asked: list[int] = []

    def note(questions: Any) -> list[Answer]:
        asked.extend(q.max_new_tokens for q in questions)
        return [Answer("", False) for _ in questions]

    settings = ({"max_new_tokens": 10**9}, {"max_new_tokens": None}, {})
    requests = [
        SimpleNamespace(args=("?", given, None, i, "task", "test"))
        for i, given in enumerate(settings)
    ]
    InMemoryModel(note).generate_until(requests)
    assert asked == [MOST_NEW_TOKENS, 16, 16]
