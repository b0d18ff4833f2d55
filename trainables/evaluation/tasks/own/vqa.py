"""Document access and scoring of files of questions, in the form lmms-eval's YAML asks for."""

import hashlib
import io
from typing import Any


def doc_to_visual(doc: dict[str, Any]) -> list[Any]:
    """The question's picture, in a list; refuses one that is not what the split was made of."""
    from trainables.common.pictures import read_picture

    content = doc["picture"]
    if doc["path"]:
        with open(doc["path"], "rb") as file:
            content = file.read()
        if hashlib.sha256(content).hexdigest()[:16] != doc["image_id"]:
            raise ValueError(f"image {doc['path']} was changed meanwhile; start again")
    return [read_picture(io.BytesIO(content))]


def doc_to_text(doc: dict[str, Any]) -> str:
    """The question as it is asked."""
    return str(doc["question"])


def doc_to_target(doc: dict[str, Any]) -> list[str]:
    """What counts as right; of an option its letter and its text."""
    return list(doc["targets"])


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """The score of the answer by the file's metric."""
    from trainables.evaluation.own.metrics import score

    return {"score": score(doc["metric"], results[0], doc["answers"], doc["options"])}
