"""smol's data: easy-VQA's training pictures to recover on, its test pictures to be scored on.

`prepare(root)` writes `<root>/smol-data-<version>/` once (see `data_in`). Every training picture is
asked one question, its kind and answer in turn. The test pictures are split between `search` and
`report` by a hash of their names; every kind that a picture allows is asked once.
"""

import hashlib
import itertools
import random
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from trainables.embedded.data import (
    EVALUATION_SPLITS,
    EmbeddedData,
    Question,
    Row,
    data_in,
    made_once,
    version_of,
    write_conversations,
    write_questions,
)
from trainables.embedded.smol_pictures import KINDS, Picture, read
from trainables.embedded.wheels import PICTURES, unpacked
from trainables.specs import digest

SEED = 7
CONVERSATIONS = 4000
QUESTIONS = {"search": 240, "report": 440}  # of each kind; so many every kind has


def version() -> str:
    """Digest of the generator's source and of easy-VQA."""
    return digest([version_of("smol_pictures.py", "smol_dataset.py"), PICTURES.sha256])[:10]


def split_of(picture: Picture) -> str:
    """Split of a test picture: `search` (one in three) or `report`, by a hash of its name."""
    first = hashlib.sha256(picture.name.encode()).digest()[0]
    return EVALUATION_SPLITS[first % 3 > 0]


def prepare(root: Path) -> EmbeddedData:
    """Make the data under `root` unless it is there; safe to call from several processes.

    Raises:
        ValueError: easy-VQA cannot be had.
    """
    folder = made_once(Path(root) / f"smol-data-{version()}", _fill)
    return data_in(folder, KINDS)


def _fill(folder: Path) -> None:
    with unpacked(PICTURES) as wheel:
        _write(wheel / "easy_vqa" / "data", folder)


def _write(source: Path, folder: Path) -> None:
    data = data_in(folder, KINDS)
    asker = Asker(random.Random(f"{SEED}/train"))
    pictures = read(source, "train")
    write_conversations(data, [row for p in pictures if (row := asker.row(p, [asker.next(p)]))])
    tested = read(source, "test")
    for split, kind in itertools.product(EVALUATION_SPLITS, KINDS):
        rng = random.Random(f"{SEED}/{split}/{kind}")
        shown = [picture for picture in tested if split_of(picture) == split]
        asker = Asker(rng)
        rows = (asker.row(picture, [kind]) for picture in rng.sample(shown, len(shown)))
        asked = itertools.islice((row for row in rows if row.questions), QUESTIONS[split])
        write_questions(data.tasks[kind][split], kind, list(asked))


class Asker:
    """Asks about pictures so that kinds, and the answers of each, stay equally frequent."""

    def __init__(self, rng: random.Random) -> None:
        """Args: rng: the only source of chance."""
        self._rng = rng
        self._given: dict[str, Counter[tuple[str, bool]]] = {kind: Counter() for kind in KINDS}

    def next(self, picture: Picture) -> str:
        """The kind that was asked least among those that the picture allows."""
        allowed = [kind for kind in KINDS if picture.asked(kind, self._rng)]
        return min(allowed, key=lambda kind: self._given[kind].total())

    def ask(self, picture: Picture, kind: str) -> Question | None:
        """A question with the answer given least so far; None if the picture allows none.

        An answer to a negated question counts as another one.
        """
        asked = picture.asked(kind, self._rng)
        if not asked:
            return None
        given = self._given[kind]
        least = min(sorted(asked), key=lambda answer: (given[answer], self._rng.random()))
        given[least] += 1
        return Question(kind, self._rng.choice(asked[least]), least[0])

    def row(self, picture: Picture, kinds: Iterable[str]) -> Row:
        """The picture with a question of each of the kinds that it allows."""
        asked = (self.ask(picture, kind) for kind in kinds)
        return Row(
            name=picture.name,
            shows=picture.name,
            image=picture.path.read_bytes(),
            questions={q.kind: q for q in asked if q is not None},
        )
