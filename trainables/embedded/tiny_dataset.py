"""The embedded data: conversations to recover on and questions to be scored on, made on first use.

`prepare(root)` writes `<root>/tiny-data-<version>/` once:

    conversations.json          LLaVA format (`id`, `image`, `conversations`), split `train`
    images/                     the images of the conversations
    tasks/<kind>/<split>.parquet  questions of the splits `search` and `report`

The version is a digest of the generator's source, so a changed generator never meets old files.
"""

import hashlib
import io
import itertools
import json
import random
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from trainables.common.files import new_folder
from trainables.embedded.questions import KINDS, Balancer, Question
from trainables.embedded.scenes import Scene, draw, sample_scene

SEED = 7
# Scenes per split; every scene is asked one question of each kind.
SCENES = {"train": 4200, "search": 320, "report": 640}
EVALUATION_SPLITS = ("search", "report")


@dataclass(frozen=True)
class TinyData:
    """Where the generated data lies.

    Attributes:
        conversations: JSON list in the LLaVA format.
        image_folder: the folder its `image` entries are relative to.
        tasks: parquet files by kind, then by split (`search`, `report`).
    """

    conversations: Path
    image_folder: Path
    tasks: dict[str, dict[str, Path]]


@dataclass(frozen=True)
class Row:
    """One scene with one question of every kind."""

    name: str
    scene: Scene
    image: bytes
    questions: dict[str, Question]


def version() -> str:
    """Digest of the generator's source."""
    here = Path(__file__).parent
    sources = [
        (here / name).read_bytes() for name in ("scenes.py", "questions.py", "tiny_dataset.py")
    ]
    return hashlib.sha256(b"\0".join(sources)).hexdigest()[:10]


def generate(split: str, count: int) -> list[Row]:
    """`count` different scenes of `split`; the same arguments give the same scenes."""
    rng = random.Random(f"{SEED}/{split}")
    balancer = Balancer(rng)
    seen: set[str] = set()
    rows: list[Row] = []
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
        rows.append(Row(f"{split}-{len(rows):05d}", scene, buffer.getvalue(), asked))
    return rows


def prepare(root: Path) -> TinyData:
    """Make the data under `root` unless it is there; safe to call from several processes.

    Args:
        root: a folder for cached files; created if missing.

    Returns:
        The paths, inside `<root>/tiny-data-<version>`.
    """
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    folder = root / f"tiny-data-{version()}"
    if not folder.is_dir():
        with FileLock(str(folder) + ".lock"):
            if not folder.is_dir():
                with new_folder(folder) as part:
                    _write(part)
    return _paths(folder)


def _paths(folder: Path) -> TinyData:
    return TinyData(
        conversations=folder / "conversations.json",
        image_folder=folder / "images",
        tasks={
            kind: {s: folder / "tasks" / kind / f"{s}.parquet" for s in EVALUATION_SPLITS}
            for kind in KINDS
        },
    )


def _write(folder: Path) -> None:
    """Generate all splits, check that they are disjoint, write them into `folder`."""
    rows = {split: generate(split, count) for split, count in SCENES.items()}
    texts = {split: {row.scene.canonical for row in found} for split, found in rows.items()}
    for one, other in itertools.combinations(texts, 2):
        assert not texts[one] & texts[other], f"a scene stands in {one} and {other}"
    paths = _paths(folder)
    _write_conversations(paths, rows["train"])
    for kind in KINDS:
        (folder / "tasks" / kind).mkdir(parents=True)
        for split in EVALUATION_SPLITS:
            _write_parquet(paths.tasks[kind][split], kind, rows[split])


def _write_conversations(paths: TinyData, rows: list[Row]) -> None:
    paths.image_folder.mkdir()
    for row in rows:
        (paths.image_folder / f"{row.name}.png").write_bytes(row.image)
    conversations = [
        {
            "id": f"{row.name}-{kind}",
            "image": f"{row.name}.png",
            "conversations": [
                {"from": "human", "value": f"<image>\n{question.text}"},
                {"from": "gpt", "value": question.answer},
            ],
        }
        for row in rows
        for kind, question in row.questions.items()
    ]
    paths.conversations.write_text(json.dumps(conversations), encoding="utf-8")


def _write_parquet(path: Path, kind: str, rows: list[Row]) -> None:
    """One kind's questions, in a seeded order, so that the first N are a fair sample."""
    from datasets import Dataset, Features, Image, Sequence, Value

    text = Value("string")
    features = Features(
        image=Image(),
        image_id=text,
        scene=text,
        question=text,
        answer=text,
        kind=text,
        options=Sequence(text),
    )
    shuffled = random.Random(f"{SEED}/{kind}").sample(rows, len(rows))
    table = [
        {
            "image": {"bytes": row.image, "path": f"{row.name}.png"},
            "image_id": row.name,
            "scene": row.scene.canonical,
            "question": row.questions[kind].text,
            "answer": row.questions[kind].answer,
            "kind": kind,
            "options": list(row.questions[kind].options),
        }
        for row in shuffled
    ]
    Dataset.from_list(table, features=features).to_parquet(str(path))
