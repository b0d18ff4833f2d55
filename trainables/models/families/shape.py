"""Sizes of a language model, and which rows of its linears belong to which unit; torch-free.

Notation: a *unit* is what width pruning removes, either a KV group (one key/value head with the
query heads that share it) or an MLP neuron.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trainables.specs import Frozen

Part = Literal["q", "k", "v", "o", "gate", "up", "down"]
Unit = Literal["kv_group", "neuron"]
ATTENTION_PARTS: frozenset[Part] = frozenset({"q", "k", "v", "o"})


class LanguageShape(Frozen):
    """Sizes of a decoder-only language model whose layers are all alike.

    Attributes:
        hidden_size: width of the residual stream.
        intermediate_size: MLP neurons per layer.
        num_hidden_layers: decoder layers.
        num_attention_heads: query heads per layer.
        num_key_value_heads: KV groups per layer; each serves the same number of query heads.
        head_dim: channels of one head; width pruning never changes it.
        vocab_size: rows of the embedding.
        tie_word_embeddings: the head is the embedding (counted once).
        gated: the MLP has a gate projection beside `up`.
        biased: the projections that have a bias.
        lm_head_bias: the head has a bias.
        norms_per_layer: 2, or 1 where attention and MLP run in parallel on one norm.
        norm_bias: norms are LayerNorms with a bias (RMSNorms have none).
        qk_norm: queries and keys have a norm over `head_dim` each.
        fixed_heads: no stock config of the family can express fewer heads of the same `head_dim`.
        anchored_layers: so many first layers cannot be removed, because vision features are added
            after each of them by its number (DeepStack).
    """

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int
    tie_word_embeddings: bool = False
    gated: bool = True
    biased: tuple[Part, ...] = ()
    lm_head_bias: bool = False
    norms_per_layer: int = 2
    norm_bias: bool = False
    qk_norm: bool = False
    fixed_heads: bool = False
    anchored_layers: int = 0

    @property
    def heads_per_group(self) -> int:
        """Query heads that share one key/value head."""
        return self.num_attention_heads // self.num_key_value_heads

    @property
    def parts(self) -> tuple[Part, ...]:
        """The projections of a layer."""
        return tuple(self.linears(0, 0))

    def linears(self, kv_groups: int, neurons: int) -> dict[Part, tuple[int, int]]:
        """(rows, columns) of the projections of a layer that keeps `kv_groups` and `neurons`."""
        query, key = kv_groups * self.heads_per_group * self.head_dim, kv_groups * self.head_dim
        hidden = self.hidden_size
        sizes: dict[Part, tuple[int, int]] = {
            "q": (query, hidden),
            "k": (key, hidden),
            "v": (key, hidden),
            "o": (hidden, query),
            "gate": (neurons, hidden),
            "up": (neurons, hidden),
            "down": (hidden, neurons),
        }
        return {part: size for part, size in sizes.items() if self.gated or part != "gate"}

    def widths(self, kept: Sequence[tuple[int, int]] | None = None) -> Sequence[tuple[int, int]]:
        """(KV groups, neurons) of every kept layer; None is the dense model."""
        if kept is not None:
            return kept
        return [(self.num_key_value_heads, self.intermediate_size)] * self.num_hidden_layers

    def layer_params(self, kv_groups: int, neurons: int) -> int:
        """Parameters of one decoder layer that keeps `kv_groups` and `neurons`, norms included."""
        total = self.norms_per_layer * self._norm_params
        total += 2 * self.head_dim if self.qk_norm else 0
        for part, (rows, columns) in self.linears(kv_groups, neurons).items():
            total += rows * columns + (rows if part in self.biased else 0)
        return total

    def lm_params(self, kept: Sequence[tuple[int, int]] | None = None) -> int:
        """Parameters of the language model: embeddings, head (tied once), final norm and layers.

        Args:
            kept: (KV groups, neurons) of every kept layer; None is the dense model.
        """
        embedding = self.vocab_size * self.hidden_size
        total = embedding + self._norm_params
        total += 0 if self.tie_word_embeddings else embedding
        total += self.vocab_size if self.lm_head_bias else 0
        return total + sum(self.layer_params(*widths) for widths in self.widths(kept))

    @property
    def _norm_params(self) -> int:
        return self.hidden_size * (2 if self.norm_bias else 1)


class Projection(Frozen):
    """One linear module of a decoder layer.

    `parts` lists what is stacked along its pruned axis: one entry normally, several where a
    checkpoint fuses them (`("q", "k", "v")`, `("gate", "up")`).
    """

    path: str
    parts: tuple[Part, ...]

    @property
    def unit(self) -> Unit:
        """What its rows or columns belong to."""
        return "kv_group" if self.parts[0] in ATTENTION_PARTS else "neuron"

    @property
    def axis(self) -> Literal[0, 1]:
        """The pruned axis of the weight: output rows (0), or input columns (1) of o and down."""
        return 1 if self.parts[0] in ("o", "down") else 0

    def size(self, linears: Mapping[Part, tuple[int, int]]) -> list[int]:
        """[rows, columns] of the weight where `LanguageShape.linears` has these."""
        return [sum(linears[part][0] for part in self.parts), linears[self.parts[0]][1]]

    def has_bias(self, shape: LanguageShape) -> bool:
        """Whether the module has a bias."""
        return self.parts[0] in shape.biased

    def owners(self, shape: LanguageShape) -> NDArray[np.int64]:
        """Unit index of every row (or column) of the weight, int64 [size of the pruned axis]."""
        return np.concatenate([_part_owners(part, shape) for part in self.parts])


def _part_owners(part: Part, shape: LanguageShape) -> NDArray[np.int64]:
    if part not in ATTENTION_PARTS:
        return np.arange(shape.intermediate_size, dtype=np.int64)
    channels = shape.head_dim * (shape.heads_per_group if part in ("q", "o") else 1)
    # Query head h reads KV head h // heads_per_group, so a group's query heads are neighbours.
    return np.repeat(np.arange(shape.num_key_value_heads, dtype=np.int64), channels)
