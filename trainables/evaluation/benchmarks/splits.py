"""Which questions of a benchmark form its search and its report split, and in which order.

A split holds whole images, so that no picture is seen on both sides. The side and the place of an
image follow from its name alone: neither another question nor another benchmark moves them.
"""

import hashlib
from collections.abc import Sequence

from trainables.evaluation.benchmarks.benchmark import picture_name
from trainables.specs.base import Split

SIDE = "side"  # no seed: whatever subset is drawn, the report split stays untouched by the search


def select_rows(
    collection: str,
    images: Sequence[str],
    split: Split,
    share: float,
    seed: int = 0,
    limit: int | None = None,
) -> tuple[int, ...]:
    """Rows of one split in the order in which they are asked, image by image.

    Args:
        collection: of the images (`Benchmark.collection`).
        images: name of each row's image; see `picture_name`.
        split: which side.
        share: of the images that form the search split; each falls on its side by a hash, so that
            the share holds on average.
        seed: order of the images.
        limit: at least so many rows, in whole images; None is all. A smaller limit's rows are the
            first ones of a larger limit's.
    """
    by_image: dict[str, list[int]] = {}
    for row, image in enumerate(images):
        by_image.setdefault(image, []).append(row)
    names = {image: picture_name(collection, image) for image in by_image}
    chosen = [i for i in by_image if (unit(SIDE, names[i]) < share) == (split == "search")]
    chosen.sort(key=lambda image: unit(f"order {seed}", names[image]))
    rows: list[int] = []
    for image in chosen:
        if limit is not None and len(rows) >= limit:
            break
        rows += by_image[image]
    return tuple(rows)


def split_rows(
    name: str, collection: str, images: Sequence[str], split: Split, share: float, seed: int
) -> tuple[int, ...]:
    """All rows of one split of a task; see `select_rows`.

    Raises:
        ValueError: there are none.
    """
    rows = select_rows(collection, images, split, share, seed)
    if not rows:
        raise ValueError(
            f"none of the {len(set(images))} images of task {name!r} falls on the {split} split at "
            f"trial.evaluation.search_share={share}; change the share, or use more data"
        )
    return rows


def unit(salt: str, name: str) -> float:
    """A number in [0, 1) that depends on `salt` and `name` alone, in every process."""
    content = hashlib.sha256(f"{salt}\0{name}".encode()).digest()
    return int.from_bytes(content[:7]) / 2**56
