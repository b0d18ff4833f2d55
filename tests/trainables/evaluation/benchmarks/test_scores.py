"""lmms-eval's own task code on real schemas: prompts as they reach the model, scores by hand.

`reply` stands in for the model; everything between the parquet file and the score is the real code.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from trainables.evaluation.benchmarks import BENCHMARKS
from trainables.evaluation.benchmarks.checks import check_needs
from trainables.evaluation.benchmarks.copies import find_copy
from trainables.evaluation.catalog import TASKS

SHORT = "\nAnswer the question using a single word or phrase."
LETTER = "\nAnswer with the option's letter from the given choices directly."

PROMPTS = {
    "gqa": f"What color is thing 0?{SHORT}",
    "scienceqa_img": f"Context: Look closely.\nWhich is number 0?\nA. zero\nB. one\nC. two{LETTER}",
    "pope": f"Is there a thing 0 in the image?{SHORT}",
    "mme": f"Is existence 0 Yes?{SHORT}",
    "mmmu_val": f"<image 1> What is figure 0?\nA. a circle\nB. a square\nC. a star\n{LETTER}",
    "ai2d": f"What does part 0 show?\nA. leaf\nB. root\nC. stem\nD. flower{LETTER}",
    "docvqa_val": f"What is field 0?{SHORT}",
    "mathvista_testmini_format": f"What is quantity 1?\nA. 3/11\nB. 8/11\nC. 6/11{LETTER}",
    "coco2017_cap_val": "Provide a one-sentence caption for the provided image.",
    "nocaps_val": "Provide a one-sentence caption for the provided image.",
}
NEW_TOKENS = {
    "gqa": 16,
    "scienceqa_img": 16,
    "pope": 128,
    "mme": 16,
    "mmmu_val": 128,
    "ai2d": 16,
    "docvqa_val": 32,
    "mathvista_testmini_format": 512,  # ours; the task's is 16384
    "coco2017_cap_val": 64,
    "nocaps_val": 64,
}


def _needs(task: str) -> None:
    """Skip where this machine cannot score the task: no Java, or not MathVista's package."""
    try:
        check_needs(BENCHMARKS[task])
    except ValueError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("task", list(BENCHMARKS))
def test_prompt_images_and_answer_length_reach_the_model(
    task: str,
    run: Callable[..., Any],
    rows_of: Callable[[str], list[dict[str, Any]]],
    make_image: Callable[[int], Image.Image],
) -> None:
    _needs(task)
    done = run(task, lambda question: "yes")
    first, row = done.asked[0], rows_of(task)[0]
    assert first.text == PROMPTS[task]
    assert first.max_new_tokens == NEW_TOKENS[task]
    (shown,) = first.images()
    assert shown.mode == "RGB"
    pictures = [cell for cell in row.values() if isinstance(cell, Image.Image)]
    (own,) = pictures or [make_image(10)]  # GQA's lie in a table of their own
    assert shown.tobytes() == own.tobytes()
    assert len(done.asked) == len(rows_of(task))


def _by_text(replies: dict[str, str], otherwise: str = "nothing") -> Callable[[Any], str]:
    """The reply whose key the question's text holds."""

    def reply(question: Any) -> str:
        return next((said for key, said in replies.items() if key in question.text), otherwise)

    return reply


HAND: dict[str, tuple[Callable[[Any], str], Sequence[int] | None, float]] = {
    # Every third answer is red; case and full stop do not count.
    "gqa": (lambda question: "Red.", None, 100 * 4 / 12),
    # Right are the first, fourth and seventh of eight; a letter with its text counts, (A) does not.
    "scienceqa_img": (_by_text({"number 6": "(A)"}, "A. zero"), None, 100 * 2 / 8),
    "pope": (_by_text({"thing 1 ": "no", "thing 2 ": "no"}, "Yes"), range(4), 100 * 2 / 4),
    # Four images; both right, one right, none right, both right: see the test of MME below.
    # 1: a bare letter; 2: the last bracketed letter; 3: wrong; 4: an option's words in a sentence;
    # 5: letter with a prefix; 6: right; 7: an open question's number in a sentence.
    "mmmu_val": (
        _by_text(
            {
                "figure 0": "A",
                "Compare": "(B) a square",
                "figure 2": "B",
                "figure 3": "I think that this one here is a circle",
                "figure 4": "Answer: B.",
                "figure 5": "C",
                "6 times 7": "It is 42.",
            }
        ),
        None,
        100 * 6 / 7,
    ),
    # The filter takes the letter before a full stop; answers are A, B, C, D, A, B, C, D.
    "ai2d": (_by_text({"part 1 ": "b"}, "B. root"), None, 100 * 2 / 8),
    # 1 - 1/10, 1, 1, below one half and so 0, and 1 - 3/6.
    "docvqa_val": (
        _by_text(
            {
                "field 0": "universty",
                "field 1": "value1",
                "field 2": "VALUE2",
                "field 3": "xyz",
                "field 4": "val",
            }
        ),
        range(5),
        100 * (0.9 + 1 + 1 + 0 + 0.5) / 5,
    ),
    # Only `seven` is wrong: letter, integer, quoted decimal to round, bracketed letter, decimal.
    "mathvista_testmini_format": (
        _by_text(
            {
                "quantity 1": "B",
                "quantity 2": "14",
                "quantity 3": 'The answer is "1.449".',
                "quantity 4": "It is (B) no",
                "quantity 5": "seven",
                "quantity 6": "0.6",
            }
        ),
        None,
        100 * 5 / 6,
    ),
}


@pytest.mark.parametrize("task", list(HAND))
def test_scores_by_hand_equal_ours_and_lmms_evals(task: str, run: Callable[..., Any]) -> None:
    _needs(task)
    reply, rows, expected = HAND[task]
    done = run(task, reply, rows)
    assert done.report.tasks[task].score == pytest.approx(expected)
    assert done.table.tasks[task].scores.mean() == pytest.approx(expected)
    assert _own(done, task) == pytest.approx(expected, abs=0.01)  # MathVista's has two digits


def _own(done: Any, task: str) -> float:
    """What lmms-eval's aggregation of the same run says, on 0..100."""
    metric = BENCHMARKS[task].metric
    (value,) = [
        v for key, v in done.results.items() if key.startswith(f"{metric},") and v is not None
    ]
    return float(value) if task.startswith("mathvista") else 100 * float(value)


WORDS = {
    "gqa": ("red", "green", "blue"),
    "pope": ("yes", "no", "perhaps"),
    "docvqa_val": ("value2", "value5", "nothing"),
    "mathvista_testmini_format": ("A", "(B)", "14", "0.6"),
}


@pytest.mark.parametrize(
    "task", [t for t, known in BENCHMARKS.items() if known.rows not in ("mme", "cider")]
)
def test_means_of_random_answers_equal_lmms_evals_own(task: str, run: Callable[..., Any]) -> None:
    _needs(task)
    draw = random.Random(2)
    done = run(task, lambda question: draw.choice(WORDS.get(task, "ABCD")))
    score = done.table.tasks[task].score
    assert score == pytest.approx(_own(done, task), abs=0.01)
    assert 0 < score < 100


def test_mme_adds_accuracy_and_both_right_per_image(
    run: Callable[..., Any], data_folder: Path
) -> None:
    from lmms_eval.tasks.mme.utils import mme_aggregate_results

    def reply(question: Any) -> str:
        words = question.text.split()  # Is <category> <image> <Yes or No>?
        kind, image, right = words[1], int(words[2]), words[3].rstrip("?")
        wrong = "no" if right == "Yes" else "yes"
        if kind == "existence":  # both, one, none, both right
            return {0: right, 1: "yes", 2: wrong, 3: right}[image]
        return right if kind == "code_reasoning" else "Yes, it is"

    done = run("mme", reply)
    # existence: (100 + 50 + 0 + 100) / 4 + 100 * 2 / 4 = 112.5; count: 50 + 0; of 200 each.
    assert done.report.tasks["mme_perception"].score == pytest.approx((112.5 + 50) / 2 / 2)
    assert done.report.tasks["mme_cognition"].score == pytest.approx(100.0)
    for part, categories, raw in (("perception", 2, 162.5), ("cognition", 1, 200.0)):
        key = f"mme_{part}_score"
        assert mme_aggregate_results([s[key] for s in done.samples if key in s]) == raw
        assert done.results[f"{key},none"] == pytest.approx(raw)
        ours = done.report.tasks[f"mme_{part}"].score
        assert 2 * categories * ours == pytest.approx(raw)
    shown = find_copy(data_folder, "mme").image_names[0]
    assert done.table.tasks["mme_perception"].image_ids[0] == f"mme:{shown}"


def test_mmmu_guesses_the_same_in_every_run_and_leaves_the_random_state(
    run: Callable[..., Any],
) -> None:
    """lmms-eval answers for a model that named no option by `random.choice`."""
    scores = []
    for seed in (1, 2):
        random.seed(seed)
        state = random.getstate()
        done = run("mmmu_val", lambda question: "hm")
        assert random.getstate() == state
        scores.append(tuple(done.table.tasks["mmmu_val"].scores))
    assert scores[0] == scores[1]
    assert 0 < sum(scores[0]) < 700  # the guesses are not all alike


@pytest.mark.parametrize("task", ["coco2017_cap_val", "nocaps_val"])
def test_captions_score_cider(
    task: str,
    run: Callable[..., Any],
    rows_of: Callable[[str], list[dict[str, Any]]],
    tmp_path: Any,
) -> None:
    """A reference word for word scores CIDEr's maximum of 10, foreign words 0; means are equal."""
    _needs(task)
    from lmms_eval.tasks.coco_cap.utils import coco_cider
    from lmms_eval.tasks.nocaps.utils import nocaps_cider

    column = "answer" if task.startswith("coco") else "annotations_captions"
    references = {row["image"].tobytes(): row[column][0] for row in rows_of(task)}
    good = list(references)[:3]

    def reply(question: Any) -> str:
        (shown,) = question.images()
        right = shown.tobytes() in good
        return references[shown.tobytes()].upper() + "!" if right else "purple nonsense\nindeed so"

    done = run(task, reply)
    rows = done.table.tasks[task]
    assert rows.scores == pytest.approx([1000, 1000, 1000, 0, 0, 0])
    said = [sample[TASKS[task].metric] for sample in done.samples]
    own = (coco_cider if task.startswith("coco") else nocaps_cider)(
        said, SimpleNamespace(output_path=str(tmp_path))
    )
    assert rows.scores.mean() == pytest.approx(100 * own)


def test_partial_captions_average_to_lmms_evals_own(run: Callable[..., Any], tmp_path: Any) -> None:
    _needs("coco2017_cap_val")
    from lmms_eval.tasks.coco_cap.utils import coco_cider

    said = iter(
        (
            "a brown dog on the grass",
            "two people",
            "a bowl on a table",
            "",
            "a cat sleeps on a red sofa",
            "a lake",
        )
    )
    done = run("coco2017_cap_val", lambda question: next(said))
    scores = done.table.tasks["coco2017_cap_val"].scores
    assert 0 < scores[0] < 1000
    assert scores[3] == 0
    own = coco_cider(
        [sample["coco_CIDEr"] for sample in done.samples],
        SimpleNamespace(output_path=str(tmp_path)),
    )
    assert scores.mean() == pytest.approx(100 * own)


def test_questions_on_one_image_share_a_cluster(run: Callable[..., Any]) -> None:
    """GQA by its image's name, ScienceQA and AI2D by the picture, DocVQA by the page."""
    for task, per_image in (("gqa", 3), ("scienceqa_img", 2), ("ai2d", 2), ("docvqa_val", 2)):
        rows = run(task, lambda question: "A").table.tasks[task]
        images = rows.image_ids
        assert len(set(images)) == len(images) // per_image
        assert all(images[i] == images[i - i % per_image] for i in range(len(images)))
