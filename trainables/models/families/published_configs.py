"""Published `config.json` facts of known models, as far as sizes follow from them; torch-free.

In transformers' present layout, whatever the hub's file looks like; of a model that has to be
converted first, the converted model's.
"""

from __future__ import annotations

from typing import Any

Config = dict[str, Any]

CLIP_L_336: Config = {
    "model_type": "clip_vision_model",
    "hidden_size": 1024,
    "image_size": 336,
    "intermediate_size": 4096,
    "num_attention_heads": 16,
    "num_hidden_layers": 24,
    "patch_size": 14,
    "projection_dim": 768,
}
SIGLIP_SO400M: Config = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_attention_heads": 16,
    "num_hidden_layers": 27,
    "patch_size": 14,
}
INTERNVIT_300M: Config = {
    "model_type": "internvl_vision",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_attention_heads": 16,
    "num_hidden_layers": 24,
    "attention_bias": True,
    "image_size": [448, 448],
    "patch_size": [14, 14],
}


def decoder(
    kind: str,
    hidden: int,
    intermediate: int,
    layers: int,
    heads: int,
    kv_heads: int,
    vocabulary: int,
    **others: Any,
) -> Config:
    """A text config."""
    return {
        "model_type": kind,
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocabulary,
        **others,
    }


# Vicuna's 32000 tokens, <image>, <pad>, padded to a multiple of 64.
_VICUNA_7B = decoder("llama", 4096, 11008, 32, 32, 32, 32064, max_position_embeddings=4096)
_VICUNA_13B = decoder("llama", 5120, 13824, 40, 40, 40, 32064, max_position_embeddings=4096)
_MISTRAL_7B = decoder("mistral", 4096, 14336, 32, 32, 8, 32064, sliding_window=None)
# Of its rows 50295 stand for tokens, so there is room for <image> and <pad>.
_PHI_2 = decoder("phi", 2560, 10240, 32, 32, 32, 51200, partial_rotary_factor=0.4)
_PHI_3_MINI = decoder(
    "phi3",
    3072,
    8192,
    32,
    32,
    32,
    32064,  # 32020 rows, and room for the <video> token that the stock processor wants
    max_position_embeddings=131072,
    original_max_position_embeddings=4096,
    # Stand-ins: that there are 48 factors decides what a stock config can express, their values do
    # not matter here.
    rope_scaling={"type": "longrope", "short_factor": [1.0] * 48, "long_factor": [1.0] * 48},
)
_QWEN2_7B = {"hidden": 3584, "intermediate": 18944, "layers": 28, "heads": 28, "kv_heads": 4}


def _llava(text: Config, vision: Config = CLIP_L_336, **others: Any) -> Config:
    return {
        "model_type": "llava",
        "image_token_index": 32000,
        "image_seq_length": 576,
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
        "text_config": text,
        "vision_config": vision,
        **others,
    }


def _qwen(kind: str, text: Config, vision: Config, tied: bool) -> Config:
    return {
        "model_type": kind,
        "image_token_id": 151655,
        "tie_word_embeddings": tied,
        "text_config": {"rope_parameters": _MROPE, **text, "model_type": f"{kind}_text"},
        "vision_config": {"model_type": f"{kind}_vision", **vision},
    }


def _internvl(text: Config, image_token: int) -> Config:
    return {
        "model_type": "internvl",
        "image_token_id": image_token,
        "image_seq_length": 256,
        "tie_word_embeddings": False,
        "text_config": text,
        "vision_config": INTERNVIT_300M,
    }


def _idefics3(kind: str, text: Config, vision: Config, scale: int, image_token: int) -> Config:
    return {
        "model_type": kind,
        "image_token_id": image_token,
        "scale_factor": scale,
        "tie_word_embeddings": False,
        "text_config": text,
        "vision_config": {"model_type": f"{kind}_vision", **vision},
    }


_MROPE = {"rope_type": "default", "rope_theta": 1000000.0, "mrope_section": [16, 24, 24]}
_MROPE_3 = {
    "rope_type": "default",
    "rope_theta": 5000000.0,
    "mrope_section": [24, 20, 20],
    "mrope_interleaved": True,
}
_SIGLIP_B_512 = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "image_size": 512,
    "patch_size": 16,
}

CONFIGS: dict[str, Config] = {
    "llava-hf/llava-1.5-7b-hf": _llava(_VICUNA_7B),
    "llava-hf/llava-1.5-13b-hf": _llava(_VICUNA_13B),
    "BAAI/Bunny-v1_0-3B": _llava(
        _PHI_2,
        {
            **SIGLIP_SO400M,
            "model_type": "siglip_vision_model",
            "image_size": 384,
            "num_hidden_layers": 26,  # the last one is not used
            "vision_use_head": False,
        },
        image_token_index=50295,
        image_seq_length=729,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    ),
    "llava-hf/llava-v1.6-vicuna-7b-hf": {**_llava(_VICUNA_7B), "model_type": "llava_next"},
    "llava-hf/llava-v1.6-mistral-7b-hf": {**_llava(_MISTRAL_7B), "model_type": "llava_next"},
    "Qwen/Qwen2-VL-2B-Instruct": _qwen(
        "qwen2_vl",
        decoder("", 1536, 8960, 28, 12, 2, 151936),
        {"depth": 32, "embed_dim": 1280, "hidden_size": 1536, "num_heads": 16},
        tied=True,
    ),
    "Qwen/Qwen2-VL-7B-Instruct": _qwen(
        "qwen2_vl",
        decoder("", **_QWEN2_7B, vocabulary=152064),
        {"depth": 32, "embed_dim": 1280, "hidden_size": 3584, "num_heads": 16},
        tied=False,
    ),
    "Qwen/Qwen2.5-VL-3B-Instruct": _qwen(
        "qwen2_5_vl",
        decoder("", 2048, 11008, 36, 16, 2, 151936),
        {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "out_hidden_size": 2048},
        tied=True,
    ),
    "Qwen/Qwen2.5-VL-7B-Instruct": _qwen(
        "qwen2_5_vl",
        decoder("", **_QWEN2_7B, vocabulary=152064),
        {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "out_hidden_size": 3584},
        tied=False,
    ),
    "Qwen/Qwen3-VL-4B-Instruct": _qwen(
        "qwen3_vl",
        decoder("", 2560, 9728, 36, 32, 8, 151936, head_dim=128, rope_parameters=_MROPE_3),
        {
            "depth": 24,
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "out_hidden_size": 2560,
            "deepstack_visual_indexes": [5, 11, 17],
        },
        tied=True,
    ),
    "Qwen/Qwen3-VL-8B-Instruct": _qwen(
        "qwen3_vl",
        decoder("", 4096, 12288, 36, 32, 8, 151936, head_dim=128, rope_parameters=_MROPE_3),
        {
            "depth": 27,
            "hidden_size": 1152,
            "intermediate_size": 4304,
            "out_hidden_size": 4096,
            "deepstack_visual_indexes": [8, 16, 24],
        },
        tied=False,
    ),
    "OpenGVLab/Mini-InternVL-Chat-4B-V1-5": _internvl(_PHI_3_MINI, image_token=32013),
    "OpenGVLab/InternVL3-8B-hf": _internvl(
        decoder("qwen2", **_QWEN2_7B, vocabulary=151674), image_token=151667
    ),
    "HuggingFaceM4/Idefics3-8B-Llama3": _idefics3(
        "idefics3",
        decoder("llama", 4096, 14336, 32, 32, 8, 128259),
        {**SIGLIP_SO400M, "image_size": 364},
        scale=2,
        image_token=128257,
    ),
    "HuggingFaceTB/SmolVLM-Instruct": _idefics3(
        "idefics3",
        decoder("llama", 2048, 8192, 24, 32, 32, 49155, head_dim=64),
        {**SIGLIP_SO400M, "image_size": 384},
        scale=3,
        image_token=49153,
    ),
    "HuggingFaceTB/SmolVLM2-2.2B-Instruct": _idefics3(
        "smolvlm",
        decoder("llama", 2048, 8192, 24, 32, 32, 49280, head_dim=64),
        {**SIGLIP_SO400M, "image_size": 384},
        scale=3,
        image_token=49190,
    ),
    "HuggingFaceTB/SmolVLM2-500M-Video-Instruct": _idefics3(
        "smolvlm",
        decoder("llama", 960, 2560, 32, 15, 5, 49280, head_dim=64),
        _SIGLIP_B_512,
        scale=4,
        image_token=49190,
    ),
}
