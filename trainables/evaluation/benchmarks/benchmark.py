"""The public benchmarks, one table each of benchmarks.toml, and what its keys mean."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from trainables.specs.base import Frozen

# What a column holds: `label` is a text or an integer, `record` a struct.
Kind = Literal["text", "label", "integer", "number", "texts", "image", "record"]
Need = Literal["java", "pycocoevalcap", "Levenshtein"]
Rows = Literal["sample", "mme", "mmmu", "mathvista", "cider"]


class Benchmark(Frozen):
    """One public benchmark.

    Attributes:
        name: its task's name in lmms-eval.
        about: what is asked, in a few words.
        hub: dataset on the Hugging Face hub; `config` and `split` say which part of it.
        yaml: its task file, below lmms-eval's `tasks`.
        columns: that the task's code reads, and what they hold.
        licence: of the data, for the table; a copy's card holds the hub's own words.
        metric: key of the task's results that holds a sample's score.
        chance: score of always giving the most frequent answer, 0..100.
        collection: of images; benchmarks of one collection name their images alike, and an image
            is on the same side of the split in all of them.
        key: columns that name a question's image; without any it is a digest of its bytes.
        images_config: where the images lie in a part of their own, its name; `key` refers to `id`.
        questions_per_image: if the task can only score an image with exactly so many.
        rows: how logged samples become scores.
        max_new_tokens: a cap of ours on the task's answer length.
        needs: programs or packages that scoring needs.
        off_by_default: never part of a list of tasks that nobody wrote out.
    """

    name: str
    about: str
    hub: str
    config: str | None = None
    split: str
    yaml: str
    columns: Mapping[str, Kind]
    licence: str
    metric: str
    chance: float | None = None
    collection: str
    key: tuple[str, ...] = ()
    images_config: str | None = None
    questions_per_image: int | None = None
    rows: Rows = "sample"
    max_new_tokens: int | None = None
    needs: tuple[Need, ...] = ()
    off_by_default: bool = False

    @property
    def image_columns(self) -> tuple[str, ...]:
        """Columns that hold images."""
        return tuple(name for name, kind in self.columns.items() if kind == "image")


# Columns that are added to a task's documents: the row of the copy, and the name of its image.
ROW, IMAGE_NAME = "prunesweep_row", "prunesweep_image"
IMAGE_TABLE: dict[str, Kind] = {"id": "label", "image": "image"}


def _known() -> dict[str, Benchmark]:
    tables = tomllib.loads(Path(__file__).with_name("benchmarks.toml").read_text("utf-8"))
    return {name: Benchmark.model_validate({"name": name, **t}) for name, t in tables.items()}


BENCHMARKS = _known()
