"""What an embedded model's data looks like on disk, and how it is written there."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from trainables.common.files import new_folder
from trainables.specs import DataSpec


@dataclass(frozen=True)
class EmbeddedData:
    """Where the data of an embedded model lies.

    Attributes:
        conversations: JSON list in the LLaVA format.
        image_folder: the folder its `image` entries are relative to.
        tasks: parquet files by kind of question, then by split (`search`, `report`).
    """

    conversations: Path
    image_folder: Path
    tasks: Mapping[str, Mapping[str, Path]]

    def named_in(self, spec: DataSpec) -> DataSpec:
        """The settings, with these conversations in place of none."""
        paths = {"conversations": str(self.conversations), "image_folder": str(self.image_folder)}
        return spec.model_copy(update=paths)


@dataclass(frozen=True)
class Question:
    """A question, its answer and, for a multiple choice, its options."""

    kind: str
    text: str
    answer: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """One picture with one question of each of some kinds.

    Attributes:
        name: of the picture; unique.
        shows: text that two pictures of the same thing share.
        image: the picture as PNG.
        questions: by kind.
    """

    name: str
    shows: str
    image: bytes
    questions: Mapping[str, Question]


EVALUATION_SPLITS = ("search", "report")


def version_of(*sources: str) -> str:
    """Digest of files of this folder, by which changed generators never meet old data."""
    here = Path(__file__).parent
    content = b"\0".join((here / name).read_bytes() for name in (*sources, Path(__file__).name))
    return hashlib.sha256(content).hexdigest()[:10]


def made_once(folder: Path, write: Callable[[Path], None]) -> Path:
    """The folder, which `write` fills unless it is there; safe to call from several processes."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not folder.is_dir():
        with FileLock(f"{folder}.lock"):
            if not folder.is_dir():
                with new_folder(folder) as part:
                    write(part)
    return folder


def data_in(folder: Path, kinds: Sequence[str]) -> EmbeddedData:
    """The paths inside a folder; nothing is written.

    conversations.json            LLaVA format (`id`, `image`, `conversations`)
    images/                       the pictures of the conversations
    tasks/<kind>/<split>.parquet  questions of the splits `search` and `report`
    """
    return EmbeddedData(
        conversations=folder / "conversations.json",
        image_folder=folder / "images",
        tasks={
            kind: {s: folder / "tasks" / kind / f"{s}.parquet" for s in EVALUATION_SPLITS}
            for kind in kinds
        },
    )


def write_conversations(data: EmbeddedData, rows: Sequence[Row]) -> None:
    """The rows' pictures, and each of their questions as a conversation."""
    data.image_folder.mkdir()
    for row in rows:
        (data.image_folder / f"{row.name}.png").write_bytes(row.image)
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
    data.conversations.write_text(json.dumps(conversations), encoding="utf-8")


def write_questions(path: Path, kind: str, rows: Sequence[Row]) -> None:
    """One kind's questions about those rows that have one, in their order."""
    from datasets import Dataset, Features, Image, Sequence, Value

    path.parent.mkdir(parents=True, exist_ok=True)
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
    table = [
        {
            "image": {"bytes": row.image, "path": f"{row.name}.png"},
            "image_id": row.name,
            "scene": row.shows,
            "question": row.questions[kind].text,
            "answer": row.questions[kind].answer,
            "kind": kind,
            "options": list(row.questions[kind].options),
        }
        for row in rows
        if kind in row.questions
    ]
    Dataset.from_list(table, features=features).to_parquet(str(path))
