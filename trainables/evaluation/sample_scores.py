"""lmms-eval's logged samples as per-sample scores."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from trainables.evaluation.benchmarks.benchmark import TaskInfo, picture_name
from trainables.records.clusters import Floats
from trainables.records.score_table import TaskSamples

JOINT = " | "  # between the answers to the two questions of an MME image


def task_rows(info: TaskInfo, samples: Iterable[dict[str, Any]]) -> dict[str, TaskSamples]:
    """The reported tasks of one lmms-eval task: mostly itself, two for MME.

    `samples` is what lmms-eval logged of the task, a dict per question.
    """
    ordered = sorted(samples, key=lambda sample: int(sample["doc_id"]))
    if info.rows == "mme":
        return _mme_rows(info, ordered)
    scores = _SCORES[info.rows]([sample[info.metric] for sample in ordered])
    return {
        info.name: _task_samples(
            [[sample] for sample in ordered],
            # Images of one collection share their clusters across tasks.
            [picture_name(info.collection, str(s["doc"][info.image_key])) for s in ordered],
            100.0 * np.asarray(scores, dtype=np.float64),
            np.ones(len(ordered)),
        )
    }


def _mme_rows(info: TaskInfo, ordered: Sequence[dict[str, Any]]) -> dict[str, TaskSamples]:
    """MME's two scores on 0..100 (cognition / 8, perception / 20) as weighted means over images.

    MME adds, per category, the mean over its images of accuracy (0..100) and both-right (0 or 100).
    Half of that sum is an image's score here; the weight makes all categories equal.
    """
    pairs: dict[str, dict[tuple[str, str], list[dict[str, Any]]]] = defaultdict(dict)
    for sample in ordered:
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
    return _task_samples(
        list(images.values()),
        [picture_name(info.collection, str(p[0]["doc"][info.image_key])) for p in images.values()],
        np.array([50.0 * (np.mean(r) + float(sum(r) == 2)) for r in right]),
        np.array([1.0 / categories.count(category) for category in categories]),
    )


def _task_samples(
    groups: Sequence[Sequence[dict[str, Any]]],
    image_ids: Sequence[str],
    scores: Floats,
    weights: Floats,
) -> TaskSamples:
    """A row for each group of questions that are scored together: one, or an MME image's two."""
    return TaskSamples(
        doc_ids=tuple(int(group[0]["doc_id"]) for group in groups),
        image_ids=tuple(image_ids),
        scores=scores,
        weights=weights,
        answers=tuple(JOINT.join(str(s["filtered_resps"][0]) for s in group) for group in groups),
        unfinished=tuple(any(s.get("unfinished") for s in group) for group in groups),
    )


def plain_scores(values: Sequence[Any]) -> list[float]:
    """The metric's own value, or its `score` entry."""
    return [float(v["score"] if isinstance(v, dict) else v) for v in values]


def _mmmu(values: Sequence[Any]) -> list[float]:
    """MMMU's own evaluation of each answer: lmms-eval leaves it to the aggregation."""
    from lmms_eval.tasks.mmmu.utils import evaluate_mmmu

    return [float(evaluate_mmmu([value])[1]["acc"]) for value in values]


def _mathvista(values: Sequence[Any]) -> list[float]:
    return [float(value["true_false"]) for value in values]


def _cider(values: Sequence[Any]) -> Floats:
    from trainables.evaluation.benchmarks.captions import cider_scores

    return cider_scores(values)


_SCORES: dict[str, Callable[[Sequence[Any]], Sequence[float] | Floats]] = {
    "sample": plain_scores,
    "mmmu": _mmmu,
    "mathvista": _mathvista,
    "cider": _cider,
}
