"""Conversations in the LLaVA format: reading, checking, and nested subsets; no torch here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainables.specs import DataSpec

HUMAN, ASSISTANT = "human", "gpt"
IMAGE_MARK = "<image>"


@dataclass(frozen=True)
class Conversation:
    """One sample: its id, its image file (None for text only) and (question, answer) turns."""

    id: str
    image: Path | None
    turns: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ConversationData:
    """All usable conversations of a file, what was skipped, and the digest of the content."""

    conversations: tuple[Conversation, ...]
    skipped: tuple[str, ...]
    digest: str

    def subset(self, fraction: float, seed: int) -> np.ndarray:
        """Indices of the first `fraction` of one seeded permutation, so that subsets are nested.

        Args:
            fraction: share of the conversations, in (0, 1]; at least one is returned.
            seed: seed of the permutation (`Seeds.data`).

        Returns:
            int64 array of distinct indices into `conversations`, in permutation order.
        """
        count = max(1, round(fraction * len(self.conversations)))
        return np.random.default_rng(seed).permutation(len(self.conversations))[:count]

    def subset_digest(self, indices: np.ndarray) -> str:
        """SHA-256 prefix of the ids of a subset, in order."""
        ids = "\n".join(self.conversations[i].id for i in indices)
        return hashlib.sha256(ids.encode()).hexdigest()[:16]


def load_conversations(spec: DataSpec) -> ConversationData:
    """Read and check every conversation that `spec` names.

    Raises:
        ValueError: the file is unreadable, or a sample is broken and `skip_broken` is off, or no
            usable sample is left. The message names the sample by its id.
    """
    if spec.conversations is None:
        raise ValueError("DataSpec.conversations is not set; give a LLaVA-format JSON file")
    path = Path(spec.conversations)
    folder = Path(spec.image_folder) if spec.image_folder else path.parent
    rows, content = _read_rows(path)
    kept: list[Conversation] = []
    skipped: list[str] = []
    for number, row in enumerate(rows):
        try:
            kept.append(_parse(row, number, folder))
        except ValueError as error:
            if not spec.skip_broken:
                raise ValueError(
                    f"{path.name}: {error}. Mend the file, or set data.skip_broken=true to go on "
                    "without such samples."
                ) from None
            skipped.append(str(error))
    if not kept:
        raise ValueError(
            f"{path} has no usable conversation ({len(skipped)} broken); expected a JSON list of "
            "objects with `id`, `image` and `conversations`"
        )
    return ConversationData(tuple(kept), tuple(skipped), hashlib.sha256(content).hexdigest()[:16])


def open_image(conversation: Conversation) -> Any:
    """Decode the sample's image to RGB.

    Raises:
        ValueError: the file is missing, truncated or no image; names the sample.
    """
    with _opened(conversation) as image:
        return image.convert("RGB")


def image_size(conversation: Conversation) -> tuple[int, int]:
    """(width, height) of the sample's image, from the head of its file; decodes no pixels.

    Raises:
        ValueError: the file is missing or no image; names the sample.
    """
    with _opened(conversation) as image:
        width, height = image.size
        return width, height


@contextmanager
def _opened(conversation: Conversation) -> Iterator[Any]:
    from PIL import Image, ImageFile

    assert conversation.image is not None
    lenient, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    try:
        with Image.open(conversation.image) as image:
            yield image
    except FileNotFoundError:
        raise ValueError(
            f"sample {conversation.id!r}: image {conversation.image} does not exist"
        ) from None
    except (OSError, SyntaxError) as error:
        raise ValueError(
            f"sample {conversation.id!r}: image {conversation.image} is truncated or unreadable "
            f"({error})"
        ) from None
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = lenient  # lmms-eval switches it on for the whole process


def _read_rows(path: Path) -> tuple[list[Any], bytes]:
    try:
        content = path.read_bytes()
        rows = json.loads(content)
    except OSError as error:
        raise ValueError(f"cannot read the conversations {path}: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}); is it truncated?") from None
    if not isinstance(rows, list):
        raise ValueError(f"{path} holds a {type(rows).__name__}, but must hold a JSON list")
    return rows, content


def _parse(row: Any, number: int, folder: Path) -> Conversation:
    if not isinstance(row, dict):
        raise ValueError(f"row {number} is a {type(row).__name__}, but must be an object")
    name = str(row.get("id", f"row {number}"))
    return Conversation(name, _image_path(row, name, folder), _turns(row, name))


def _image_path(row: dict[str, Any], name: str, folder: Path) -> Path | None:
    given = row.get("image")
    if given is None:
        return None
    if not isinstance(given, str):
        raise ValueError(f"sample {name!r}: `image` is {given!r}, but must be one relative path")
    path = (folder / given).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ValueError(f"sample {name!r}: image path {given!r} leaves the folder {folder}")
    if not path.is_file():
        raise ValueError(f"sample {name!r}: image {given!r} does not exist in {folder}")
    return path


def _turns(row: dict[str, Any], name: str) -> tuple[tuple[str, str], ...]:
    messages = row.get("conversations")
    if not isinstance(messages, list) or not messages:
        raise ValueError(f"sample {name!r} has no `conversations`")
    speakers = [m.get("from") if isinstance(m, dict) else None for m in messages]
    if speakers != [HUMAN, ASSISTANT] * (len(messages) // 2) or len(messages) % 2:
        raise ValueError(
            f"sample {name!r}: turns are {speakers}, but must alternate {HUMAN!r}, {ASSISTANT!r} "
            "and end with an answer"
        )
    values = [str(m.get("value") or "").strip() for m in messages]
    if not all(values[1::2]):
        raise ValueError(f"sample {name!r} has an empty answer")
    return tuple(zip(values[0::2], values[1::2], strict=True))
