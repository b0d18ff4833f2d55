"""The table of one decoder-only language model, which several families may share; torch-free."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trainables.models.families.shape import LanguageShape, Part, Projection

Text = Mapping[str, Any]


@dataclass(frozen=True)
class TextBackbone:
    """One decoder-only language model.

    Attributes:
        model_type: of its text config.
        defaults: of absent config keys.
        projections: every linear of a decoder layer; paths start at the layer.
        layer_norms: paths of a layer's norms of the hidden size; attention and MLP run in parallel
            on one norm where there is one.
        biases: the projections that have a bias, of a text config.
        final_norm: name of the norm after the last layer.
        norm_bias: norms are LayerNorms with a bias.
        qk_norm: queries and keys have a norm over `head_dim`.
        fixed_heads: whether fewer heads of the same `head_dim` cannot be written into the config.
        why_fixed_heads: the reason, for an error message.
        heads_config: changes that make the config accept any number of heads.
        heads_config_drops: keys that the changed config does not know.
    """

    model_type: str
    defaults: Text
    projections: tuple[Projection, ...]
    layer_norms: tuple[str, ...] = ("input_layernorm", "post_attention_layernorm")
    biases: Callable[[Text], tuple[Part, ...]] = lambda text: ()
    final_norm: str = "norm"
    norm_bias: bool = False
    qk_norm: bool = False
    fixed_heads: Callable[[Text], bool] = lambda text: False
    why_fixed_heads: str = ""
    heads_config: Text = field(default_factory=dict)
    heads_config_drops: tuple[str, ...] = ()

    def shape(self, text: Text, *, tied: bool, anchored: int = 0) -> LanguageShape:
        """Sizes of the language model of a text config; the two others stand outside of it."""
        text = {**self.defaults, **text}
        heads = text["num_attention_heads"]
        return LanguageShape(
            hidden_size=text["hidden_size"],
            intermediate_size=text["intermediate_size"],
            num_hidden_layers=text["num_hidden_layers"],
            num_attention_heads=heads,
            num_key_value_heads=text["num_key_value_heads"] or heads,
            head_dim=text.get("head_dim") or text["hidden_size"] // heads,
            vocab_size=text["vocab_size"],
            tie_word_embeddings=tied,
            gated=any("gate" in projection.parts for projection in self.projections),
            biased=self.biases(text),
            norms_per_layer=len(self.layer_norms),
            norm_bias=self.norm_bias,
            qk_norm=self.qk_norm,
            fixed_heads=self.fixed_heads(text),
            anchored_layers=anchored,
        )

    def pruned(
        self,
        text: Text,
        shape: LanguageShape,
        *,
        layers: Sequence[int],
        kv_groups: int,
        neurons: int,
    ) -> dict[str, Any]:
        """The text config of a student; `shape` is the dense model's."""
        kept = dict(text)
        kept |= {"num_hidden_layers": len(layers), "intermediate_size": neurons}
        if kept.get("layer_types"):
            kept["layer_types"] = [kept["layer_types"][layer] for layer in layers]
        if kept.get("max_window_layers") is not None:
            # The first layers attend fully, those from this number on within the sliding window.
            kept["max_window_layers"] = sum(layer < kept["max_window_layers"] for layer in layers)
        if kv_groups != shape.num_key_value_heads:
            kept = {k: v for k, v in kept.items() if k not in self.heads_config_drops}
            kept |= self.heads_config
            kept |= {
                "num_attention_heads": kv_groups * shape.heads_per_group,
                "num_key_value_heads": kv_groups,
                "head_dim": shape.head_dim,  # else it would be hidden_size / the fewer heads
            }
        return kept
