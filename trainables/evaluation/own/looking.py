"""A first look at lmms-eval tasks of which only the YAML is known: their images, and their metric.

`python -m trainables.evaluation.own.looking YAML OUT` does it in a process of its own, so that the
driver stays light; what it found is kept in the store.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from trainables.common.contents import code_digest
from trainables.common.files import read_json, write_json
from trainables.common.names import first_line, one_line
from trainables.common.pictures import as_seen
from trainables.common.provenance import versions
from trainables.common.store import Store
from trainables.evaluation.own.task_yaml import TaskYaml, check_yaml, read_task
from trainables.specs import Frozen

LOOK = "look.json"
TRIED = 200  # documents whose scores are looked at


class Look(Frozen):
    """What a task is like, or why it cannot be used; `images` names each document's pictures."""

    metric: str = ""
    images: tuple[str, ...] = ()
    error: str | None = None


def look_at(task: TaskYaml, store: Store) -> Look:
    """The look at a task, from the store or taken now (some ten seconds, and all its pictures).

    Raises:
        ValueError: it has no samples, or none of its metrics scores samples one by one.
    """
    check_yaml(task)
    key = {
        "task": task.name,
        "content": task.digest,
        "versions": versions("lmms-eval", "datasets", "pillow"),
        "code": code_digest(Path(__file__).parent),
    }

    def build(folder: Path) -> None:
        command = [sys.executable, "-m", __name__, str(task.path), str(folder / LOOK)]
        root = str(Path(__file__).parents[3])
        paths = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        done = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True
        )
        found = read_json(folder / LOOK, Look) if (folder / LOOK).exists() else None
        if found is None or found.error is not None:
            last = (done.stderr.strip().splitlines() or ["no word"])[-1]
            reason = last if found is None else found.error
            raise ValueError(f"task {task.name!r} ({task.path}) cannot be used: {reason}")

    entry, _ = store.get_or_create("own-tasks", key, build)
    return read_json(entry / LOOK, Look)


def look(path: Path) -> Look:
    """The look at the task of a file, in this process; `error` says why it cannot be used."""
    from lmms_eval.tasks import TaskManager, get_task_dict

    name = read_task(path).name
    with tempfile.TemporaryDirectory() as folder:
        settings = {"include": str(path.resolve()), "task": name}
        (Path(folder) / "task.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        manager = TaskManager(include_path=folder, include_defaults=False)
        try:
            task = get_task_dict([name], manager)[name]
        except IndexError:  # of its first sample
            return Look(error="it has no samples")
    docs = task.eval_docs
    images = []
    for number in range(len(docs)):
        pictures = task.doc_to_visual(docs[number]) or ()
        if not pictures:
            return Look(error=f"sample {number} has no picture")
        images.append(_images_id(pictures))
    metric, reason = _metric(task)
    return Look(metric=metric, images=tuple(images), error=reason)


def _images_id(pictures: Sequence[Any]) -> str:
    total = hashlib.sha256()
    for image in pictures:
        seen = as_seen(image)
        total.update(repr(seen.size).encode() + seen.tobytes())
    return total.hexdigest()[:16]


def _metric(task: Any) -> tuple[str, str | None]:
    """The first metric whose score of the whole is the mean of its samples' scores in [0, 1].

    Half of the samples are answered with their target, the others with nothing.
    """
    docs = task.eval_docs_no_media
    results = []
    for number in range(min(TRIED, len(docs))):
        target = task.doc_to_target(docs[number])
        first = target[0] if isinstance(target, list | tuple) and target else target
        results.append(task.process_results(docs[number], ["" if number % 2 else str(first)]))
    reasons = []
    for metric, aggregate in task.aggregation().items():
        given = [result[metric] for result in results if metric in result]
        try:
            scores = [float(g["score"] if isinstance(g, dict) else g) for g in given]
            whole = float(aggregate(given))
        except Exception as error:  # a task's own code
            reasons.append(f"{metric} ({type(error).__name__}: {first_line(error)})")
            continue
        mean = sum(scores) / max(len(scores), 1)
        inside = all(0.0 <= score <= 1.0 for score in scores)
        if len(scores) == len(results) and inside and _alike(whole, mean):
            return metric, None
        reasons.append(
            f"{metric} (its score of the whole is {whole:.4g}, its samples' mean {mean:.4g})"
        )
    return "", (
        "no metric of it scores samples one by one, from 0 to 1, so that their mean is the score: "
        + ("; ".join(reasons) or "it has none")
    )


def _alike(whole: float, mean: float) -> bool:
    return any(abs(whole - scale * mean) < 1e-6 * scale for scale in (1.0, 100.0))


if __name__ == "__main__":
    try:
        found = look(Path(sys.argv[1]))
    except Exception as error:  # of the task's own code, or of its data
        found = Look(error=one_line(error))
    write_json(Path(sys.argv[2]), found)
