"""The table of one architecture: where its parts live, and how its parameters are counted.

Torch-free, so that the driver can plan a sweep without loading a model. Notation: a *unit* is what
width pruning removes, either a KV group (one key/value head with the query heads that share it) or
an MLP neuron.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

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

    @property
    def heads_per_group(self) -> int:
        """Query heads that share one key/value head."""
        return self.num_attention_heads // self.num_key_value_heads

    @property
    def parts(self) -> tuple[Part, ...]:
        """The projections of a layer."""
        return ("q", "k", "v", "o", *(("gate",) if self.gated else ()), "up", "down")

    def layer_params(self, kv_groups: int, neurons: int) -> int:
        """Parameters of one decoder layer that keeps `kv_groups` and `neurons`, norms included."""
        query, key = kv_groups * self.heads_per_group * self.head_dim, kv_groups * self.head_dim
        rows = {"q": query, "k": key, "v": key, "o": self.hidden_size}
        rows |= {"gate": neurons, "up": neurons, "down": self.hidden_size}
        columns = {"o": query, "down": neurons}
        total = self.norms_per_layer * self._norm_params
        total += 2 * self.head_dim if self.qk_norm else 0
        for part in self.parts:
            total += rows[part] * columns.get(part, self.hidden_size)
            total += rows[part] if part in self.biased else 0
        return total

    def lm_params(self, kept: Sequence[tuple[int, int]] | None = None) -> int:
        """Parameters of the language model: embeddings, head (tied once), final norm and layers.

        Args:
            kept: (KV groups, neurons) of every kept layer; None is the dense model.
        """
        if kept is None:
            dense = (self.num_key_value_heads, self.intermediate_size)
            kept = [dense] * self.num_hidden_layers
        embedding = self.vocab_size * self.hidden_size
        total = embedding + self._norm_params
        total += 0 if self.tie_word_embeddings else embedding
        total += self.vocab_size if self.lm_head_bias else 0
        return total + sum(self.layer_params(groups, neurons) for groups, neurons in kept)

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


@dataclass(frozen=True)
class VLMAdapter:
    """Where the parts of one vision-language architecture live.

    Paths are module paths from the root of the Hugging Face model; those in `projections` and
    `layer_norms` start at a decoder layer. `heads_config` are the text config's changes that make
    it accept a number of heads times `head_dim` other than `hidden_size` (empty when it does
    already), `heads_config_drops` the keys that the changed config does not know.
    """

    name: str
    model_type: str
    text_model_type: str
    model_class: str
    read_shape: Callable[[Mapping[str, Any]], LanguageShape]
    language_model: str
    layers: str
    embed: str
    final_norm: str
    lm_head: str
    projector: str
    vision_tower: str
    projections: tuple[Projection, ...]
    layer_norms: tuple[str, ...]
    text_config_key: str = "text_config"
    heads_config: Mapping[str, Any] | None = None
    heads_config_drops: tuple[str, ...] = ()

    def matches(self, config: Mapping[str, Any]) -> bool:
        """Whether a `config.json` is of this architecture."""
        text = config.get(self.text_config_key) or {}
        text_type = text.get("model_type", self.text_model_type)
        return config.get("model_type") == self.model_type and text_type == self.text_model_type

    def language_shape(self, config: Mapping[str, Any]) -> LanguageShape:
        """Sizes of the language model of a `config.json`, absent keys at the family's defaults."""
        return self.read_shape(config)

    def lora_target_regex(self) -> str:
        """Full-match pattern of every linear of the decoder layers (for PEFT's `target_modules`).

        PEFT's "all-linear" would also hit the vision tower and the projector. The head is left out,
        as usual for LoRA.
        """
        names = "|".join(re.escape(projection.path) for projection in self.projections)
        return rf"{re.escape(self.layers)}\.\d+\.(?:{names})"

    def pruned_config(
        self, config: Mapping[str, Any], *, layers: int, kv_groups: int, neurons: int
    ) -> dict[str, Any]:
        """The config of a student that keeps so much in every layer; the input is left alone.

        Args:
            config: the dense model's config as a dict.
            layers: number of kept decoder layers.
            kv_groups: kept KV groups of each layer.
            neurons: kept MLP neurons of each layer.

        Raises:
            ValueError: if no stock config of the family can express the student.
        """
        shape = self.language_shape(config)
        text = dict(config.get(self.text_config_key) or {})
        text |= {
            "model_type": self.text_model_type,
            "num_hidden_layers": layers,
            "num_attention_heads": kv_groups * shape.heads_per_group,
            "num_key_value_heads": kv_groups,
            "head_dim": shape.head_dim,
            "intermediate_size": neurons,
        }
        if kv_groups != shape.num_key_value_heads and self.heads_config:
            if shape.biased:
                raise ValueError(
                    f"{self.name}: heads of a model with biases in {', '.join(shape.biased)} "
                    "cannot be pruned, because the config that allows fewer heads has no biases; "
                    "prune layers instead (method='layerwise')"
                )
            text = {k: v for k, v in text.items() if k not in self.heads_config_drops}
            text |= self.heads_config
        return {**config, self.text_config_key: text}
