"""Document access and scoring of the embedded tasks, in the form lmms-eval's YAML asks for."""

from typing import Any


def doc_to_visual(doc: dict[str, Any]) -> list[Any]:
    """The question's image, in a list."""
    return [doc["image"].convert("RGB")]


def doc_to_text(doc: dict[str, Any]) -> str:
    """The question, with its options where it has some."""
    return str(doc["question"]).strip()


def normalise(answer: str) -> str:
    """Lower case without surrounding blanks and full stop."""
    return answer.strip().rstrip(".").strip().lower()


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Accuracy 1.0 if the answer is the expected one, else 0.0."""
    return {"accuracy": float(normalise(results[0]) == normalise(doc["answer"]))}
