"""The tables of the language models that the families share, one entry each; torch-free.

Defaults are what transformers assumes for keys that a config.json leaves out (a test compares
them with its config classes).
"""

from __future__ import annotations

from trainables.models.families.shape import Part, Projection
from trainables.models.families.text_backbone import Text, TextBackbone

_ATTENTION = (
    Projection(path="self_attn.q_proj", parts=("q",)),
    Projection(path="self_attn.k_proj", parts=("k",)),
    Projection(path="self_attn.v_proj", parts=("v",)),
    Projection(path="self_attn.o_proj", parts=("o",)),
)
_GATED = (
    *_ATTENTION,
    Projection(path="mlp.gate_proj", parts=("gate",)),
    Projection(path="mlp.up_proj", parts=("up",)),
    Projection(path="mlp.down_proj", parts=("down",)),
)
_PHI = (
    *_ATTENTION[:3],
    Projection(path="self_attn.dense", parts=("o",)),
    Projection(path="mlp.fc1", parts=("up",)),
    Projection(path="mlp.fc2", parts=("down",)),
)
_PHI3 = (
    Projection(path="self_attn.qkv_proj", parts=("q", "k", "v")),
    Projection(path="self_attn.o_proj", parts=("o",)),
    Projection(path="mlp.gate_up_proj", parts=("gate", "up")),
    Projection(path="mlp.down_proj", parts=("down",)),
)


def _llama_biases(text: Text) -> tuple[Part, ...]:
    attention: tuple[Part, ...] = ("q", "k", "v", "o") if text.get("attention_bias") else ()
    mlp: tuple[Part, ...] = ("gate", "up", "down") if text.get("mlp_bias") else ()
    return attention + mlp


def _qkv_biases(_: Text) -> tuple[Part, ...]:
    return ("q", "k", "v")


def _has_long_rope(text: Text) -> bool:
    rope = text.get("rope_parameters") or text.get("rope_scaling") or {}
    return "short_factor" in rope


LLAMA = TextBackbone(
    model_type="llama",
    defaults={
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": None,
        "head_dim": None,
        "attention_bias": False,
        "mlp_bias": False,
    },
    projections=_GATED,
    biases=_llama_biases,
    # LlamaConfig refuses a number of heads that does not divide hidden_size. Mistral without its
    # sliding window is the same arithmetic and accepts any number, so the student that is trained
    # is already the architecture that is exported.
    heads_config={"model_type": "mistral", "sliding_window": None},
    heads_config_drops=("attention_bias", "mlp_bias", "pretraining_tp"),
    fixed_heads=lambda text: bool(_llama_biases(text)),
    why_fixed_heads="its linears have biases, which the config that allows fewer heads has not",
)

MISTRAL = TextBackbone(
    model_type="mistral",
    defaults={
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": None,
    },
    projections=_GATED,
)

QWEN2 = TextBackbone(
    model_type="qwen2",
    defaults={
        "vocab_size": 151936,
        "hidden_size": 4096,
        "intermediate_size": 22016,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
    },
    projections=_GATED,
    biases=_qkv_biases,
)

QWEN3 = TextBackbone(
    model_type="qwen3",
    defaults={**QWEN2.defaults, "head_dim": 128, "attention_bias": False},
    projections=_GATED,
    biases=_llama_biases,
    qk_norm=True,
)

_QWEN2_VL_DEFAULTS = {
    "vocab_size": 152064,
    "hidden_size": 8192,
    "intermediate_size": 29568,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
}
_WHY_QWEN2_VL = "its attention demands heads * head_dim == hidden_size"

QWEN2_VL = TextBackbone(
    model_type="qwen2_vl_text",
    defaults=_QWEN2_VL_DEFAULTS,
    projections=_GATED,
    biases=_qkv_biases,
    fixed_heads=lambda text: True,
    why_fixed_heads=_WHY_QWEN2_VL,
)

QWEN2_5_VL = TextBackbone(
    model_type="qwen2_5_vl_text",
    defaults=_QWEN2_VL_DEFAULTS,
    projections=_GATED,
    biases=_qkv_biases,
    fixed_heads=lambda text: True,
    why_fixed_heads=_WHY_QWEN2_VL,
)

QWEN3_VL = TextBackbone(
    model_type="qwen3_vl_text",
    defaults=QWEN3.defaults,
    projections=_GATED,
    biases=_llama_biases,
    qk_norm=True,
)

PHI = TextBackbone(
    model_type="phi",
    defaults={
        "vocab_size": 51200,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 24,
        "num_attention_heads": 32,
        "num_key_value_heads": None,
    },
    projections=_PHI,
    layer_norms=("input_layernorm",),
    biases=lambda text: ("q", "k", "v", "o", "up", "down"),
    final_norm="final_layernorm",
    norm_bias=True,
)

PHI3 = TextBackbone(
    model_type="phi3",
    defaults={
        "vocab_size": 32064,
        "hidden_size": 3072,
        "intermediate_size": 8192,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": None,
    },
    projections=_PHI3,
    fixed_heads=_has_long_rope,
    why_fixed_heads=(
        "Phi3Config checks its long-rope factors against hidden_size / heads and ignores head_dim"
    ),
)
