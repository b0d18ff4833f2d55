"""What an embedded model's data looks like on disk, and how it is written there."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


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
