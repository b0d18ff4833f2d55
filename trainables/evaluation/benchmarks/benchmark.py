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


# Columns that are added to a task's documents: the row of the copy, and the name of its image.
ROW, IMAGE_NAME = "prunesweep_row", "prunesweep_image"
COCO = "coco:"  # begins the name of a picture that is COCO's, whatever its benchmark
IMAGE_TABLE: dict[str, Kind] = {"id": "label", "image": "image"}


def picture_name(collection: str, image: str) -> str:
    """An image's name in all benchmarks; COCO's pictures stand in other collections, too."""
    return image if image.startswith(COCO) else f"{collection}:{image}"


class TaskInfo(Frozen):
    """One lmms-eval task: what is asked, where samples' scores and images are found.

    Attributes:
        name: the task's name in lmms-eval.
        about: what is asked, in a few words.
        metric: key of the task's `process_results` that holds a sample's score.
        chance: score of always giving the most frequent answer, 0..100.
        collection: of images; tasks of one collection name their images alike, and a benchmark's
            image is on the same side of the split in all of them.
        image_key: document column that names the image.
        rows: how logged samples become scores: `sample` (the metric itself, in [0, 1]), `mmmu`,
            `mathvista` and `cider` (what lmms-eval's aggregation makes of it), or `mme` (two
            reported tasks, each a weighted mean over images, on 0..100).
        embedded: whether its data is generated here; other tasks are lmms-eval's own, and need a
            local copy of their data, unless they are the user's `own`.
        licence: of the data, for the table; a copy's card holds the hub's own words.
        needs: programs or packages that scoring needs.
        answer_lengths: an answer that is more than so many times as long as the longest right one
            scores nothing, so that generation may end there; 0 where that is not known.
    """

    name: str
    about: str
    metric: str
    chance: float | None = None
    collection: str
    image_key: str = IMAGE_NAME
    rows: Rows = "sample"
    embedded: bool = False
    own: bool = False
    licence: str
    needs: tuple[Need, ...] = ()
    answer_lengths: int = 0

    @property
    def top(self) -> float:
        """CIDEr goes to 10 and is reported times 100; good captions score above 100."""
        return 1000.0 if self.rows == "cider" else 100.0

    @property
    def scores(self) -> int:
        """Reported tasks that this one counts as in an average."""
        return 2 if self.rows == "mme" else 1

    @property
    def alone(self) -> bool:
        """Whether a sample's score depends on that sample alone, not on those scored with it."""
        return self.rows != "cider"


class Benchmark(TaskInfo):
    """One public benchmark.

    Attributes:
        hub: dataset on the Hugging Face hub; `config` and `split` say which part of it.
        yaml: its task file, below lmms-eval's `tasks`.
        columns: that the task's code reads, and what they hold.
        key: columns that name a question's image; without any it is a digest of its bytes.
        keys_repeat: one picture may stand under several keys; it is then named by its number in
            COCO, or by a digest of its pixels.
        images_config: where the images lie in a part of their own, its name; `key` refers to `id`.
        questions_per_image: if the task can only score an image with exactly so many.
        max_new_tokens: a cap of ours on the task's answer length.
        off_by_default: never part of a list of tasks that nobody wrote out.
    """

    hub: str
    config: str | None = None
    split: str
    yaml: str
    columns: Mapping[str, Kind]
    key: tuple[str, ...] = ()
    keys_repeat: bool = False
    images_config: str | None = None
    questions_per_image: int | None = None
    max_new_tokens: int | None = None
    off_by_default: bool = False

    @property
    def image_columns(self) -> tuple[str, ...]:
        """Columns that hold images."""
        return tuple(name for name, kind in self.columns.items() if kind == "image")


_TABLES = tomllib.loads(Path(__file__).with_name("benchmarks.toml").read_text("utf-8"))
BENCHMARKS = {n: Benchmark.model_validate({"name": n, **table}) for n, table in _TABLES.items()}
