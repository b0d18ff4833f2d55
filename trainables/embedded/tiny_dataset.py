"""The embedded data: conversations to recover on and questions to be scored on, made on first use.

`prepare(root)` writes `<root>/tiny-data-<version>/` once (see `data_in`); the conversations are of
the split `train`. The version is a digest of the generator's source, so a changed generator never
meets old files.
"""

import io
import itertools
import random
from dataclasses import dataclass
from pathlib import Path

from trainables.embedded.data import (
    EVALUATION_SPLITS,
    EmbeddedData,
    Row,
    data_in,
    made_once,
    version_of,
    write_conversations,
    write_questions,
)
from trainables.embedded.questions import KINDS, Balancer
from trainables.embedded.scenes import Scene, draw, sample_scene

SEED = 7
# Scenes per split; every scene is asked one question of each kind.
SCENES = {"train": 4200, "search": 320, "report": 640}


@dataclass(frozen=True)
class SceneRow(Row):
    """One scene with one question of every kind."""

    scene: Scene


def version() -> str:
    """Digest of the generator's source."""
    return version_of("scenes.py", "questions.py", "tiny_dataset.py")


def generate(split: str, count: int) -> list[SceneRow]:
    """`count` different scenes of `split`; the same arguments give the same scenes."""
    rng = random.Random(f"{SEED}/{split}")
    balancer = Balancer(rng)
    seen: set[str] = set()
    rows: list[SceneRow] = []
    while len(rows) < count:
        scene = sample_scene(rng)
        if scene.split != split or scene.canonical in seen:
            continue
        asked = balancer.ask_each(scene)
        if asked is None:
            continue
        seen.add(scene.canonical)
        buffer = io.BytesIO()
        draw(scene, rng).save(buffer, format="PNG", compress_level=1)
        rows.append(
            SceneRow(
                name=f"{split}-{len(rows):05d}",
                shows=scene.canonical,
                image=buffer.getvalue(),
                questions=asked,
                scene=scene,
            )
        )
    return rows


def prepare(root: Path) -> EmbeddedData:
    """Make the data under `root` unless it is there; safe to call from several processes.

    Args:
        root: a folder for cached files; created if missing.

    Returns:
        The paths, inside `<root>/tiny-data-<version>`.
    """
    folder = made_once(Path(root) / f"tiny-data-{version()}", _write)
    return data_in(folder, KINDS)


def _write(folder: Path) -> None:
    """Generate all splits, check that they are disjoint, write them into `folder`."""
    rows = {split: generate(split, count) for split, count in SCENES.items()}
    texts = {split: {row.scene.canonical for row in found} for split, found in rows.items()}
    for one, other in itertools.combinations(texts, 2):
        assert not texts[one] & texts[other], f"a scene stands in {one} and {other}"
    data = data_in(folder, KINDS)
    write_conversations(data, rows["train"])
    for kind in KINDS:
        # A seeded order, so that the first N are a fair sample.
        for split in EVALUATION_SPLITS:
            order = random.Random(f"{SEED}/{kind}").sample(rows[split], len(rows[split]))
            write_questions(data.tasks[kind][split], kind, order)
