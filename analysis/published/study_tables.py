"""The study's tables: what stands in their rows and columns.

A row is a setting; a column is a value of it, or changes the setting (the losses of Table 3). That
is all: what was printed (`entries.py`) and what was measured (`measured.py`) fill the same cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from analysis.published.entries import AVERAGE, LATENCY, MEMORY, RETENTION, TFLOPS, Setting
from analysis.published.layout import SCORES, Column, Row, StudyTable
from analysis.published.overlay import NOMINAL
from trainables.common.names import unknown
from trainables.specs import Method, Scope

DENSE = Row("dense", Setting())
AVERAGES = (Column("AVG", AVERAGE), Column("AVG-%", RETENTION))
RESULTS = (Column(SCORES, SCORES), *AVERAGES)
COSTS = (Column("memory, MiB", MEMORY, 0), Column("TFLOPs", TFLOPS))
MILLI = 1e-3  # of MiB: the unit of Table 4


def _pruned(*methods: Method, ratios: Sequence[float] = NOMINAL) -> tuple[Row, ...]:
    return tuple(Row(f"{m} {_percent(r)}", Setting(m, r)) for m in methods for r in ratios)


def _recovered(method: Method, *ratios: float) -> tuple[Row, ...]:
    return tuple(
        Row(f"{method} {_percent(r)}", Setting(method, r, "joint", "ce+l2")) for r in ratios
    )


def _percent(ratio: float) -> str:
    return f"{100 * ratio:.0f}%"


def _loss(heading: str, terms: str) -> Column:
    return Column(heading, RETENTION, changes={"scope": "joint", "terms": terms})


def _share(fraction: float) -> Column:
    return Column(f"{_percent(fraction)} data", RETENTION, changes={"data_fraction": fraction})


def _states(last: int) -> Column:
    changes = {"scope": "joint", "terms": "l2", "hidden_layers": last}
    return Column(f"last {last}", RETENTION, changes=changes)


BEST = (DENSE, *_recovered("layerwise", 0.15, 0.30), *_recovered("widthwise", 0.45, 0.60))


def _quantized(ratio: float) -> tuple[Row, Row]:
    whole = Setting("layerwise", ratio, "joint", "ce+l2") if ratio else Setting()
    int8 = replace(whole, quantization="llm_int8")
    return Row(f"{_percent(ratio)} 16 bit", whole), Row(f"{_percent(ratio)} LLM.int8", int8)


def _general(ratio: float) -> tuple[Row, ...]:
    recoveries: tuple[tuple[str, Scope, str], ...] = (
        ("projector CE", "projector", "ce"),
        ("joint CE", "joint", "ce"),
        ("joint CE+L2", "joint", "ce+l2"),
    )
    return tuple(
        Row(f"layerwise {_percent(ratio)} {label}", Setting("layerwise", ratio, scope, terms))
        for label, scope, terms in recoveries
    )


QUANTIZED = (*_quantized(0.0), *_quantized(0.15), *_quantized(0.30))
GENERAL = (
    DENSE,
    *_pruned("layerwise", "widthwise", ratios=(0.15,)),
    *_general(0.15),
    *_general(0.30),
)

ALL_SWEEPS = ("study_tiny", "study_smol", "study_llava_7b", "study_bunny_3b", "study_internvl_4b")
TABLES: dict[str, StudyTable] = {
    table.name: table
    for table in (
        StudyTable(
            "table1", "both ways of pruning, without recovery: scores by task", "accuracy",
            (DENSE, *_pruned("widthwise", "layerwise")), RESULTS, 1,
            ("quickstart", "realistic", "published_grid"),
        ),
        StudyTable(
            "table2", "widthwise: memory and work", "cost",
            (DENSE, *_pruned("widthwise")), COSTS, 2,
            ("quickstart", "realistic", "published_grid"),
        ),
        StudyTable(
            "table3", "layerwise, joint recovery: which loss retains how much", "distillation",
            tuple(Row(_percent(r), Setting("layerwise", r)) for r in NOMINAL),
            (_loss("CE", "ce"), _loss("L2", "l2"), _loss("CE+L2", "ce+l2"),
             _loss("RKL", "reverse_kl"), _loss("CE+RKL", "ce+reverse_kl")), 3,
            ("published_grid",),
        ),
        StudyTable(
            "table4", "quantization of the pruned and recovered model", "quantization", QUANTIZED,
            (Column("memory, 1000 MiB", MEMORY, 1, MILLI), Column("AVG", AVERAGE),
             Column("latency, ms", LATENCY, 1)), 4,
            ("pruning_x_quantization", "llava_7b_pruning_x_quantization"),
        ),
        StudyTable(
            "table6", "widthwise, L2 of the last 1, 2 or 3 hidden states", "hidden_layers",
            tuple(Row(_percent(r), Setting("widthwise", r)) for r in NOMINAL),
            (_states(1), _states(2), _states(3)), 6,
        ),
        StudyTable(
            "table7", "layerwise: memory and work", "cost",
            (DENSE, *_pruned("layerwise")), COSTS, 7,
            ("quickstart", "realistic", "published_grid"),
        ),
        StudyTable(
            "table8", "the best recipe of each size (CE+L2): scores by task", "accuracy", BEST,
            RESULTS, 8, ("published_grid",),
        ),
        StudyTable(
            "table9", "a third model: projector or all, CE or CE+L2", "generalization", GENERAL,
            AVERAGES, 9, ("published_grid",),
        ),
        StudyTable(
            "extended-pruned", "nine benchmarks, without recovery (arXiv 2604.24380)", "zero_shot",
            (DENSE, *_pruned("widthwise", "layerwise", ratios=(0.15, 0.30))),
            (Column(SCORES, SCORES), Column("AVG-%", RETENTION)),
        ),
        StudyTable(
            "extended-recovered", "nine benchmarks, the best recipe of each size (2604.24380)",
            "best_recovered", BEST, (Column(SCORES, SCORES), Column("AVG-%", RETENTION)),
        ),
        StudyTable(
            "scope", "what was trained: nothing, the projector, all (drawn in the study)", None,
            _pruned("layerwise", "widthwise"),
            (Column("no recovery", RETENTION),
             Column("projector CE", RETENTION, changes={"scope": "projector", "terms": "ce"}),
             _loss("joint CE", "ce"), _loss("joint CE+L2", "ce+l2")), None,
            ("quickstart", "realistic", "published_grid"),
        ),
        StudyTable(
            "data", "the best recipe by share of the data (drawn in the study)", None, BEST[1:],
            tuple(_share(f) for f in (0.05, 0.1, 0.2, 0.5, 1.0)), None, ("published_grid",),
        ),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Drawn:
    """A figure, or a table without numbers: what it shows, and the commands that answer it."""

    shows: str
    commands: tuple[str, ...]


FIGURES: dict[str, Drawn] = {
    "figure1": Drawn(
        "the decision flow, and what the frontier's models keep task by task",
        ("recommend SWEEP --recipe", "spider SWEEP"),
    ),
    "losses": Drawn("retention by loss mixture and coefficient", ("effects SWEEP",)),
    "sizes": Drawn("retention against memory, work or latency", ("frontier SWEEP --x tflops",)),
    "answers": Drawn("the same pictures, answered by every model", ("answers SWEEP",)),
}
NO_NUMBERS = (
    "Of Tables 5 and 10 no printed numbers are at hand, and of what Figures 2 to 7 plot none "
    "either; what the study draws stands by its subject."
)
UNKNOWN = ("table5", "table10", *(f"figure{number}" for number in range(2, 8)))


def study_table(name: str) -> StudyTable:
    """The table of that name; `Table 3` and `3` are `table3`.

    Raises:
        ValueError: there is no such table; names the nearest.
    """
    plain = name.lower().replace(" ", "").replace("_", "-")
    plain = f"table{plain}" if plain.isdigit() else plain
    if plain in UNKNOWN:
        raise ValueError(f"{NO_NUMBERS} `prunesweep study` lists what there is.")
    if plain not in TABLES:
        raise ValueError(unknown("table or figure of the study", name, [*TABLES, *FIGURES]))
    return TABLES[plain]
