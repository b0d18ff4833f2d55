"""The rows of the study's cost tables (2 and 7), each beside our counts.

Memory is what the study calls allocated memory of the fp16 weights; its parts are facts about its
models, none of them fitted: parameters at two bytes, and the rotary tables that transformers of
its time kept in every layer, handed out by torch's caching allocator in the order of the modules.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any, Literal

from analysis.published.study import OFF_THE_LINE, load_published
from docs.scripts.study_allocator import allocated_bytes, language_tensors
from sweeps.engine.plan.model_sizes import Asked, CostRow, Sized, cost_row, size
from trainables.models.families.registry import model_config
from trainables.specs import MIB, Frozen, ModelSpec, PruningSpec

Marked = Literal["memory", "tflops"]


@dataclass(frozen=True)
class StudyModel:
    """One model of the study, as its authors' own code loads it.

    Attributes:
        path: the same model in the registry.
        positions: rows of a layer's rotary tables.
        rotary: channels of a head that are rotated, columns of a table.
        text: what differs from the registry's text config.
        vision: what differs from its vision config.
        others: what differs beside them.
    """

    path: str
    positions: int
    rotary: int
    text: dict[str, Any] = field(default_factory=dict)
    vision: dict[str, Any] = field(default_factory=dict)
    others: dict[str, Any] = field(default_factory=dict)


STUDY: dict[str, StudyModel] = {
    "llava-v1.5-7b": StudyModel(
        "llava-hf/llava-1.5-7b-hf", positions=4096, rotary=128, text={"vocab_size": 32000}
    ),
    # BAAI-DCAI/Bunny keeps SigLIP whole and reads its last but one layer.
    "bunny-v1.0-3b": StudyModel(
        "BAAI/Bunny-v1_0-3B",
        positions=2048,
        rotary=32,
        vision={"num_hidden_layers": 27, "vision_use_head": True},
        others={"vision_feature_layer": -2},
    ),
}

# What a column of the printed tables is called here.
COLUMNS: dict[str, Marked] = {"allocated_memory_mib": "memory", "tflops": "tflops"}


class StudyRow(Frozen):
    """A printed row and our counts for what was really removed.

    Attributes:
        table: of the study.
        cost: our counts; `cost.ratio` is what was really removed.
        allocated_mib: of the weights, by the rule of this module.
        printed_mib: what the study says.
        printed_tflops: what the study says.
        marked: the printed value that contradicts its neighbours.
    """

    table: int
    cost: CostRow
    allocated_mib: float
    printed_mib: float
    printed_tflops: float
    marked: Marked | None = None

    @property
    def memory_difference(self) -> float:
        """Ours against the printed memory, as a fraction of it."""
        return self.allocated_mib / self.printed_mib - 1

    @property
    def tflops_difference(self) -> float:
        """Ours against the printed TFLOPs, as a fraction of them."""
        return self.cost.tflops / self.printed_tflops - 1


@dataclass(frozen=True)
class Study:
    """Rows in the study's order, and what they were computed from."""

    rows: tuple[StudyRow, ...]
    sized: tuple[Sized, ...]


def study_costs(model: str | None = None) -> Study:
    """Every row of the tables, or those of one model (the study's name or the registry's)."""
    printed = [
        row
        for row in load_published()["cost"]
        if model in (None, row["model"], STUDY[row["model"]].path)
    ]
    names = list(dict.fromkeys(row["model"] for row in printed))
    own = {name: [row for row in printed if row["model"] == name] for name in names}
    asked = [
        Asked(name, _config(STUDY[name]), tuple(_pruning(row) for row in own[name]))
        for name in names
    ]
    found = {}
    for name, sized in zip(names, size(asked), strict=True):
        for row, each in zip(own[name], sized, strict=True):
            found[id(row)] = each
    rows = tuple(_row(row, found[id(row)]) for row in printed)
    return Study(rows, tuple(found[id(row)] for row in printed))


def is_study_model(name: str) -> bool:
    """Whether the study's tables have rows of this model."""
    return name in STUDY or name in {model.path for model in STUDY.values()}


def _config(model: StudyModel) -> dict[str, Any]:
    config = copy.deepcopy(model_config(ModelSpec(path=model.path)))
    config["text_config"] |= model.text
    config["vision_config"] |= model.vision
    return config | model.others


def _pruning(row: dict[str, Any]) -> PruningSpec:
    if row["method"] == "dense":
        return PruningSpec()
    return PruningSpec(method=row["method"], ratio=row["nominal_ratio"], preset="study")


def _row(row: dict[str, Any], sized: Sized) -> StudyRow:
    column = OFF_THE_LINE.get((row["model"], row["method"], row["nominal_ratio"]))
    return StudyRow(
        table=row["table"],
        cost=cost_row(sized),
        allocated_mib=allocated_bytes(_requests(STUDY[row["model"]], sized)) / MIB,
        printed_mib=row["allocated_memory_mib"],
        printed_tflops=row["tflops"],
        marked=COLUMNS[column] if column else None,
    )


def _requests(model: StudyModel, sized: Sized) -> list[int]:
    """Bytes of every tensor, in the order of the modules: decoder, tower, projector, head."""
    shape, widths = sized.shape, sized.target.widths
    sizes = list(language_tensors(shape, widths))
    # A layer's tables are made with it; for the allocator only their number and size matter.
    sizes += [model.positions * model.rotary] * (2 * len(widths))
    sizes += [*sized.counted.tensors, shape.vocab_size * shape.hidden_size]
    return [2 * size for size in sizes]
