"""One original checkpoint in, one stock checkpoint out, tensor by tensor.

Everything is checked from names and shapes before a byte is written; the folder appears whole or
not at all.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError

from trainables.common.files import check_free, new_folder
from trainables.common.weights import copy_licences, declared_licence, read_config
from trainables.models.convert.bunny import BUNNY
from trainables.models.convert.internvl_chat import INTERNVL
from trainables.models.convert.layout import Layout, plan_pieces
from trainables.models.convert.llava_v1_5 import LLAVA
from trainables.models.convert.recipe import Recipe
from trainables.models.convert.sources import Source, forget_files, open_source
from trainables.models.convert.writing import Named, write_shards
from trainables.models.families.registry import adapter_for
from trainables.specs import Dtype, Frozen

Progress = Callable[[int, int, Path], None]

LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in (LLAVA, BUNNY, INTERNVL)}


class Converted(Frozen):
    """A finished conversion.

    Attributes:
        layout: of the original.
        source: its folder.
        to: the stock checkpoint's folder.
        model_class: of transformers that loads it.
        dtype: of the written weights.
        tensors: number of written tensors.
        files: the written weight files.
        mib: their size.
        vocabulary: rows of the embedding, before and after.
        folded_bias: the bias of the original's head was folded into its weights.
        unused: original tensors that were left out.
        licence: that the original's card declares; `unknown` otherwise.
        licence_files: names of the licence files that were copied.
    """

    layout: str
    source: str
    to: str
    model_class: str
    dtype: str
    tensors: int
    files: tuple[str, ...]
    mib: float
    vocabulary: tuple[int, int]
    folded_bias: bool
    unused: tuple[str, ...]
    licence: str
    licence_files: tuple[str, ...]


def convert(
    folder: Path,
    to: Path,
    *,
    vision_tower: Path | None = None,
    dtype: Dtype | None = None,
    max_shard_bytes: int = 4 * 10**9,
    progress: Progress = lambda number, of, path: None,
) -> Converted:
    """Write the checkpoint in `folder` as a stock one into `to`.

    Args:
        folder: an original checkpoint.
        to: a folder that does not exist yet, or an empty one.
        vision_tower: the tower's own checkpoint, for layouts that only name it.
        dtype: of the written weights; None takes that of the checkpoint's config, else of its
            embedding.
        max_shard_bytes: of one written file.
        progress: called with (shard from 1, shards, file) after each.

    Raises:
        ValueError: if the layout is unknown, a file is damaged, a tensor is missing, unexpected or
            wrongly shaped (all are named), the tokenizer cannot be had, or `to` is taken.
    """
    check_free(to)
    config = read_config(folder)
    layout = layout_of(config, folder)
    try:
        recipe = _recipe(layout, config, open_source(folder), vision_tower)
        tensors = recipe.source.tensors
        stored = _dtype(dtype, config, recipe.source)
        patterns = [re.compile(pattern) for pattern in (*layout.unused, *recipe.unused)]
        unused = tuple(n for n in tensors if any(p.fullmatch(n) for p in patterns))
        with torch.device("meta"):
            model = getattr(transformers, recipe.model_class)(recipe.config)
        shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        pieces = plan_pieces(layout, shapes, recipe.source, unused, recipe.rows, stored)
        adapter_for(recipe.config.to_dict())  # the result must be a model that can be pruned

        def produce(index: int) -> list[Named]:
            piece = pieces[index]
            made = piece.make([tensors[name].read() for name in piece.sources])
            return list(zip(piece.targets, made, strict=True))

        with new_folder(to) as part:
            groups = [piece.targets for piece in pieces]
            files = write_shards(part, groups, produce, stored, max_shard_bytes, progress)
            recipe.config.architectures = [recipe.model_class]
            recipe.config.dtype = stored
            for text in (recipe.config, recipe.generation, recipe.processor):
                text.save_pretrained(part)
            converted = Converted(
                layout=layout.name,
                source=str(folder),
                to=str(to),
                model_class=recipe.model_class,
                dtype=str(stored).removeprefix("torch."),
                tensors=sum(len(group) for group in groups),
                files=tuple(path.name for path in files),
                mib=sum(path.stat().st_size for path in files) / 2**20,
                vocabulary=(recipe.rows, recipe.config.get_text_config().vocab_size),
                folded_bias=any(len(piece.sources) > 1 for piece in pieces),
                unused=unused,
                licence=declared_licence(folder),
                licence_files=tuple(copy_licences(folder, part)),
            )
            (part / "README.md").write_text(_model_card(converted), encoding="utf-8")
        return converted
    finally:
        forget_files()


def layout_of(config: Mapping[str, Any], folder: Path) -> Layout:
    """The layout of a `config.json`.

    Raises:
        ValueError: if it is a stock checkpoint already, or unknown; lists the known ones.
    """
    for layout in LAYOUTS.values():
        if layout.matches(config):
            return layout
    given = f"model_type={config.get('model_type')!r}"
    if isinstance(config.get("llm_config"), Mapping):
        given += f" with a {config['llm_config'].get('model_type')!r} language model"
    try:
        adapter = adapter_for(config)
    except ValueError:
        known = ", ".join(f"{name} ({layout.example})" for name, layout in LAYOUTS.items())
        raise ValueError(
            f"{folder} has {given}, which is not an original layout known here; known are: "
            f"{known}. A checkpoint that loads with plain transformers needs no conversion: give "
            "its folder as the model"
        ) from None
    raise ValueError(
        f"{folder} is a stock {adapter.name} checkpoint already and needs no conversion: give the "
        "folder itself as the model"
    )


def _recipe(
    layout: Layout, config: Mapping[str, Any], source: Source, vision_tower: Path | None
) -> Recipe:
    try:
        return layout.recipe(config, source, vision_tower)
    except (KeyError, TypeError, AttributeError, StrictDataclassError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"{source.folder / 'config.json'} is no usable {layout.name} config: {reason}"
        ) from error


def _dtype(asked: Dtype | None, config: Mapping[str, Any], source: Source) -> torch.dtype:
    name = asked or config.get("torch_dtype") or config.get("dtype")
    if name is None:
        embedding = next(f for n, f in source.tensors.items() if n.endswith("embed_tokens.weight"))
        name = str(embedding.dtype).removeprefix("torch.")
    if name not in get_args(Dtype):
        known = ", ".join(get_args(Dtype))
        raise ValueError(f"dtype {name!r} cannot be written; give one of {known}")
    found: torch.dtype = getattr(torch, name)
    return found


def _model_card(done: Converted) -> str:
    """Markdown with the front matter of the hub: origin, what changed, licence."""
    name = Path(done.source).name
    before, after = done.vocabulary
    changes = [f"- Tensors were renamed from the {done.layout} layout and stored as {done.dtype}."]
    if after != before:
        changes.append(
            f"- The vocabulary grew from {before:,} to {after:,} rows, for tokens that the stock "
            "processor needs; new rows are the mean of the old ones."
        )
    if done.folded_bias:
        changes.append(
            "- The output head's bias, for which the stock class has no place, was folded into the "
            "head's weights and the final norm's shift. The logits are the same up to rounding."
        )
    text = "\n".join(changes)
    files = f" ({', '.join(done.licence_files)})" if done.licence_files else ""
    return f"""---
library_name: transformers
pipeline_tag: image-text-to-text
license: {done.licence}
tags: [converted, prunesweep]
---

# {name} for plain transformers

The weights of `{name}`, converted by prunesweep from their original layout; they were \
not trained further. Load them with `{done.model_class}.from_pretrained` and \
`AutoProcessor`; no remote code is needed.

{text}

## Licence

That of the original weights: {done.licence}{files}.
"""
