"""The public benchmarks as data: where they come from, what their task code reads, what they need.

Hub ids, configs and splits are those of lmms-eval 0.7.3's task files (a test compares them). The
columns are those that its code reads, with the types of the hub's dataset cards. The cards of
ScienceQA, MathVista and the licence of DocVQA were read; the types of the others' columns and
their licences are from memory of the cards, and no hub was at hand to load them. `prunesweep data
fetch` checks the columns it gets and prints the licence that the card states on that day.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

# What a column holds: `label` is a text or an integer, `record` a struct.
Kind = Literal["text", "label", "integer", "number", "texts", "image", "record"]
Need = Literal["java", "pycocoevalcap", "Levenshtein"]
Rows = Literal["sample", "mme", "mmmu", "mathvista", "cider"]


@dataclass(frozen=True)
class Benchmark:
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
    config: str | None
    split: str
    yaml: str
    columns: Mapping[str, Kind]
    licence: str
    metric: str
    chance: float | None
    collection: str
    key: tuple[str, ...] = ()
    images_config: str | None = None
    questions_per_image: int | None = None
    rows: Rows = "sample"
    max_new_tokens: int | None = None
    needs: tuple[Need, ...] = field(default=())
    off_by_default: bool = False

    @property
    def image_columns(self) -> tuple[str, ...]:
        """Columns that hold images."""
        return tuple(name for name, kind in self.columns.items() if kind == "image")


# Columns that are added to a task's documents: the row of the copy, and the name of its image.
ROW, IMAGE_NAME = "prunesweep_row", "prunesweep_image"
IMAGE_TABLE: dict[str, Kind] = {"id": "label", "image": "image"}

_MMMU_IMAGES: dict[str, Kind] = {f"image_{i}": "image" for i in range(1, 8)}

BENCHMARKS: dict[str, Benchmark] = {
    entry.name: entry
    for entry in (
        Benchmark(
            name="gqa",
            about="visual reasoning, short answers",
            hub="lmms-lab-encoder/GQA",
            config="testdev_balanced_instructions",
            split="testdev",
            yaml="gqa/gqa.yaml",
            columns={"question": "text", "answer": "text", "imageId": "label"},
            licence="CC BY 4.0",
            metric="exact_match",
            chance=None,
            collection="gqa",
            key=("imageId",),
            images_config="testdev_balanced_images",
        ),
        Benchmark(
            name="scienceqa_img",
            about="science questions, multiple choice",
            hub="lmms-lab-encoder/ScienceQA",
            config="ScienceQA-IMG",
            split="test",
            yaml="scienceqa/scienceqa_img.yaml",
            columns={
                "image": "image",
                "question": "text",
                "choices": "texts",
                "answer": "integer",
                "hint": "text",
            },
            licence="CC BY-NC-SA 4.0",
            metric="exact_match",
            chance=36.0,
            collection="sqa",
        ),
        Benchmark(
            name="pope",
            about="object hallucination",
            hub="lmms-lab-encoder/POPE",
            config=None,
            split="test",
            yaml="pope/pope.yaml",
            columns={
                "question_id": "label",
                "question": "text",
                "answer": "text",
                "image_source": "text",
                "image": "image",
            },
            licence="MIT; images of COCO under Flickr's terms",
            metric="pope_accuracy",
            chance=50.0,
            collection="coco",
            key=("image_source",),
        ),
        Benchmark(
            name="mme",
            about="perception / 20 and cognition / 8",
            hub="lmms-lab-encoder/MME",
            config=None,
            split="test",
            yaml="mme/mme.yaml",
            columns={
                "question_id": "text",
                "image": "image",
                "question": "text",
                "answer": "text",
                "category": "text",
            },
            licence="for academic research only, by its authors' page",
            metric="mme",
            # The scores add accuracy (chance 50) and both-right (chance 25): 37.5 of 100.
            chance=37.5,
            collection="mme",
            key=("question_id",),
            questions_per_image=2,
            rows="mme",
        ),
        Benchmark(
            name="mmmu_val",
            about="college-level subjects",
            hub="lmms-lab-encoder/MMMU",
            config=None,
            split="validation",
            yaml="mmmu/mmmu_val.yaml",
            columns={
                "id": "text",
                "question": "text",
                "options": "text",
                "answer": "text",
                "question_type": "text",
                **_MMMU_IMAGES,
            },
            licence="Apache-2.0",
            metric="mmmu_acc",
            chance=26.8,  # the paper's "frequent choice" on the validation part
            collection="mmmu",
            rows="mmmu",
        ),
        Benchmark(
            name="ai2d",
            about="science diagrams, multiple choice",
            hub="lmms-lab-encoder/ai2d",
            config=None,
            split="test",
            yaml="ai2d/ai2d.yaml",
            columns={"question": "text", "options": "texts", "answer": "label", "image": "image"},
            licence="CC BY-SA 4.0",
            metric="exact_match",
            chance=25.0,
            collection="ai2d",
        ),
        Benchmark(
            name="docvqa_val",
            about="questions about scanned documents (ANLS)",
            hub="lmms-lab-encoder/DocVQA",
            config="DocVQA",
            split="validation",
            yaml="docvqa/docvqa_val.yaml",
            columns={
                "question": "text",
                "answers": "texts",
                "image": "image",
                "ucsf_document_id": "label",
                "ucsf_document_page_no": "label",
            },
            licence="Apache-2.0 by the hub's card; documents of UCSF's Industry Documents Library",
            metric="anls",
            chance=None,
            collection="docvqa",
            key=("ucsf_document_id", "ucsf_document_page_no"),
        ),
        Benchmark(
            name="mathvista_testmini_format",
            about="mathematics in pictures, answers extracted by rules, without a judge",
            hub="AI4Math/MathVista",
            config=None,
            split="testmini",
            yaml="mathvista/mathvista_testmini_format.yaml",
            columns={
                "pid": "label",
                "question": "text",
                "decoded_image": "image",
                "choices": "texts",
                "unit": "text",
                "precision": "number",
                "answer": "text",
                "question_type": "text",
                "answer_type": "text",
                "metadata": "record",
                "query": "text",
            },
            licence="CC BY-SA 4.0",
            metric="llm_as_judge_eval",
            chance=26.3,  # the paper's "frequent guess" on testmini
            collection="mathvista",
            rows="mathvista",
            # The task allows 16384. Its prompt asks for the bare answer, and a compressed model
            # that does not stop would fill all of them for every question.
            max_new_tokens=512,
            needs=("Levenshtein",),
            off_by_default=True,
        ),
        Benchmark(
            name="coco2017_cap_val",
            about="captions of COCO images (CIDEr x 100)",
            hub="lmms-lab-encoder/COCO-Caption2017",
            config=None,
            split="val",
            yaml="coco_cap/coco2017_cap_val.yaml",
            columns={"question_id": "text", "id": "integer", "answer": "texts", "image": "image"},
            licence="CC BY 4.0; images under Flickr's terms",
            metric="coco_CIDEr",
            chance=None,
            collection="coco",
            key=("question_id",),
            rows="cider",
            needs=("java", "pycocoevalcap"),
        ),
        Benchmark(
            name="nocaps_val",
            about="captions of objects that COCO lacks (CIDEr x 100)",
            hub="lmms-lab-encoder/NoCaps",
            config=None,
            split="validation",
            yaml="nocaps/nocaps_val.yaml",
            columns={"image_id": "integer", "annotations_captions": "texts", "image": "image"},
            licence="CC BY 2.0",
            metric="nocaps_CIDEr",
            chance=None,
            collection="nocaps",
            key=("image_id",),
            rows="cider",
            needs=("java", "pycocoevalcap"),
        ),
    )
}
