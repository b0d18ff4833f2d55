"""A family's original layout as a two-column table, and what it says about a checkpoint.

Left: a module or tensor of the original checkpoint, or with a dot at its end all below it. Right:
where it goes in the stock model; several places where the original fuses them (equal rows each, in
this order). `{}` stands for a layer. The first row that fits counts. Right-hand names are the stock
model's without the wrappers that differ between versions of transformers (`model.`,
`vision_model.`); `stored_name` gives the name that is written, which is that of the checkpoints
published for the stock classes and is understood by every version.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from trainables.models.convert.folding import fold_bias
from trainables.models.convert.recipe import Recipe
from trainables.models.convert.sources import Source

Shape = tuple[int, ...]
Table = Mapping[str, str | tuple[str, ...]]
VOCABULARY = ("language_model.embed_tokens.weight", "lm_head.weight")


@dataclass(frozen=True)
class Layout:
    """How one family stores its checkpoints.

    Attributes:
        name: for messages and cards.
        example: a hub id with this layout.
        matches: whether a `config.json` is of this layout.
        table: original module or tensor -> its place in the stock model.
        unused: patterns of original tensors that the stock model computes or does not need.
        recipe: the stock config and processor of a checkpoint, and its tower if that is elsewhere.
        head_bias: (head's bias, final norm's gain, final norm's shift) where the original head may
            have a bias, which is folded into its weights.
    """

    name: str
    example: str
    matches: Callable[[Mapping[str, Any]], bool]
    table: Table
    unused: tuple[str, ...]
    recipe: Callable[[Mapping[str, Any], Source, Path | None], Recipe]
    head_bias: tuple[str, str, str] | None = None


@dataclass(frozen=True)
class Piece:
    """Tensors of the stock model that are made together.

    Attributes:
        sources: original names.
        targets: shapes by stored name.
        make: the targets, in order, from the sources, in order.
    """

    sources: tuple[str, ...]
    targets: Mapping[str, Shape]
    make: Callable[[list[torch.Tensor]], list[torch.Tensor]]


def plan_pieces(
    layout: Layout,
    shapes: Mapping[str, Shape],
    source: Source,
    unused: Sequence[str],
    rows: int,
    dtype: torch.dtype,
) -> list[Piece]:
    """How every tensor of the stock model is made, in the order in which the files hold the parts.

    Args:
        layout: the checkpoint's.
        shapes: of the stock model's tensors, by its state dict's names.
        source: the checkpoint's tensors; only their shapes are looked at.
        unused: names of original tensors that are left out.
        rows: of the original embedding; the stock one may have more.
        dtype: of the written tensors.

    Raises:
        ValueError: names every missing, unexpected and wrongly shaped original tensor.
    """
    wanted = {plain_name(name): shape for name, shape in shapes.items()}
    pieces: list[Piece] = []
    expected: dict[str, Shape] = {}
    for original, targets in _assignments(layout.table, wanted):
        sizes = {stored_name(target, layout.name): wanted[target] for target in targets}
        shape = (sum(size[0] for size in sizes.values()), *wanted[targets[0]][1:])
        vocabulary = targets[0] in VOCABULARY
        expected[original] = (rows, *shape[1:]) if vocabulary else shape
        make = partial(_grow, shape[0]) if vocabulary else partial(_split, len(targets))
        pieces.append(Piece((original,), sizes, make))
    _check(layout, expected, source, unused)
    if layout.head_bias is not None and _has_bias(layout.head_bias[0], source, rows):
        pieces = _with_folded_bias(pieces, layout.head_bias, dtype)
    order = {name: position for position, name in enumerate(source.tensors)}
    return sorted(pieces, key=lambda piece: order[piece.sources[0]])


def plain_name(name: str) -> str:
    """A stock state dict's name, or a stored one, as the tables write it."""
    name = name.removeprefix("model.").replace("vision_tower.vision_model.", "vision_tower.")
    name = name.replace("language_model.lm_head.", "lm_head.")
    return name.replace("language_model.model.", "language_model.")


def stored_name(plain: str, layout: str) -> str:
    """The name under which a tensor is written."""
    if plain.startswith("lm_head."):
        return f"language_model.{plain}"
    if plain.startswith("language_model."):
        return plain.replace("language_model.", "language_model.model.", 1)
    if plain.startswith("vision_tower.") and layout != "internvl-chat":
        return plain.replace("vision_tower.", "vision_tower.vision_model.", 1)
    return plain


def _assignments(table: Table, wanted: Mapping[str, Shape]) -> Iterator[tuple[str, list[str]]]:
    """(original name, its targets) for every tensor of the stock model."""
    rows = [(left, (right,) if isinstance(right, str) else right) for left, right in table.items()]
    patterns = [(_pattern(right[0]), left, right) for left, right in rows]
    covered: set[str] = set()
    for name in wanted:
        for pattern, left, right in patterns:
            found = pattern.fullmatch(name)
            if found:
                *layer, suffix = found.groups()
                targets = [place.format(*layer) + suffix for place in right]
                covered |= set(targets)
                yield left.format(*layer) + suffix, targets
                break
    uncovered = sorted(wanted.keys() - covered)
    assert not uncovered, f"the table has no row for {uncovered}"


def _pattern(place: str) -> re.Pattern[str]:
    suffix = "(.*)" if place.endswith(".") else r"(|\.weight|\.bias)"
    return re.compile(re.escape(place).replace(r"\{\}", r"(\d+)") + suffix)


def _split(parts: int, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    return list(tensors[0].chunk(parts)) if parts > 1 else tensors


def _grow(rows: int, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """Adds rows that are the mean of all: a logit below the greatest, so never a greedy choice."""
    (tensor,) = tensors
    if rows == len(tensor):
        return tensors
    mean = tensor.mean(dim=0, dtype=torch.float32).to(tensor.dtype)
    return [torch.cat([tensor, mean.expand(rows - len(tensor), -1)])]


def _has_bias(name: str, source: Source, rows: int) -> bool:
    fact = source.tensors.get(name)
    if fact is None:
        return False
    if fact.shape != (rows,):
        raise ValueError(f"{source.folder}: {name} is {list(fact.shape)}, must be [{rows}]")
    return bool(fact.read().any())


def _with_folded_bias(
    pieces: list[Piece], names: tuple[str, str, str], dtype: torch.dtype
) -> list[Piece]:
    """The pieces, those of head and final shift put together."""
    bias, gain, shift = names
    head = next(p for p in pieces if any(t.endswith("lm_head.weight") for t in p.targets))
    norm = next(p for p in pieces if p.sources == (shift,))

    def make(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        head_weight, head_bias, norm_gain, norm_shift = tensors
        weight, new_shift = fold_bias(head_weight, head_bias, norm_gain, norm_shift, dtype)
        return [*head.make([weight]), new_shift]

    both = Piece((*head.sources, bias, gain, shift), {**head.targets, **norm.targets}, make)
    return [both if piece is head else piece for piece in pieces if piece is not norm]


def _check(
    layout: Layout, expected: Mapping[str, Shape], source: Source, unused: Sequence[str]
) -> None:
    """Raise ValueError with every tensor that is missing, unexpected or wrongly shaped."""
    given = source.tensors
    known = {*expected, *unused, *(layout.head_bias or ())}
    extra = [name for name in given if name not in known]
    missing = [name for name in expected if name not in given]
    found = [(name, given[name], shape) for name, shape in expected.items() if name in given]
    shaped = [
        f"{name} is {list(fact.shape)}, must be {list(shape)}"
        for name, fact, shape in found
        if fact.shape != shape
    ]
    integers = [f"{n} is {fact.dtype}" for n, fact, _ in found if not fact.dtype.is_floating_point]
    problems = (
        ("missing", missing),
        ("unexpected", extra),
        ("wrong shape", shaped),
        ("no floating-point numbers (a quantised checkpoint cannot be converted)", integers),
    )
    said = "; ".join(f"{what}: {', '.join(names)}" for what, names in problems if names)
    if said:
        raise ValueError(
            f"{source.folder} is not a complete {layout.name} checkpoint, and nothing was written. "
            f"{said}"
        )
