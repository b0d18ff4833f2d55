"""Sizes of known models, dense and pruned, without weights."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from sweeps.engine.spec.unpruned_parts import find_all_outside
from trainables.models.families.registry import MODELS, adapter_for, model_config
from trainables.models.unpruned import (
    Unpruned,
)
from trainables.pruning.planning.sizes import (
    MIB,
    TERA,
    flops,
)
from trainables.pruning.planning.targets import resolve_target
from trainables.specs import EfficiencySpec, Frozen, Method, ModelSpec, PruningSpec

METHODS: tuple[Method, ...] = ("layerwise", "widthwise")
RATIOS = (0.15, 0.30, 0.45, 0.60)
BYTES_PER_WEIGHT = 2  # what models of this size are published in: bfloat16 or float16


class ModelRow(Frozen):
    """One model, dense or pruned.

    Attributes:
        model: name in the registry, or folder.
        family: its adapter.
        method: None is the dense model.
        ratio_target: of the language model's parameters.
        ratio: that is achieved.
        layers: decoder layers.
        kv_groups: KV groups of a layer.
        neurons: MLP neurons of a layer.
        params: of the whole model.
        lm_fraction: share of them that is the language model's.
        weights_mib: weight memory, two bytes per weight.
        tflops: of one image of the family's own size and the prompt.
        unreachable: why the ratio cannot be had; sizes are then the dense model's.
    """

    model: str
    family: str
    method: Method | None = None
    ratio_target: float = 0.0
    ratio: float = 0.0
    layers: int
    kv_groups: int
    neurons: int
    params: int
    lm_fraction: float
    weights_mib: float
    tflops: float
    unreachable: str | None = None


def model_rows(name: str | None = None) -> list[ModelRow]:
    """Every known model, or the one named, dense and at `RATIOS` for both methods.

    Raises:
        ValueError: the name is neither a known model nor a folder with a supported checkpoint.
    """
    names = [name] if name is not None else list(MODELS)
    configs = [model_config(ModelSpec(path=each)) for each in names]
    prompt = EfficiencySpec().prompt_tokens
    rows: list[ModelRow] = []
    for each, config, outside in zip(
        names, configs, find_all_outside(configs, prompt, BYTES_PER_WEIGHT), strict=True
    ):
        rows += _rows(each, config, outside)
    return rows


def _rows(name: str, config: dict[str, object], outside: Unpruned) -> list[ModelRow]:
    adapter = adapter_for(config)
    shape = adapter.language_shape(config)
    work = flops(shape, outside)

    def row(pruning: PruningSpec, method: Method | None) -> ModelRow:
        unreachable = None
        try:
            target = resolve_target(shape, pruning)
        except ValueError as error:
            unreachable = str(error)
            target = resolve_target(shape, PruningSpec())
        params = outside.params + target.lm_params
        return ModelRow(
            model=name,
            family=adapter.name,
            method=method,
            ratio_target=pruning.ratio,
            ratio=target.ratio,
            layers=target.layers,
            kv_groups=target.kv_groups,
            neurons=target.neurons,
            params=params,
            lm_fraction=target.lm_params / params,
            weights_mib=params * BYTES_PER_WEIGHT / MIB,
            tflops=work.total(target.widths) / TERA,
            unreachable=unreachable,
        )

    pruned = [
        row(PruningSpec(method=method, ratio=ratio), method)
        for method in METHODS
        for ratio in RATIOS
    ]
    return [row(PruningSpec(), None), *pruned]


def narrow_table(title: str) -> Table:
    """An empty table without lines: its numbers fit into 80 columns uncut."""
    return Table(title=title, title_justify="left", box=None, padding=(0, 1), collapse_padding=True)


def print_models(rows: list[ModelRow], console: Console) -> None:
    """The rows, a table per model."""
    for name in dict.fromkeys(row.model for row in rows):
        own = [row for row in rows if row.model == name]
        table = narrow_table(f"{name} ({own[0].family})")
        table.add_column("method", no_wrap=True)
        for column in ("removed", "layers", "groups", "neurons", "params", "LM", "MiB", "TFLOPs"):
            table.add_column(column, justify="right", no_wrap=True)
        for row in own:
            asked = f"{row.method} {row.ratio_target:.2f}" if row.method else "dense"
            if row.unreachable:
                table.add_row(asked, "not reachable")
                continue
            table.add_row(
                asked,
                f"{row.ratio:.4f}",
                str(row.layers),
                str(row.kv_groups),
                f"{row.neurons:,}",
                f"{row.params / 1e6:,.1f} M",
                f"{row.lm_fraction:.3f}",
                f"{row.weights_mib:,.0f}",
                f"{row.tflops:.2f}" if row.tflops > 1 else f"{row.tflops:.2g}",
            )
        console.print(table)
    prompt = EfficiencySpec().prompt_tokens
    console.print(
        "removed: of the language model's parameters; groups: KV groups per layer; LM: the "
        f"language model's share; MiB: weights at {BYTES_PER_WEIGHT} bytes; TFLOPs: one image and "
        f"{prompt} text tokens.",
        highlight=False,
    )
