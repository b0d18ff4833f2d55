"""What the hub says about the known models: licence and number of parameters; torch-free.

`params` counts the whole model, and is left out where the page counts another layout. The licence
is that of the model's page; `unknown` where it names several or a licence of its own.
"""

from __future__ import annotations

from typing import Any

PUBLISHED: dict[str, dict[str, Any]] = {
    "llava-hf/llava-1.5-7b-hf": {
        "summary": "LLaVA-1.5 7B (Vicuna 7B, CLIP-L/336): the study's main model",
        "licence": "llama2",
        "params": 7_063_427_072,
    },
    "llava-hf/llava-1.5-13b-hf": {
        "summary": "LLaVA-1.5 13B (Vicuna 13B, CLIP-L/336)",
        "licence": "llama2",
    },
    "BAAI/Bunny-v1_0-3B": {
        "summary": "Bunny-v1.0 3B (Phi-2, SigLIP-so400m/384) of the study",
        "licence": "apache-2.0",
        "convert": True,
    },
    "OpenGVLab/Mini-InternVL-Chat-4B-V1-5": {
        "summary": "Mini-InternVL-Chat 4B V1.5 (Phi-3-mini-128k, InternViT-300M) of the study",
        "licence": "mit",
        "convert": True,
    },
    "llava-hf/llava-v1.6-vicuna-7b-hf": {
        "summary": "LLaVA-NeXT 7B (Vicuna 7B, CLIP-L/336, tiles)",
        "licence": "llama2",
        "params": 7_063_431_168,
    },
    "llava-hf/llava-v1.6-mistral-7b-hf": {
        "summary": "LLaVA-NeXT 7B (Mistral 7B, CLIP-L/336, tiles)",
        "licence": "apache-2.0",
        "params": 7_566_747_648,
    },
    "Qwen/Qwen2-VL-2B-Instruct": {
        "summary": "Qwen2-VL 2B, tied embeddings",
        "licence": "apache-2.0",
        "params": 2_208_985_600,
    },
    "Qwen/Qwen2-VL-7B-Instruct": {
        "summary": "Qwen2-VL 7B",
        "licence": "apache-2.0",
        "params": 8_291_375_616,
    },
    "Qwen/Qwen2.5-VL-3B-Instruct": {
        "summary": "Qwen2.5-VL 3B, tied embeddings",
        "params": 3_754_622_976,
    },
    "Qwen/Qwen2.5-VL-7B-Instruct": {
        "summary": "Qwen2.5-VL 7B",
        "licence": "apache-2.0",
        "params": 8_292_166_656,
    },
    "Qwen/Qwen3-VL-4B-Instruct": {
        "summary": "Qwen3-VL 4B, tied embeddings",
        "licence": "apache-2.0",
        "params": 4_437_815_808,
    },
    "Qwen/Qwen3-VL-8B-Instruct": {
        "summary": "Qwen3-VL 8B",
        "licence": "apache-2.0",
        "params": 8_767_123_696,
    },
    "OpenGVLab/InternVL3-8B-hf": {
        "summary": "InternVL3 8B (Qwen2.5 7B, InternViT-300M)",
        "params": 7_944_373_760,
    },
    "HuggingFaceM4/Idefics3-8B-Llama3": {
        "summary": "Idefics3 8B (Llama 3 8B, SigLIP-so400m/364)",
        "licence": "apache-2.0",
    },
    "HuggingFaceTB/SmolVLM-Instruct": {
        "summary": "SmolVLM 2.2B (SmolLM2 1.7B, SigLIP-so400m/384)",
        "licence": "apache-2.0",
        "params": 2_246_272_880,
    },
    "HuggingFaceTB/SmolVLM2-2.2B-Instruct": {
        "summary": "SmolVLM2 2.2B (SmolLM2 1.7B, SigLIP-so400m/384)",
        "licence": "apache-2.0",
        "params": 2_246_784_880,
    },
    "HuggingFaceTB/SmolVLM2-500M-Video-Instruct": {
        "summary": "SmolVLM2 500M (SmolLM2 360M, SigLIP-B/512)",
        "licence": "apache-2.0",
        "params": 507_482_304,
    },
}
