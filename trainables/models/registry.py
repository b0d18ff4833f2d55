"""The models and architectures that are known by name; torch-free.

To add an architecture, write its file beside `llava.py` and add one line to `ADAPTERS`. To let
`plan` count a model's parameters without downloading it, add its facts to `MODELS`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainables.models.adapter import LanguageShape, VLMAdapter
from trainables.models.llava import LLAVA_LLAMA, LLAVA_MISTRAL
from trainables.models.weights import check_header, read_config, weight_files
from trainables.specs import Frozen, ModelSpec

EMBEDDED = "tiny"
TINY_FOLDER = Path(__file__).parent / "tiny" / "weights"

ADAPTERS: dict[str, VLMAdapter] = {
    "llava-llama": LLAVA_LLAMA,
    "llava-mistral": LLAVA_MISTRAL,
}


class ModelEntry(Frozen):
    """A model known by name.

    Attributes:
        summary: one line for `prunesweep list`.
        licence: of the weights; `unknown` is said rather than guessed.
        folder: where the weights are, for an embedded model; otherwise they come from the hub.
        config: published architecture facts of a hub model, as in its config.json.
    """

    summary: str
    licence: str = "unknown"
    folder: Path | None = None
    config: dict[str, Any] | None = None


# CLIP ViT-L/14 at 336 pixels: the vision tower of LLaVA-1.5.
_CLIP_L_336: dict[str, Any] = {
    "model_type": "clip_vision_model",
    "hidden_size": 1024,
    "image_size": 336,
    "intermediate_size": 4096,
    "num_attention_heads": 16,
    "num_hidden_layers": 24,
    "patch_size": 14,
    "projection_dim": 768,
    "vocab_size": 32000,
}


def _llava_15(hidden: int, intermediate: int, layers: int, heads: int) -> dict[str, Any]:
    text = {
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "max_position_embeddings": 4096,
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "num_key_value_heads": heads,
        "rms_norm_eps": 1e-05,
        "vocab_size": 32064,  # Vicuna's 32000, <image>, <pad>, padded to a multiple of 64
    }
    return {
        "model_type": "llava",
        "image_token_index": 32000,
        "image_seq_length": 576,
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
        "text_config": text,
        "vision_config": dict(_CLIP_L_336),
    }


MODELS: dict[str, ModelEntry] = {
    EMBEDDED: ModelEntry(
        summary="embedded LLaVA of a few million parameters; runs anywhere",
        licence="apache-2.0",
        folder=TINY_FOLDER,
    ),
    "llava-hf/llava-1.5-7b-hf": ModelEntry(
        summary="LLaVA-1.5 7B (Vicuna 7B, CLIP-L/336): the study's main model",
        licence="llama2",
        config=_llava_15(4096, 11008, 32, 32),
    ),
    "llava-hf/llava-1.5-13b-hf": ModelEntry(
        summary="LLaVA-1.5 13B (Vicuna 13B, CLIP-L/336)",
        licence="llama2",
        config=_llava_15(5120, 13824, 40, 40),
    ),
}


def adapter_for(config: Mapping[str, Any]) -> VLMAdapter:
    """The adapter of a `config.json`.

    Raises:
        ValueError: if the architecture is not supported; lists those that are.
    """
    for adapter in ADAPTERS.values():
        if adapter.matches(config):
            return adapter
    text = config.get("text_config")
    given = f"model_type={config.get('model_type')!r}"
    if isinstance(text, Mapping):
        given += f" with text model_type={text.get('model_type')!r}"
    known = ", ".join(f"{a.model_type} with {a.text_model_type}" for a in ADAPTERS.values())
    raise ValueError(f"{given} is not a supported architecture; supported are: {known}")


def model_folder(spec: ModelSpec) -> Path | None:
    """The local folder of a model's checkpoint; None for a hub model (not downloaded here).

    Raises:
        ValueError: if `spec.path` is neither a known name nor an existing folder.
    """
    entry = MODELS.get(spec.path)
    if entry is not None:
        return entry.folder
    folder = Path(spec.path).expanduser()
    if folder.is_dir():
        return folder.resolve()
    close = difflib.get_close_matches(spec.path, MODELS, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ValueError(
        f"model {spec.path!r} is neither a known model nor a folder on this machine.{hint} "
        f"Known: {', '.join(MODELS)}; for another one, download it and give its folder"
    )


def model_config(spec: ModelSpec) -> dict[str, Any]:
    """The model's `config.json`: from its folder, or the published facts of a known hub model."""
    folder = model_folder(spec)
    if folder is not None:
        return read_config(folder)
    config = MODELS[spec.path].config
    assert config is not None, f"registry entry {spec.path} has neither a folder nor a config"
    return config


def language_shape(spec: ModelSpec) -> LanguageShape:
    """Sizes of the model's language model; downloads nothing and imports no torch."""
    config = model_config(spec)
    return adapter_for(config).language_shape(config)


def check_model(spec: ModelSpec) -> VLMAdapter:
    """The model's adapter, after the checks that need no torch.

    A folder must hold a readable config of a supported architecture and complete safetensors files;
    for a hub model only the name is checked.

    Raises:
        ValueError: one clear sentence on the first thing that is wrong.
    """
    adapter = adapter_for(model_config(spec))
    folder = model_folder(spec)
    if folder is not None:
        for path in weight_files(folder):
            check_header(path)
    return adapter
