"""Small checkpoints in the original layouts: random weights, odd sizes, real tokenizers."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from helpers.original_configs import (
    BUNNY_CONFIG,
    CLIP_CONFIG,
    INTERNVL_CONFIG,
    LLAVA_CONFIG,
    PHI3_TOKENS,
    SIGLIP_CONFIG,
)

Tensors = dict[str, torch.Tensor]
TEXT = [
    "A chat between a curious user and an artificial intelligence assistant.",
    "The assistant gives helpful, detailed, and polite answers to the user's questions.",
    "USER: What colour is the large square left of the small circle? ASSISTANT: It is red.",
    "USER: How many blue triangles are there in this picture? ASSISTANT: There are three of them.",
    "Why is the image funny? Describe what you see and answer with a single word or phrase.",
]


def train_sentencepiece() -> bytes:
    """A byte-fallback BPE of 331 pieces, trained on a few sentences (unk 0, bos 1, eos 2)."""
    import sentencepiece

    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT * 4),
        model_writer=written,
        vocab_size=331,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=1.0,
        normalization_rule_name="identity",  # as Llama's, which leaves spaces and line breaks alone
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    return written.getvalue()


def train_byte_level(folder: Path) -> Path:
    """The folder, with `vocab.json` and `merges.txt` of a byte-level BPE, as Phi-2 has them."""
    from tokenizers import ByteLevelBPETokenizer

    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(
        TEXT, vocab_size=333, min_frequency=1, special_tokens=["<|endoftext|>"]
    )
    tokenizer.save_model(str(folder))
    return folder


def random_tensors(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> Tensors:
    """Seeded values; norm gains near 1, the rest around 0."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in shapes.items():
        values = torch.randn(shape, generator=generator)
        gain = ("norm" in name and name.endswith("weight")) or name.endswith((".ls1", ".ls2"))
        tensors[name] = 1 + 0.3 * values if gain else 0.25 * values
    return tensors


def save_checkpoint(
    folder: Path,
    config: dict[str, Any],
    tensors: Tensors,
    *,
    shards: int = 1,
    bin_: bool = False,
) -> Path:
    """Write config and weights: one file or shards, safetensors or `.bin`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    stem, suffix = ("pytorch_model", "bin") if bin_ else ("model", "safetensors")
    names = list(tensors)
    places = {}
    for shard in range(shards):
        file = f"{stem}-{shard + 1:05d}-of-{shards:05d}.{suffix}"
        file = file if shards > 1 else f"{stem}.{suffix}"
        part = {name: tensors[name] for name in names[shard::shards]}
        if bin_:
            torch.save(part, folder / file)
        else:
            save_file(part, folder / file, metadata={"format": "pt"})
        places |= dict.fromkeys(part, file)
    if shards > 1:
        index = {"metadata": {}, "weight_map": places}
        (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index))
    return folder


def write_llava(
    root: Path,
    tensors: Tensors,
    clip_tensors: Tensors,
    tokenizer: bytes,
    changes: Any = None,
    **how: Any,
) -> Path:
    """A LLaVA-v1.5 checkpoint in `root`, its tower in the subfolder `clip`."""
    config = LLAVA_CONFIG | (changes or {})
    folder = save_checkpoint(root / "llava", config, tensors, **how)
    (folder / "tokenizer.model").write_bytes(tokenizer)
    tokens = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    settings = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, **tokens}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    other = {"logit_scale": torch.ones(1), "text_model.final_layer_norm.weight": torch.ones(20)}
    save_checkpoint(root / "clip", CLIP_CONFIG, clip_tensors | other, bin_=True)
    return folder


def write_bunny(
    root: Path,
    tensors: Tensors,
    tokenizer: Path,
    changes: Any = None,
    **how: Any,
) -> Path:
    """A Bunny checkpoint in `root`; `siglip` beside it holds the tower's config."""
    config = BUNNY_CONFIG | (changes or {})
    folder = save_checkpoint(root / "bunny", config, tensors, **how)
    for name in ("vocab.json", "merges.txt"):
        (folder / name).write_bytes((tokenizer / name).read_bytes())
    end = dict.fromkeys(("unk_token", "bos_token", "eos_token"), "<|endoftext|>")
    settings = {"tokenizer_class": "CodeGenTokenizer", **end}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (root / "siglip").mkdir(exist_ok=True)
    (root / "siglip" / "config.json").write_text(json.dumps(SIGLIP_CONFIG))
    return folder


def write_internvl(
    root: Path,
    tensors: Tensors,
    tokenizer: bytes,
    changes: Any = None,
    **how: Any,
) -> Path:
    """An InternVL-Chat checkpoint with a Phi-3 backbone in `root`."""
    config = INTERNVL_CONFIG | (changes or {})
    folder = save_checkpoint(root / "internvl", config, tensors, **how)
    (folder / "tokenizer.model").write_bytes(tokenizer)
    added = {
        str(331 + position): {"content": token, "special": True, "normalized": False}
        for position, token in enumerate(PHI3_TOKENS)
    }
    settings = {
        "tokenizer_class": "LlamaTokenizer",
        "legacy": False,
        "add_bos_token": True,
        "bos_token": "<s>",
        "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
        "unk_token": "<unk>",
        "added_tokens_decoder": added,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder
