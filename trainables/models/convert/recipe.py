"""What a converted checkpoint is made of besides its weights, and parts that families share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import GenerationConfig, PreTrainedConfig

from trainables.models.convert.sources import Source


@dataclass(frozen=True, eq=False)
class Recipe:
    """The stock side of a conversion.

    Attributes:
        model_class: of transformers.
        config: of that class.
        processor: with tokenizer and chat template.
        generation: defaults of `generate`.
        source: the checkpoint's tensors, with those of a vision tower that lies elsewhere.
        rows: of the original embedding.
        unused: patterns of original tensors that this checkpoint's stock model does without,
            beside those of its layout.
    """

    model_class: str
    config: PreTrainedConfig
    processor: Any
    generation: GenerationConfig
    source: Source
    rows: int
    unused: tuple[str, ...] = ()


def pick(config: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """Those entries of a config that a stock config knows too, unless they say nothing."""
    return {key: config[key] for key in keys if config.get(key) is not None}


def generation_config(folder: Path, **tokens: Any) -> GenerationConfig:
    """The checkpoint's own defaults of `generate`, with the tokens of the stock model."""
    if (folder / "generation_config.json").exists():
        settings = GenerationConfig.from_pretrained(folder).to_diff_dict()
        sampling = ("temperature", "top_p", "top_k", "min_p", "typical_p")
        if not settings.get("do_sample"):  # transformers refuses to save idle sampling settings
            settings = {k: v for k, v in settings.items() if k not in sampling}
    else:
        settings = {}
    settings.pop("transformers_version", None)
    return GenerationConfig(**{**settings, **tokens})
