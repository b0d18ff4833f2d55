"""LLaVA-v1.5's original layout against a forward pass written from the architecture.

The oracle reads the original tensors by their original names, in float64: CLIP (Radford et al.
2021: pre-norm transformer, class token, quick GELU, a norm before the first layer) up to its
penultimate hidden state without the class token, two linears with an exact GELU (Liu et al. 2023),
Llama (Touvron et al. 2023: RMSNorm, rotary embedding of half-split channels, SwiGLU).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F
from transformers import AutoProcessor, LlavaForConditionalGeneration

from trainables.common.weights import read_config, stored_tensors, weight_files
from trainables.models.convert import convert
from trainables.models.families.registry import adapter_for

Tensors = dict[str, torch.Tensor]
QUESTION = "What colour is the large square?"
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool) -> torch.Tensor:
    """Softmax attention; [heads, tokens, head_dim] in, [tokens, heads * head_dim] out."""
    scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
    if causal:
        scores += torch.full(scores.shape[1:], -math.inf, dtype=scores.dtype).triu(1)
    return (scores.softmax(-1) @ v).transpose(0, 1).flatten(1)


def heads(x: torch.Tensor, count: int) -> torch.Tensor:
    return x.unflatten(1, (count, -1)).transpose(0, 1)


def clip_penultimate(w: Tensors, pixels: torch.Tensor) -> torch.Tensor:
    """Patch states [9, 24] after two of three layers of one image [3, 18, 18]."""

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], 1e-5)

    root = "vision_model"
    kernel = w[f"{root}.embeddings.patch_embedding.weight"].flatten(1)
    patches = pixels.unfold(1, 6, 6).unfold(2, 6, 6).permute(1, 2, 0, 3, 4).flatten(2).flatten(0, 1)
    x = torch.cat([w[f"{root}.embeddings.class_embedding"][None], patches @ kernel.T])
    x = norm(x + w[f"{root}.embeddings.position_embedding.weight"], f"{root}.pre_layrnorm")
    for layer in (f"{root}.encoder.layers.0", f"{root}.encoder.layers.1"):
        y = norm(x, f"{layer}.layer_norm1")
        q, k, v = (heads(linear(y, f"{layer}.self_attn.{p}_proj"), 3) for p in "qkv")
        x = x + linear(attention(q, k, v, causal=False), f"{layer}.self_attn.out_proj")
        y = linear(norm(x, f"{layer}.layer_norm2"), f"{layer}.mlp.fc1")
        x = x + linear(y * torch.sigmoid(1.702 * y), f"{layer}.mlp.fc2")
    return x[1:]


def projector(w: Tensors, x: torch.Tensor) -> torch.Tensor:
    x = x @ w["model.mm_projector.0.weight"].T + w["model.mm_projector.0.bias"]
    x = x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))
    return x @ w["model.mm_projector.2.weight"].T + w["model.mm_projector.2.bias"]


def rotate(x: torch.Tensor) -> torch.Tensor:
    """Rotary embedding: channels i and i + d/2 turn by position * 10000^(-2i/d)."""
    half = x.shape[-1] // 2
    speeds = 10000.0 ** (-torch.arange(half, dtype=x.dtype) / half)
    angles = torch.arange(x.shape[1], dtype=x.dtype)[:, None] * speeds
    a, b = x[..., :half], x[..., half:]
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


def llama_logits(w: Tensors, x: torch.Tensor) -> torch.Tensor:
    """Logits [tokens, vocabulary] of input embeddings [tokens, 40]."""

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * w[f"{name}.weight"]

    for layer in (f"model.layers.{index}" for index in range(3)):
        y = norm(x, f"{layer}.input_layernorm")
        q, k, v = (heads(y @ w[f"{layer}.self_attn.{p}_proj.weight"].T, 4) for p in "qkv")
        y = attention(rotate(q), rotate(k), v, causal=True)
        x = x + y @ w[f"{layer}.self_attn.o_proj.weight"].T
        y = norm(x, f"{layer}.post_attention_layernorm")
        gate = y @ w[f"{layer}.mlp.gate_proj.weight"].T
        up = y @ w[f"{layer}.mlp.up_proj.weight"].T
        x = x + (gate * torch.sigmoid(gate) * up) @ w[f"{layer}.mlp.down_proj.weight"].T
    return norm(x, "model.norm") @ w["lm_head.weight"].T


def double(tensors: Tensors) -> Tensors:
    return {name: tensor.double() for name, tensor in tensors.items()}


@pytest.fixture
def picture() -> Image.Image:
    """A wide random picture."""
    pixels = np.random.default_rng(0).integers(0, 256, (14, 22, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def conversation(*turns: str) -> list[dict[str, Any]]:
    """Question, answer, question, ...; the picture stands in the first one."""
    messages: list[dict[str, Any]] = [
        {"role": ("user", "assistant")[i % 2], "content": [{"type": "text", "text": turn}]}
        for i, turn in enumerate(turns)
    ]
    messages[0]["content"].insert(0, {"type": "image"})
    return messages


@pytest.mark.parametrize(
    "how",
    [{}, {"shards": 3}, {"bin_": True}, {"bin_": True, "shards": 2}],
    ids=["one file", "shards", "bin", "bin shards"],
)
def test_logits_equal_an_independent_forward_pass(
    how: dict[str, Any],
    llava_folder: Callable[..., Path],
    llava_tensors: Tensors,
    clip_tensors: Tensors,
    sentencepiece_model: bytes,
    picture: Image.Image,
    tmp_path: Path,
) -> None:
    import sentencepiece

    source, to = llava_folder(**how), tmp_path / "stock"
    convert(source, to, vision_tower=tmp_path / "clip")
    model, info = LlavaForConditionalGeneration.from_pretrained(to, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    processor = AutoProcessor.from_pretrained(to)
    prompt = processor.apply_chat_template(conversation(QUESTION), add_generation_prompt=True)
    inputs = processor(images=picture, text=prompt, return_tensors="pt")
    with torch.no_grad():
        logits = model(**inputs).logits[0]

    # The original tokenises what stands before and after the image on its own.
    pieces = sentencepiece.SentencePieceProcessor(model_proto=sentencepiece_model)
    before = [1, *pieces.encode(f"{SYSTEM} USER: ")]
    after = pieces.encode(f"\n{QUESTION} ASSISTANT:")
    ids = inputs["input_ids"][0].tolist()
    assert ids == before + [model.config.image_token_id] * 9 + after

    w = double(llava_tensors)
    image = projector(w, clip_penultimate(double(clip_tensors), inputs["pixel_values"][0].double()))
    embedding = w["model.embed_tokens.weight"]
    expected = llama_logits(w, torch.cat([embedding[before], image, embedding[after]]))
    torch.testing.assert_close(logits[:, :331].double(), expected, atol=1e-4, rtol=0)
    mean = expected.mean(dim=1, keepdim=True).expand(-1, logits.shape[1] - 331)
    torch.testing.assert_close(logits[:, 331:].double(), mean, atol=1e-4, rtol=0)


def test_a_tower_inside_wins_over_the_folder(
    llava_folder: Callable[..., Path],
    llava_tensors: Tensors,
    clip_tensors: Tensors,
    tmp_path: Path,
) -> None:
    prefix = "model.vision_tower.vision_tower."
    inside = {prefix + name: tensor + 1 for name, tensor in clip_tensors.items()}
    source = llava_folder(llava_tensors | inside)
    convert(source, tmp_path / "stock", vision_tower=tmp_path / "clip")
    model = LlavaForConditionalGeneration.from_pretrained(tmp_path / "stock")
    norm = next(v for n, v in model.state_dict().items() if n.endswith("post_layernorm.bias"))
    torch.testing.assert_close(norm, clip_tensors["vision_model.post_layernorm.bias"] + 1)


def test_the_picture_is_padded_to_a_square_with_the_mean_colour(
    llava_folder: Callable[..., Path], picture: Image.Image, tmp_path: Path
) -> None:
    convert(llava_folder(), tmp_path / "stock", vision_tower=tmp_path / "clip")
    processor = AutoProcessor.from_pretrained(tmp_path / "stock")
    mean = np.array([0.48145466, 0.4578275, 0.40821073])
    std = np.array([0.26862954, 0.26130258, 0.27577711])
    square = Image.new("RGB", (22, 22), tuple(int(channel * 255) for channel in mean))
    square.paste(picture, (0, 4))
    resized = np.asarray(square.resize((18, 18), Image.Resampling.BICUBIC)) / 255
    expected = ((resized - mean) / std).transpose(2, 0, 1)
    given = processor.image_processor(picture, return_tensors="np")["pixel_values"][0]
    levels = np.abs(given - expected) * std[:, None, None] * 255
    assert levels.max() <= 2, "resizing may round a colour by a level or two"
    assert levels.mean() < 0.5


def test_conversation_config_and_card(llava_folder: Callable[..., Path], tmp_path: Path) -> None:
    source, to = llava_folder(), tmp_path / "stock"
    (source / "LICENSE").write_text("terms")
    (source / "README.md").write_text("---\nlicense: llama2\n---\n")
    done = convert(source, to, vision_tower=tmp_path / "clip")
    processor = AutoProcessor.from_pretrained(to)
    text = processor.apply_chat_template(conversation("a", "b", "c"), add_generation_prompt=True)
    assert text == f"{SYSTEM} USER: <image>\na ASSISTANT: b</s>USER: c ASSISTANT:"
    own = [{"role": "system", "content": "Be brief."}, *conversation("a")]
    assert processor.apply_chat_template(own) == "Be brief. USER: <image>\na "
    config = read_config(to)
    assert adapter_for(config).name == "llava-llama"
    assert "auto_map" not in config
    assert (config["image_token_index"], config["text_config"]["vocab_size"]) == (331, 384)
    assert json.loads((to / "generation_config.json").read_text())["pad_token_id"] == 332
    assert done.licence == "llama2"
    assert (to / "LICENSE").read_text() == "terms"
    card = (to / "README.md").read_text()
    assert "license: llama2" in card
    assert "llava" in card
    for path in weight_files(to):
        stored_tensors(path)


def test_a_licence_that_nothing_declares_is_unknown(
    llava_folder: Callable[..., Path], tmp_path: Path
) -> None:
    convert(llava_folder(), tmp_path / "stock", vision_tower=tmp_path / "clip")
    assert "license: unknown" in (tmp_path / "stock" / "README.md").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mm_projector_type": "linear"}, "mm_projector_type='linear'"),
        ({"image_aspect_ratio": "anyres"}, "LLaVA-NeXT"),
        ({"mm_patch_merge_type": "spatial_unpad"}, "LLaVA-NeXT"),
        ({"torch_dtype": "int8"}, "dtype 'int8'"),
    ],
)
def test_what_the_stock_class_cannot_express(
    changes: dict[str, Any], message: str, llava_folder: Callable[..., Path], tmp_path: Path
) -> None:
    source = llava_folder(changes=changes)
    with pytest.raises(ValueError, match=message):
        convert(source, tmp_path / "stock", vision_tower=tmp_path / "clip")


def test_a_tower_that_is_nowhere(llava_folder: Callable[..., Path], tmp_path: Path) -> None:
    source = llava_folder()
    with pytest.raises(ValueError, match=r"openai/clip-small.*--vision-tower"):
        convert(source, tmp_path / "stock")
    convert(llava_folder(changes={"mm_vision_tower": "../clip"}), tmp_path / "stock")


def test_half_precision_and_back(
    llava_folder: Callable[..., Path], llava_tensors: Tensors, tmp_path: Path
) -> None:
    source = llava_folder(changes={"torch_dtype": "bfloat16"})
    done = convert(source, tmp_path / "stock", vision_tower=tmp_path / "clip")
    assert done.dtype == "bfloat16"
    model = LlavaForConditionalGeneration.from_pretrained(tmp_path / "stock")
    assert model.dtype == torch.bfloat16
    head = model.lm_head.weight[:331]
    assert torch.equal(head, llava_tensors["lm_head.weight"].bfloat16())
