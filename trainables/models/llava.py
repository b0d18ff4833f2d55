"""LLaVA (`LlavaForConditionalGeneration`) with a Llama-type language model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainables.models.adapter import LanguageShape, Part, Projection, VLMAdapter

# What transformers assumes for keys that a config.json leaves out (a test compares them).
LLAMA_DEFAULTS: dict[str, Any] = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": None,
    "head_dim": None,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "mlp_bias": False,
}
MISTRAL_DEFAULTS: dict[str, Any] = {
    **LLAMA_DEFAULTS,
    "intermediate_size": 14336,
    "num_key_value_heads": 8,
}


def _shape(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> LanguageShape:
    text = {**defaults, **(config.get("text_config") or {})}
    heads = text["num_attention_heads"]
    attention: tuple[Part, ...] = ("q", "k", "v", "o") if text["attention_bias"] else ()
    mlp: tuple[Part, ...] = ("gate", "up", "down") if text["mlp_bias"] else ()
    return LanguageShape(
        hidden_size=text["hidden_size"],
        intermediate_size=text["intermediate_size"],
        num_hidden_layers=text["num_hidden_layers"],
        num_attention_heads=heads,
        num_key_value_heads=text["num_key_value_heads"] or heads,
        head_dim=text["head_dim"] or text["hidden_size"] // heads,
        vocab_size=text["vocab_size"],
        # Either level may carry the flag; transformers ties if one of them does.
        tie_word_embeddings=bool(text["tie_word_embeddings"] or config.get("tie_word_embeddings")),
        biased=attention + mlp,
    )


def _llama_shape(config: Mapping[str, Any]) -> LanguageShape:
    return _shape(config, LLAMA_DEFAULTS)


def _mistral_shape(config: Mapping[str, Any]) -> LanguageShape:
    return _shape(config, MISTRAL_DEFAULTS)


_PARTS: dict[str, Any] = {
    "model_type": "llava",
    "model_class": "LlavaForConditionalGeneration",
    "language_model": "model.language_model",
    "layers": "model.language_model.layers",
    "embed": "model.language_model.embed_tokens",
    "final_norm": "model.language_model.norm",
    "lm_head": "lm_head",
    "projector": "model.multi_modal_projector",
    "vision_tower": "model.vision_tower",
    "projections": (
        Projection(path="self_attn.q_proj", parts=("q",)),
        Projection(path="self_attn.k_proj", parts=("k",)),
        Projection(path="self_attn.v_proj", parts=("v",)),
        Projection(path="self_attn.o_proj", parts=("o",)),
        Projection(path="mlp.gate_proj", parts=("gate",)),
        Projection(path="mlp.up_proj", parts=("up",)),
        Projection(path="mlp.down_proj", parts=("down",)),
    ),
    "layer_norms": ("input_layernorm", "post_attention_layernorm"),
}

LLAVA_LLAMA = VLMAdapter(
    name="llava-llama",
    text_model_type="llama",
    read_shape=_llama_shape,
    # LlamaConfig refuses a number of heads that does not divide hidden_size. Mistral without its
    # sliding window is the same arithmetic and accepts any number, so the student that is trained
    # is already the architecture that is exported.
    heads_config={"model_type": "mistral", "sliding_window": None},
    heads_config_drops=("attention_bias", "mlp_bias", "pretraining_tp"),
    **_PARTS,
)

LLAVA_MISTRAL = VLMAdapter(
    name="llava-mistral", text_model_type="mistral", read_shape=_mistral_shape, **_PARTS
)
