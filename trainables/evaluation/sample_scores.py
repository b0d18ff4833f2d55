"""lmms-eval's logged samples as per-sample scores."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.evaluation.benchmarks.benchmark import TaskInfo
from trainables.records.score_table import TaskSamples

FloatArray = NDArray[np.float64]

JOINT = " | "  # between the answers to the two questions of an MME image


def task_rows(info: TaskInfo, samples: Iterable[dict[str, Any]]) -> dict[str, TaskSamples]:
    """The reported tasks of one lmms-eval task: mostly itself, two for MME.

    Args:
        info: the task.
        samples: what lmms-eval logged of it, a dict per question.
    """
    rows = _mme_rows if info.rows == "mme" else _sample_rows
    return rows(info, samples)


def _sample_rows(info: TaskInfo, samples: Iterable[dict[str, Any]]) -> dict[str, TaskSamples]:
    """One score per sample, 100 times what `_SCORES` makes of the values of the task's metric."""
    ordered = sorted(samples, key=lambda sample: int(sample["doc_id"]))
    scores = _SCORES[info.rows]([sample[info.metric] for sample in ordered])
    return {
        info.name: TaskSamples(
            doc_ids=tuple(int(sample["doc_id"]) for sample in ordered),
            image_ids=tuple(_image_id(info, sample) for sample in ordered),
            scores=100.0 * np.asarray(scores, dtype=np.float64),
            weights=np.ones(len(ordered)),
            answers=tuple(str(sample["filtered_resps"][0]) for sample in ordered),
            unfinished=tuple(bool(sample.get("unfinished")) for sample in ordered),
        )
    }


def _mme_rows(info: TaskInfo, samples: Iterable[dict[str, Any]]) -> dict[str, TaskSamples]:
    """MME's two scores on 0..100 (cognition / 8, perception / 20) as weighted means over images.

    MME adds, per category, the mean over its images of accuracy (0..100) and both-right (0 or 100).
    Half of that sum is an image's score here; the weight makes all categories equal.
    """
    pairs: dict[str, dict[tuple[str, str], list[dict[str, Any]]]] = defaultdict(dict)
    for sample in sorted(samples, key=lambda s: int(s["doc_id"])):
        for part in ("perception", "cognition"):
            entry = sample.get(f"mme_{part}_score")
            if entry is not None:
                key = (entry["category"], str(entry["question_id"]))
                pairs[f"mme_{part}"].setdefault(key, []).append({**sample, "right": entry["score"]})
    return {name: _mme_images(info, images) for name, images in pairs.items()}


def _mme_images(
    info: TaskInfo, images: Mapping[tuple[str, str], list[dict[str, Any]]]
) -> TaskSamples:
    categories = [category for category, _ in images]
    right = [[float(sample["right"]) for sample in pair] for pair in images.values()]
    return TaskSamples(
        doc_ids=tuple(int(pair[0]["doc_id"]) for pair in images.values()),
        image_ids=tuple(f"{info.collection}:{image}" for _, image in images),
        scores=np.array([50.0 * (np.mean(r) + float(sum(r) == 2)) for r in right]),
        weights=np.array([1.0 / categories.count(category) for category in categories]),
        answers=tuple(
            JOINT.join(str(sample["filtered_resps"][0]) for sample in pair)
            for pair in images.values()
        ),
        unfinished=tuple(any(s.get("unfinished") for s in pair) for pair in images.values()),
    )


def _image_id(info: TaskInfo, sample: dict[str, Any]) -> str:
    """The cluster of a sample; images of one collection share it across tasks."""
    return f"{info.collection}:{sample['doc'][info.image_key]}"


def _plain(values: Sequence[Any]) -> list[float]:
    """The metric's own value, or its `score` entry."""
    return [float(v["score"] if isinstance(v, dict) else v) for v in values]


def _mmmu(values: Sequence[Any]) -> list[float]:
    """MMMU's own evaluation of each answer: lmms-eval leaves it to the aggregation."""
    from lmms_eval.tasks.mmmu.utils import evaluate_mmmu

    return [float(evaluate_mmmu([value])[1]["acc"]) for value in values]


def _mathvista(values: Sequence[Any]) -> list[float]:
    return [float(value["true_false"]) for value in values]


def _cider(values: Sequence[Any]) -> FloatArray:
    from trainables.evaluation.benchmarks.captions import cider_scores

    return cider_scores(values)


_SCORES: dict[str, Callable[[Sequence[Any]], Sequence[float] | FloatArray]] = {
    "sample": _plain,
    "mmmu": _mmmu,
    "mathvista": _mathvista,
    "cider": _cider,
}
