"""The decoder-only language models that the families share, one table each; torch-free.

Defaults are what transformers assumes for keys that a config.json leaves out (a test compares
them with its config classes).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from trainables.models.families.shape import LanguageShape, Part, Projection

Text = Mapping[str, Any]
Parts = tuple[Part, ...]


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
    biases: Callable[[Text], Parts] = lambda text: ()
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
            **{key: text[key] for key in _SIZES[:-1]},
            num_key_value_heads=text["num_key_value_heads"] or heads,
            head_dim=text.get("head_dim") or text["hidden_size"] // heads,
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
        kept = {k: v for k, v in text.items() if k != "_name_or_path"}  # it is that model no more
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


_SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
)


def _sizes(*numbers: int | None) -> dict[str, int | None]:
    return dict(zip(_SIZES, numbers, strict=True))


def _linears(attention: dict[str, Parts], mlp: dict[str, Parts]) -> tuple[Projection, ...]:
    paths = {f"self_attn.{name}": parts for name, parts in attention.items()}
    paths |= {f"mlp.{name}": parts for name, parts in mlp.items()}
    return tuple(Projection(path=path, parts=parts) for path, parts in paths.items())


_QKV: dict[str, Parts] = {"q_proj": ("q",), "k_proj": ("k",), "v_proj": ("v",)}
_GATED = _linears(
    {**_QKV, "o_proj": ("o",)}, {"gate_proj": ("gate",), "up_proj": ("up",), "down_proj": ("down",)}
)


def _llama_biases(text: Text) -> Parts:
    attention: Parts = ("q", "k", "v", "o") if text.get("attention_bias") else ()
    mlp: Parts = ("gate", "up", "down") if text.get("mlp_bias") else ()
    return attention + mlp


LLAMA = TextBackbone(
    model_type="llama",
    defaults=_sizes(32000, 4096, 11008, 32, 32, None),
    projections=_GATED,
    biases=_llama_biases,
    # LlamaConfig refuses a number of heads that does not divide hidden_size. Mistral without its
    # sliding window is the same arithmetic and accepts any number, so the student that is trained
    # is already the architecture that is exported.
    heads_config={
        "model_type": "mistral",
        "architectures": ["MistralForCausalLM"],
        "sliding_window": None,
    },
    heads_config_drops=("attention_bias", "mlp_bias", "pretraining_tp"),
    fixed_heads=lambda text: bool(_llama_biases(text)),
    why_fixed_heads="its linears have biases, which the config that allows fewer heads has not",
)
MISTRAL = TextBackbone("mistral", _sizes(32000, 4096, 14336, 32, 32, 8), _GATED)
QWEN2 = TextBackbone(
    "qwen2", _sizes(151936, 4096, 22016, 32, 32, 32), _GATED, biases=lambda text: ("q", "k", "v")
)
QWEN3 = TextBackbone(
    "qwen3", {**QWEN2.defaults, "head_dim": 128}, _GATED, biases=_llama_biases, qk_norm=True
)
QWEN2_VL = replace(
    QWEN2,
    model_type="qwen2_vl_text",
    defaults=_sizes(152064, 8192, 29568, 80, 64, 8),
    fixed_heads=lambda text: True,
    why_fixed_heads="its attention demands heads * head_dim == hidden_size",
)
QWEN2_5_VL = replace(QWEN2_VL, model_type="qwen2_5_vl_text")
QWEN3_VL = replace(QWEN3, model_type="qwen3_vl_text")
PHI = TextBackbone(
    model_type="phi",
    defaults=_sizes(51200, 2048, 8192, 24, 32, None),
    projections=_linears({**_QKV, "dense": ("o",)}, {"fc1": ("up",), "fc2": ("down",)}),
    layer_norms=("input_layernorm",),
    biases=lambda text: ("q", "k", "v", "o", "up", "down"),
    final_norm="final_layernorm",
    norm_bias=True,
)
PHI3 = TextBackbone(
    model_type="phi3",
    defaults=_sizes(32064, 3072, 8192, 32, 32, None),
    projections=_linears(
        {"qkv_proj": ("q", "k", "v"), "o_proj": ("o",)},
        {"gate_up_proj": ("gate", "up"), "down_proj": ("down",)},
    ),
    fixed_heads=lambda text: (
        "short_factor" in (text.get("rope_parameters") or text.get("rope_scaling") or {})
    ),
    why_fixed_heads=(
        "Phi3Config checks its long-rope factors against hidden_size / heads and ignores head_dim"
    ),
)
