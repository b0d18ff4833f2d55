"""A fixed handful of the report split's samples: picture, question and truth, for people to see.

The choice looks at no score and no answer: per task, samples stand in the order of a digest of
their names; the tasks take turns, and each takes its first sample whose image is not shown yet. So
it cannot flatter a model, and it is the same in every run over the same data. Once made it is kept:
a sweep that is extended goes on showing the same samples.
"""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from trainables.common.files import read_json, replacing, write_json
from trainables.common.pictures import as_seen
from trainables.evaluation.isolation import isolated
from trainables.records import Gallery, GallerySample
from trainables.records.score_table import ScoreTable
from trainables.specs import digest
from trainables.trial.asked import look_up

LARGEST_SIDE = 336  # pixels; the input size of LLaVA-1.5's vision tower
GAP = 8  # pixels between the images of one question
SEED = "prunesweep gallery"


def choose(table: ScoreTable, count: int) -> list[tuple[str, int, str]]:
    """At most `count` samples of `table` as (task, doc_id, image_id), grouped by task.

    Spread over the tasks, no image twice; scores and answers are not looked at.
    """
    queues = {
        task: iter(sorted(zip(s.doc_ids, s.image_ids, strict=True), key=lambda s: _draw(task, *s)))
        for task, s in sorted(table.tasks.items())
    }
    chosen: list[tuple[str, int, str]] = []
    shown: set[str] = set()
    while queues and len(chosen) < count:
        for task in list(queues)[: count - len(chosen)]:
            sample = next((s for s in queues[task] if s[1] not in shown), None)
            if sample is None:
                del queues[task]
                continue
            shown.add(sample[1])
            chosen.append((task, *sample))
    return sorted(chosen, key=lambda sample: sample[0])


def write_gallery(
    path: Path,
    table: ScoreTable,
    task_folder: Path,
    count: int,
    log: Path | None = None,
) -> Gallery:
    """The gallery at `path`, with its pictures beside it; written unless it is there already.

    Pictures come first and the file that names them last, each in one step, so several processes
    may write it at once.

    Args:
        path: the gallery's file, see `GALLERY`.
        table: samples of one model on the report split; all models of a sweep answer the same.
        task_folder: task files of its tasks, from `Inputs.request`.
        count: how many samples are shown.
        log: file that lmms-eval's output is appended to.
    """
    asked = {"task_files": task_folder.name, "tasks": sorted(table.tasks), "count": count}
    key = digest(asked)
    if path.exists():
        known = read_json(path, Gallery)
        if known.key == key:
            return known
    path.parent.mkdir(parents=True, exist_ok=True)
    samples: list[GallerySample] = []
    chosen = choose(table, count)
    with isolated(log):
        shown = look_up(task_folder, [(task, doc_id) for task, doc_id, _ in chosen])
        for (task, doc_id, image_id), sample in zip(chosen, shown, strict=True):
            picture = one_picture(sample.images)
            samples.append(
                GallerySample(
                    task=task,
                    doc_id=doc_id,
                    image_id=image_id,
                    question=sample.question,
                    truth=sample.truth,
                    picture=_save(picture, path.parent, f"{task}-{doc_id}"),
                    width=picture.width,
                    height=picture.height,
                )
            )
    gallery = Gallery(key=key, samples=tuple(samples))
    write_json(path, gallery)
    return gallery


def one_picture(images: Sequence[Image.Image]) -> Image.Image:
    """The images of one question as one RGB picture; an empty one where there is no image.

    Each is made to fit into `LARGEST_SIDE` pixels; several stand in rows on white.
    """
    small = [as_seen(image).copy() for image in images]
    for image in small:
        image.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.LANCZOS)
    if not small:
        return Image.new("RGB", (64, 64), "white")
    if len(small) == 1:
        return small[0]
    columns = math.ceil(math.sqrt(len(small)))
    rows = [small[i : i + columns] for i in range(0, len(small), columns)]
    heights = [max(image.height for image in row) for row in rows]
    width = max(sum(image.width + GAP for image in row) for row in rows) - GAP
    sheet = Image.new("RGB", (width, sum(heights) + GAP * (len(rows) - 1)), "white")
    top = 0
    for row, height in zip(rows, heights, strict=True):
        left = 0
        for image in row:
            sheet.paste(image, (left, top))
            left += image.width + GAP
        top += height + GAP
    sheet.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.LANCZOS)
    return sheet


def _draw(task: str, doc_id: int, image_id: str) -> str:
    return hashlib.sha256(f"{SEED}/{task}/{image_id}/{doc_id}".encode()).hexdigest()


def _save(picture: Image.Image, folder: Path, name: str) -> str:
    """Write a picture and return its file name: a PNG, or a JPEG where that is a photo's size."""
    photo = max(picture.size) == LARGEST_SIDE
    file = f"{name}.{'jpg' if photo else 'png'}"
    with replacing(folder / file) as part:
        picture.save(part, format="JPEG" if photo else "PNG", quality=88)
    return file
