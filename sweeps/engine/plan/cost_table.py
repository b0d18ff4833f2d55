"""What known models cost, dense and pruned, from the plan alone: memory while answering, FLOPs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from sweeps.engine.plan.model_table import BYTES_PER_WEIGHT, METHODS, RATIOS, narrow_table
from sweeps.engine.spec.unpruned_parts import count_costs
from trainables.models.families.registry import adapter_for, model_config
from trainables.models.families.shape import LanguageShape
from trainables.models.unpruned import Counted, Question
from trainables.pruning.planning.sizes import MIB, TERA, flops
from trainables.pruning.planning.targets import Target, resolve_target
from trainables.records import InferenceMemory, Parts
from trainables.specs import EfficiencySpec, Frozen, Method, ModelSpec, PruningSpec


class CostRow(Frozen):
    """One model, dense or pruned; two bytes per weight, one image and the prompt.

    Attributes:
        model: its name, or folder.
        method: None is the dense model.
        ratio_target: of the language model's parameters, as asked.
        ratio: that is really removed.
        layers: decoder layers.
        parts: parameters by part.
        memory: of answering at batch 1, computed.
        tflops: of one forward pass, 2 FLOPs per multiply-add.
        unreachable: why the ratio cannot be had; sizes are then the dense model's.
    """

    model: str
    method: Method | None = None
    ratio_target: float = 0.0
    ratio: float = 0.0
    layers: int
    parts: Parts
    memory: InferenceMemory
    tflops: float
    unreachable: str | None = None


@dataclass(frozen=True)
class Asked:
    """A model and the prunings that are to be priced."""

    name: str
    config: dict[str, Any]
    prunings: tuple[PruningSpec, ...]


@dataclass(frozen=True)
class Priced:
    """A row and what it was computed from."""

    row: CostRow
    shape: LanguageShape
    target: Target
    counted: Counted


def cost_rows(name: str) -> list[CostRow]:
    """A model dense and at the usual ratios for both methods.

    Raises:
        ValueError: the name is neither a known model nor a folder with a supported checkpoint.
    """
    cells = [PruningSpec(method=method, ratio=ratio) for method in METHODS for ratio in RATIOS]
    asked = Asked(name, model_config(ModelSpec(path=name)), (PruningSpec(), *cells))
    return [priced.row for priced in price([asked])[0]]


def price(models: Sequence[Asked]) -> list[list[Priced]]:
    """Every pruning of every model, counted in one other process, which has torch.

    Raises:
        ValueError: a model cannot be counted.
    """
    shapes = [adapter_for(asked.config).language_shape(asked.config) for asked in models]
    targets = [
        [_target(shape, pruning) for pruning in asked.prunings]
        for shape, asked in zip(shapes, models, strict=True)
    ]
    # Only layers of different widths differ at their peak, and many students have the same.
    kinds = [[tuple(sorted(set(target.widths))) for target, _ in each] for each in targets]
    counts = count_costs(
        [
            Question(config=asked.config, students=tuple(dict.fromkeys(each)))
            for asked, each in zip(models, kinds, strict=True)
        ]
    )
    found = []
    for asked, shape, reached, each, counted in zip(
        models, shapes, targets, kinds, counts, strict=True
    ):
        peaks = dict(zip(dict.fromkeys(each), counted.activations, strict=True))
        rows = [
            Priced(
                _row(asked.name, pruning, shape, *target, counted, peaks[kind]),
                shape,
                target[0],
                counted,
            )
            for pruning, target, kind in zip(asked.prunings, reached, each, strict=True)
        ]
        found.append(rows)
    return found


def _target(shape: LanguageShape, pruning: PruningSpec) -> tuple[Target, str | None]:
    """What is kept, and why it is everything if the ratio cannot be reached."""
    try:
        return resolve_target(shape, pruning), None
    except ValueError as error:
        return resolve_target(shape, PruningSpec()), str(error)


def _row(
    name: str,
    pruning: PruningSpec,
    shape: LanguageShape,
    target: Target,
    unreachable: str | None,
    counted: Counted,
    activations: int,
) -> CostRow:
    norm = shape.hidden_size * (2 if shape.norm_bias else 1)
    embeddings = shape.lm_params([]) - norm
    parts = Parts(
        vision=counted.vision,
        projector=counted.projector,
        language_model=target.lm_params - embeddings,
        embeddings=embeddings,
    )
    outside = counted.outside
    # The last of the new tokens is not read again.
    tokens = outside.image_tokens + outside.prompt_tokens + EfficiencySpec().new_tokens - 1
    groups = sum(kept for kept, _ in target.widths)
    weights = BYTES_PER_WEIGHT * (outside.params + target.lm_params) / MIB
    cache = BYTES_PER_WEIGHT * 2 * groups * shape.head_dim * tokens / MIB
    return CostRow(
        model=name,
        method=pruning.method if pruning.prunes else None,
        ratio_target=pruning.ratio,
        ratio=target.ratio,
        layers=target.layers,
        parts=parts,
        memory=InferenceMemory(
            how="computed",
            weights_mib=weights,
            kv_cache_mib=cache,
            activations_mib=activations / MIB,
            total_mib=weights + cache + activations / MIB,
        ),
        tflops=flops(shape, outside).total(target.widths) / TERA,
        unreachable=unreachable,
    )


def print_costs(rows: Sequence[CostRow], console: Console) -> None:
    """The rows of one model as a table."""
    dense = rows[0].parts
    fixed = f"vision {millions(dense.vision)}, projector {millions(dense.projector)}"
    title = f"{rows[0].model}: {fixed}, embeddings and head {millions(dense.embeddings)}"
    table = narrow_table(title)
    table.add_column("method", no_wrap=True)
    columns = ("removed", "layers", "weights", "KV", "act.", "sum", "TFLOPs")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        if row.unreachable:
            table.add_row(cell_name(row), "not reachable")
            continue
        memory = row.memory
        table.add_row(
            cell_name(row),
            f"{row.ratio:.4f}",
            millions(row.parts.language_model),
            *(
                f"{mib:,.0f}" if mib >= 100 else f"{mib:.3g}"
                for mib in (
                    memory.weights_mib,
                    memory.kv_cache_mib,
                    memory.activations_mib,
                    memory.total_mib,
                )
            ),
            f"{row.tflops:.2f}" if row.tflops > 1 else f"{row.tflops:.2g}",
        )
    console.print(table)
    console.print(COSTS_RULE, highlight=False)


COSTS_RULE = (
    "removed: of the language model's parameters, embeddings and head included; layers: parameters "
    "of its decoder layers. Memory in MiB, computed, at "
    f"{BYTES_PER_WEIGHT} bytes per element: weights, keys and values (KV) of one image, "
    f"{EfficiencySpec().prompt_tokens} text tokens and {EfficiencySpec().new_tokens} new ones, and "
    "the peak of live tensors in the prefill (act.). TFLOPs: one forward pass of image and text, 2 "
    "per multiply-add, by torch's flop counter: products of weights and of attention, the whole "
    "square of it."
)


def cell_name(row: CostRow) -> str:
    """Method and asked ratio, e.g. `layerwise 0.30`."""
    return f"{row.method} {row.ratio_target:.2f}" if row.method else "dense"


def millions(count: int) -> str:
    """A number of parameters, e.g. `6,738.9 M`."""
    return f"{count / 1e6:,.1f} M" if count >= 1e7 else f"{count / 1e6:.3f} M"
