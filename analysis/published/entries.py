"""What a cell of the study's tables holds: a setting, and what it came to, printed or measured.

The printed numbers and the trials of sweeps are brought to one form, so that one description of a
table (`study_tables.py`) and one renderer (`sheet.py`) serve both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from analysis.published.overlay import NOMINAL
from analysis.published.study import (
    OFF_THE_LINE,
    PublishedScores,
    load_extended,
    load_published,
    published_accuracy,
    recomputed_retention,
)
from trainables.specs import Frozen, Method, Quantization, Scope

AVERAGE, RETENTION, MEMORY, TFLOPS, LATENCY = "average", "retention", "MiB", "TFLOPs", "ms"
COSTS = (MEMORY, TFLOPS)  # of the pruned model, however it was recovered
# The extended study's columns by our names of the tasks.
TASKS = {
    "MMMU": "mmmu_val", "SQA": "scienceqa_img", "MathV": "mathvista_testmini_format",
    "AI2D": "ai2d", "MME-C": "mme_cognition", "MME-P": "mme_perception", "POPE": "pope",
    "DocVQA": "docvqa_val", "GQA": "gqa",
}  # fmt: skip
NINE = tuple(TASKS.values())
SIX = ("mmmu_val", "gqa", "scienceqa_img", "mme_cognition", "mme_perception", "pope")
HEADINGS = {task: heading for heading, task in TASKS.items()}
# Loss terms by the tables' names, in the order in which a mixture names them.
TERMS = {"sft": "ce", "rkl": "reverse_kl", "kl": "kl", "l2": "l2"}
EXTENDED_MODELS = {
    "LLaVA-v1.5-7B": "llava-v1.5-7b",
    "Bunny-v1.0-3B": "bunny-v1.0-3b",
    "Mini-InternVL-Chat-4B": "mini-internvl-chat-4b-v1.5",
}
# The same models under the names that sweeps load them by.
PATHS = {
    "llava-hf/llava-1.5-7b-hf": "llava-v1.5-7b",
    "BAAI/Bunny-v1_0-3B": "bunny-v1.0-3b",
    "OpenGVLab/Mini-InternVL-Chat-4B-V1-5": "mini-internvl-chat-4b-v1.5",
}
EXTENDED_METHODS: dict[str, tuple[Method | Literal["dense"], str]] = {
    "Original": ("dense", "none"),
    "Widthwise": ("widthwise", "none"),
    "Layerwise": ("layerwise", "none"),
    "Layer+FT+L2": ("layerwise", "sft+l2"),
    "Width+FT+L2": ("widthwise", "sft+l2"),
}
Topic = Literal[
    "accuracy", "cost", "distillation", "hidden_layers", "quantization", "generalization",
    "zero_shot", "best_recovered",
]  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """What was done to a model; by default nothing.

    Attributes:
        method: `dense` where nothing was pruned.
        ratio: nominal fraction of the language model.
        scope: what recovery trained.
        terms: its loss terms; empty without recovery.
        hidden_layers: states that the hidden-state distillation covers.
        quantization: of the recovered model.
        data_fraction: share of the training conversations; None is the study's usual 5 %, or what
            a sweep has that is nearest.
    """

    method: Method | Literal["dense"] = "dense"
    ratio: float = 0.0
    scope: Scope = "none"
    terms: str = ""
    hidden_layers: int = 1
    quantization: Quantization = "none"
    data_fraction: float | None = None

    @property
    def pruned_alone(self) -> Setting:
        """The same without recovery, whose costs are the same."""
        return replace(self, scope="none", terms="", hidden_layers=1, data_fraction=None)

    @property
    def label(self) -> str:
        """A readable name."""
        pruned = "dense" if self.method == "dense" else f"{self.method} {self.ratio:.2f}"
        layers = f" of {self.hidden_layers} states" if self.hidden_layers > 1 else ""
        data = "" if self.data_fraction is None else f" {100 * self.data_fraction:g}% data"
        recovery = f" {self.scope} {self.terms}{layers}{data}" if self.terms else ""
        return pruned + recovery + ("" if self.quantization == "none" else f" {self.quantization}")


class Value(Frozen):
    """A number, its standard error where it is known, and whether something is odd about it."""

    estimate: float
    error: float | None = None
    marked: bool = False


@dataclass(frozen=True)
class Values:
    """What a setting came to.

    Attributes:
        scores: by task, MME in points of its own scale.
        results: everything else, by the names at the top of this file.
    """

    scores: Mapping[str, Value] = field(default_factory=dict)
    results: Mapping[str, Value] = field(default_factory=dict)

    def get(self, name: str) -> Value | None:
        """The result of that name, or the score of that task."""
        return self.results.get(name, self.scores.get(name))


def printed_entries(topic: Topic, model: str, table: int | None = None) -> dict[Setting, Values]:
    """The printed values of a model, by setting.

    Args:
        topic: of the published data.
        model: as the study's tables name it.
        table: whose rows; None takes all of the topic.
    """
    rows = [
        row
        for row in _rows(topic)
        if _model(row) == model and (table is None or row["table"] == table)
    ]
    read = READERS[topic]
    return {setting: values for row in rows for setting, values in read(row)}


def printed_models(topic: Topic, table: int | None = None) -> list[str]:
    """The models of which a topic has numbers, in the order of the tables."""
    rows = (row for row in _rows(topic) if table is None or row["table"] == table)
    return list(dict.fromkeys(_model(row) for row in rows))


def terms_of(recovery: str) -> str:
    """Our name of a mixture such as `rkl+sft`."""
    parts = recovery.split("+")
    return "+".join(ours for theirs, ours in TERMS.items() if theirs in parts)


def _rows(topic: Topic) -> list[dict[str, Any]]:
    extended = topic in ("zero_shot", "best_recovered")
    rows: list[dict[str, Any]] = (load_extended() if extended else load_published())[topic]
    return rows


def _model(row: Mapping[str, Any]) -> str:
    name: str = row["model"]
    return EXTENDED_MODELS.get(name, name)


def _setting(row: Mapping[str, Any], recovery: str) -> Setting:
    if recovery == "none":
        return Setting(row["method"], row["nominal_ratio"])
    scope: Scope = "projector" if recovery.endswith("-projector") else "joint"
    terms = terms_of(recovery.removesuffix("-projector"))
    return Setting(row["method"], row["nominal_ratio"], scope, terms)


def _aggregates(row: Mapping[str, Any], contradicted: bool = False) -> Iterator[tuple[str, Value]]:
    if "printed_average" in row:
        yield AVERAGE, Value(estimate=row["printed_average"])
    if "printed_retention_percent" in row:
        yield RETENTION, Value(estimate=row["printed_retention_percent"], marked=contradicted)


Read = Callable[[Mapping[str, Any]], Iterable[tuple[Setting, Values]]]


def _accuracy(row: Mapping[str, Any]) -> Iterable[tuple[Setting, Values]]:
    own = PublishedScores.model_validate(row)
    recomputed = 100 * recomputed_retention(own, published_accuracy())
    scores = {task: Value(estimate=score) for task, score in own.scores.items()}
    contradicted = abs(recomputed - own.printed_retention_percent) > 0.02
    results = dict(_aggregates(row, contradicted))
    yield _setting(row, row["recovery"]), Values(scores, results)


def _cost(row: Mapping[str, Any]) -> Iterable[tuple[Setting, Values]]:
    odd = OFF_THE_LINE.get((row["model"], row["method"], row["nominal_ratio"]))
    costs = {
        name: Value(estimate=row[column], marked=column == odd)
        for name, column in ((MEMORY, "allocated_memory_mib"), (TFLOPS, "tflops"))
    }
    yield _setting(row, "none"), Values(results=costs)


def _recovered(row: Mapping[str, Any]) -> Iterable[tuple[Setting, Values]]:
    yield _setting(row, row["recovery"]), Values(results=dict(_aggregates(row)))


def _hidden_layers(row: Mapping[str, Any]) -> Iterable[tuple[Setting, Values]]:
    """Printed by share of all parameters, which the nominal ratios stand for in their order.

    Its loss is taken for L2 alone: with k = 1 and CE beside it Table 8 prints 91.15 and 83.69 at
    45 and 60 %, where this one has 87.08 and 75.25.
    """
    shares = sorted({r["fraction_of_total_parameters"] for r in _rows("hidden_layers")})
    ratio = NOMINAL[shares.index(row["fraction_of_total_parameters"])]
    setting = Setting(row["method"], ratio, "joint", "l2", hidden_layers=row["last_k_layers"])
    yield setting, Values(results=dict(_aggregates(row)))


def _quantization(row: Mapping[str, Any]) -> Iterable[tuple[Setting, Values]]:
    """Memory is printed in thousand MiB; the pruned rows are Table 8's, layerwise with CE + L2."""
    quantization: Quantization = "none" if row["quantization"] == "none" else "llm_int8"
    ratio = row["nominal_ratio"]
    pruned = Setting("layerwise", ratio, "joint", "ce+l2") if ratio else Setting()
    latency = Value(estimate=row["latency_ms"], error=row["latency_ms_sd"])
    memory = Value(estimate=1000 * row["memory_gib"])
    values = {**dict(_aggregates(row)), MEMORY: memory, LATENCY: latency}
    yield replace(pruned, quantization=quantization), Values(results=values)


def _extended(row: Mapping[str, Any]) -> Iterable[tuple[Setting, Values]]:
    method, recovery = EXTENDED_METHODS[row["method"]]
    setting = _setting({"method": method, "nominal_ratio": row["ratio"] / 100}, recovery)
    scores = {task: Value(estimate=row[name]) for name, task in TASKS.items()}
    yield setting, Values(scores, {RETENTION: Value(estimate=row["AVG-%"])})


READERS: dict[Topic, Read] = {
    "accuracy": _accuracy,
    "cost": _cost,
    "distillation": _recovered,
    "hidden_layers": _hidden_layers,
    "quantization": _quantization,
    "generalization": _recovered,
    "zero_shot": _extended,
    "best_recovered": _extended,
}
