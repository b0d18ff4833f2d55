"""Tables of models: sizes for `plan --models`, costs for `plan --cost`."""

from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from typing import TypeVar

from rich.console import Console

from analysis.text_table import TextTable, say
from sweeps.engine.plan.model_sizes import BYTES_PER_WEIGHT, CostRow, ModelRow, PrunedRow
from trainables.specs import EfficiencySpec

Row = TypeVar("Row", bound=PrunedRow)
PROMPT = EfficiencySpec().prompt_tokens
MODELS_RULE = (
    "removed: of the language model's parameters; groups: KV groups per layer; LM: the "
    f"language model's share; MiB: weights at {BYTES_PER_WEIGHT} bytes; TFLOPs: one image and "
    f"{PROMPT} text tokens."
)
COSTS_RULE = (
    "removed: of the language model's parameters, embeddings and head included; layers: parameters "
    "of its decoder layers. Memory in MiB, computed, at "
    f"{BYTES_PER_WEIGHT} bytes per element: weights, keys and values (KV) of one image, "
    f"{PROMPT} text tokens and {EfficiencySpec().new_tokens} new ones, and "
    "the peak of live tensors in the prefill (act.). TFLOPs: one forward pass of image and text, 2 "
    "per multiply-add, by torch's flop counter: products of weights and of attention, the whole "
    "square of it."
)


MODEL_COLUMNS: dict[str, Callable[[ModelRow], str]] = {
    "removed": lambda row: f"{row.ratio:.4f}",
    "layers": lambda row: str(row.layers),
    "groups": lambda row: str(row.kv_groups),
    "neurons": lambda row: f"{row.neurons:,}",
    "params": lambda row: f"{row.params / 1e6:,.1f} M",
    "LM": lambda row: f"{row.lm_fraction:.3f}",
    "MiB": lambda row: f"{row.weights_mib:,.0f}",
    "TFLOPs": lambda row: _tflops(row.tflops),
}
COST_COLUMNS: dict[str, Callable[[CostRow], str]] = {
    "removed": lambda row: f"{row.ratio:.4f}",
    "layers": lambda row: _millions(row.parts.language_model),
    "weights": lambda row: _mib(row.memory.weights_mib),
    "KV": lambda row: _mib(row.memory.kv_cache_mib),
    "act.": lambda row: _mib(row.memory.activations_mib),
    "sum": lambda row: _mib(row.memory.total_mib),
    "TFLOPs": lambda row: _tflops(row.tflops),
}


def print_models(rows: Iterable[ModelRow], console: Console) -> None:
    """Sizes, a table per model."""
    _print(rows, lambda row: f"{row.model} ({row.family})", MODEL_COLUMNS, console)
    say(console, MODELS_RULE)


def print_costs(rows: Iterable[CostRow], console: Console) -> None:
    """Costs, a table per model."""

    def title(dense: CostRow) -> str:
        parts = dense.parts
        fixed = f"vision {_millions(parts.vision)}, projector {_millions(parts.projector)}"
        return f"{dense.model}: {fixed}, embeddings and head {_millions(parts.embeddings)}"

    _print(rows, title, COST_COLUMNS, console)
    say(console, COSTS_RULE)


def _print(
    rows: Iterable[Row],
    title: Callable[[Row], str],
    columns: Mapping[str, Callable[[Row], str]],
    console: Console,
) -> None:
    for _, own in groupby(rows, lambda row: row.model):
        each = list(own)
        cells = [
            (row.cell, "not reachable", *[""] * (len(columns) - 1))
            if row.unreachable
            else (row.cell, *(show(row) for show in columns.values()))
            for row in each
        ]
        say(console, title(each[0]))
        TextTable(("method", *columns), cells).show(console)


def _mib(size: float) -> str:
    return f"{size:,.0f}" if size >= 100 else f"{size:.3g}"


def _tflops(work: float) -> str:
    return f"{work:.2f}" if work > 1 else f"{work:.2g}"


def _millions(count: int) -> str:
    """A number of parameters, e.g. `6,738.9 M`."""
    return f"{count / 1e6:,.1f} M" if count >= 1e7 else f"{count / 1e6:.3f} M"
