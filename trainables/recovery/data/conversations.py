"""The training conversations: reading, checking, and nested subsets; no torch here."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np

from trainables.common.contents import file_digest
from trainables.recovery.data.formats import EXPECTED, Source, find_source
from trainables.recovery.data.images import ImageFolder
from trainables.recovery.data.rows import Broken, BrokenSampleError
from trainables.recovery.data.table import Table, open_table
from trainables.specs import DataSpec, digest

CHUNK = 1000  # rows that are read at once, which costs little more than one of them
HELD_OUT, LEAST_HELD_OUT = 64, 8  # conversations; fewer say nothing
GLANCED = 100  # samples whose pictures stand for all of them


@dataclass(frozen=True)
class Conversation:
    """One sample: its id, its image files and (question, answer) turns.

    Questions hold an `<image>` mark where each image stands; without any, images come first.
    """

    id: str
    images: tuple[Path, ...]
    turns: tuple[tuple[str, str], ...]


class StoredConversations(Sequence[Conversation]):
    """Conversations of a memory-mapped table, each made when it is asked for."""

    def __init__(self, rows: Any, order: np.ndarray, folders: Sequence[Path]) -> None:
        """Show the rows `order` (int64, may repeat) of the `datasets.Dataset`.

        `folders` are what the image paths of each part start from.
        """
        self._rows, self._order, self._folders = rows, order, tuple(folders)

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, index: int) -> Conversation: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Conversation]: ...
    def __getitem__(self, index: int | slice) -> Conversation | Sequence[Conversation]:
        if isinstance(index, slice):
            return StoredConversations(self._rows, self._order[index], self._folders)
        return self._conversation(**self._rows[int(self._order[index])])

    def __iter__(self) -> Iterator[Conversation]:
        for at in range(0, len(self), CHUNK):
            columns = self._rows[self._order[at : at + CHUNK]]
            for row in zip(*columns.values(), strict=True):
                yield self._conversation(**dict(zip(columns, row, strict=True)))

    def at(self, indices: np.ndarray) -> "StoredConversations":
        """Those of these indices, in their order."""
        return StoredConversations(self._rows, self._order[indices], self._folders)

    def _conversation(
        self, part: int, id: str, images: list[str], questions: list[str], answers: list[str]
    ) -> Conversation:
        shown = tuple(self._folders[part] / name for name in images)
        return Conversation(id, shown, tuple(zip(questions, answers, strict=True)))


@dataclass(frozen=True, eq=False)
class ConversationData:
    """All usable conversations of a file.

    Attributes:
        conversations: in the file's order; a repeated one stands there several times.
        skipped: what was left out, and why.
        digest: of the content of the usable conversations.
    """

    conversations: Sequence[Conversation]
    skipped: tuple[Broken, ...]
    digest: str

    def subset(self, fraction: float, seed: int) -> np.ndarray:
        """Indices of the first `fraction` of one seeded permutation, so that subsets are nested.

        Distinct int64 indices into `conversations`, in the permutation's order (`Seeds.data`);
        of a fraction in (0, 1] at least one.
        """
        count = subset_size(len(self.conversations), fraction)
        return np.random.default_rng(seed).permutation(len(self.conversations))[:count]

    def at(self, indices: np.ndarray) -> Iterable[Conversation]:
        """Those of these indices, in their order."""
        if isinstance(self.conversations, StoredConversations):
            return self.conversations.at(indices)
        return [self.conversations[int(i)] for i in indices]

    def subset_digest(self, indices: np.ndarray) -> str:
        """Digest of a subset's samples, in order; ids alone may repeat, or stay in a new file."""
        places = np.asarray(indices, dtype=np.int64).tobytes()
        return hashlib.sha256(f"{self.digest}\0".encode() + places).hexdigest()[:16]

    def picture_digest(self) -> str | None:
        """Digest of the image files of `GLANCED` samples; None if one cannot be read.

        The samples are always the same ones. Reading all files may take hours; where one in twenty
        is another one, this tells so in 99 of 100 cases.
        """
        some = np.sort(self.subset(1.0, 0)[:GLANCED])
        try:
            return digest([file_digest(path) for one in self.at(some) for path in one.images])
        except OSError:
            return None


def subset_size(conversations: int, fraction: float) -> int:
    """How many of them a fraction in (0, 1] is; at least one."""
    return max(1, round(fraction * conversations))


def held_out_samples(conversations: int, fraction: float) -> int:
    """On how many conversations that it does not train on a recovery is compared; maybe none."""
    left = conversations - subset_size(conversations, fraction)
    return 0 if left < LEAST_HELD_OUT else min(left, HELD_OUT)


def conversation_source(spec: DataSpec) -> Source:
    """The files that `spec` names, with digests of their content.

    Raises:
        ValueError: a file is unreadable or of no known format.
    """
    if spec.conversations is None:
        raise ValueError("DataSpec.conversations is not set; give a file of conversations")
    return find_source(
        Path(spec.conversations), Path(spec.image_folder) if spec.image_folder else None
    )


def load_conversations(spec: DataSpec) -> ConversationData:
    """Read and check every conversation that `spec` names; opens no image.

    Raises:
        ValueError: the file is unreadable, or a sample is broken and `skip_broken` is off, or no
            usable sample is left. The message names the sample by its id.
    """
    data, origins = _read(spec)
    if data.skipped and not spec.skip_broken:
        raise ValueError(
            f"{origins[0].name}: {data.skipped[0].message}. Mend the file, or set "
            "data.skip_broken=true to go on without such samples; `prunesweep data check` lists "
            "all of them."
        )
    if not len(data.conversations):
        first = f"; the first: {data.skipped[0].message}" if data.skipped else ""
        raise ValueError(
            f"{spec.conversations} has no usable conversation ({len(data.skipped)} broken{first}); "
            f"expected {EXPECTED}"
        )
    return data


def survey_conversations(spec: DataSpec) -> ConversationData:
    """All usable conversations, if any, and whatever is broken; opens no image.

    Raises:
        ValueError: the file is unreadable, or holds nothing.
    """
    data, _ = _read(spec)
    if not (len(data.conversations) or data.skipped):
        raise ValueError(f"{spec.conversations} has no usable conversation; expected {EXPECTED}")
    return data


def _read(spec: DataSpec) -> tuple[ConversationData, list[Path]]:
    """The conversations, and the file that each broken one is in."""
    source = conversation_source(spec)
    table = open_table(source)
    linked = [Path(folder) for folder in spec.linked_folders]
    folders = [ImageFolder(part.folder, linked) for part in source.parts]
    faults = list(table.broken)
    present = np.ones(len(table.rows), dtype=bool)
    for row, part, fault in _missing_images(table, folders):
        present[row] = False
        faults.append((part, fault))
    order = _repeated(source, np.asarray(table.rows.data.column("part")), present)
    skipped = tuple(fault for _, fault in faults)
    content = source.digest
    if skipped:  # which samples are left depends on the image files, too
        content = digest([source.digest, *(fault.sample for fault in skipped)])
    places = tuple(folder.folder for folder in folders)
    data = ConversationData(StoredConversations(table.rows, order, places), skipped, content)
    return data, [source.parts[part].path for part, _ in faults]


def _missing_images(
    table: Table, folders: Sequence[ImageFolder]
) -> Iterator[tuple[int, int, Broken]]:
    """(row, part, fault) of every row whose images are not all there."""
    seen = table.rows.select_columns(["part", "id", "images"])
    for at in range(0, len(seen), CHUNK):
        columns = seen[at : at + CHUNK].values()
        for row, (part, name, images) in enumerate(zip(*columns, strict=True), start=at):
            try:
                for image in images:
                    folders[part].check(image, name)
            except BrokenSampleError as error:
                yield row, part, error.broken


def _repeated(source: Source, parts: np.ndarray, present: np.ndarray) -> np.ndarray:
    """The usable rows, each part as often as it asks (see `Part.repeat`); int64."""
    order = []
    for number, part in enumerate(source.parts):
        rows = np.flatnonzero(present & (parts == number))
        whole, rest = divmod(part.repeat, 1.0)
        order += [np.tile(rows, int(whole)), rows[: int(len(rows) * rest)]]
    return np.concatenate(order)
