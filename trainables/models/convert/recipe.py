"""What a converted checkpoint is made of besides its weights, and parts that families share."""

from collections.abc import Mapping
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


DECODER_KEYS = (
    "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads "
    "num_key_value_heads hidden_act max_position_embeddings initializer_range bos_token_id "
    "eos_token_id "
)


def pick(config: Mapping[str, Any], keys: str) -> dict[str, Any]:
    """Those entries of a config that a stock config knows too, unless they say nothing."""
    return {key: config[key] for key in keys.split() if config.get(key) is not None}


def chat_template(layout: str, **texts: str) -> str:
    """The chat template in the `.jinja` file of a layout, on one line.

    Args:
        layout: the file's name.
        texts: what its capital words stand for: `SYSTEM`, the system message of conversations that
            bring none, and in LLaVA's file `END`, the token after an answer.
    """
    path = Path(__file__).with_name(f"{layout}.jinja")
    template = "".join(line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    for word, text in texts.items():
        template = template.replace(word, repr(text))
    return template


def generation_config(folder: Path, tokenizer: Any, stops: int | list[int]) -> GenerationConfig:
    """The checkpoint's own defaults of `generate`, with the stock tokenizer's tokens."""
    settings: dict[str, Any] = {}
    if (folder / "generation_config.json").exists():
        settings = GenerationConfig.from_pretrained(folder).to_diff_dict()
    idle = ["transformers_version"]
    if not settings.get("do_sample"):  # transformers refuses to save idle sampling settings
        idle += ["temperature", "top_p", "top_k", "min_p", "typical_p"]
    tokens = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": stops,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return GenerationConfig(**{k: v for k, v in settings.items() if k not in idle} | tokens)
