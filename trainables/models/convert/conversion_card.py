"""What a conversion did, and the model card that says so."""

from __future__ import annotations

from pathlib import Path

from trainables.specs import Frozen


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


def conversion_card(done: Converted) -> str:
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
