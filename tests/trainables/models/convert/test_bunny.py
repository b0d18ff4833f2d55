"""Bunny's original layout against a forward pass written from the architecture.

The oracle reads the original tensors by their original names, in float64: SigLIP (Zhai et al. 2023:
a pre-norm transformer without class token, tanh GELU) without its last layer and without its last
norm, two linears with an exact GELU, Phi-2 (attention and MLP in parallel on one LayerNorm, biases
everywhere, half of each head's channels rotated, tanh GELU), a head with a bias.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.original_checkpoints import random_tensors
from helpers.original_shapes import bunny_shapes
from PIL import Image
from transformers import AutoProcessor, AutoTokenizer, LlavaForConditionalGeneration

from trainables.common.weights import read_config
from trainables.models.convert import convert
from trainables.models.families.registry import adapter_for

Tensors = dict[str, torch.Tensor]
QUESTION = "Why is the image funny?"
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
TOWER = "model.vision_tower.vision_tower."


class Oracle:
    """The architecture on the original tensors, in float64."""

    def __init__(self, tensors: Tensors) -> None:
        self.w = {name: tensor.double() for name, tensor in tensors.items()}

    def linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        x = x @ self.w[f"{name}.weight"].T
        return x + self.w[f"{name}.bias"] if f"{name}.bias" in self.w else x

    def norm(self, x: torch.Tensor, name: str, eps: float) -> torch.Tensor:
        x = x - x.mean(-1, keepdim=True)
        x = x / (x.square().mean(-1, keepdim=True) + eps).sqrt()
        return x * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def attention(self, x: torch.Tensor, name: str, heads: int, rotated: int) -> torch.Tensor:
        """Concatenated heads; the first `rotated` channels of each turn, and then it is causal."""
        tokens = len(x)
        q, k, v = (
            self.linear(x, f"{name}.{part}_proj").view(tokens, heads, -1).transpose(0, 1)
            for part in "qkv"
        )
        mask = torch.zeros(tokens, tokens, dtype=x.dtype)
        if rotated:
            speeds = 10000.0 ** (-torch.arange(0, rotated, 2, dtype=x.dtype) / rotated)
            angles = torch.arange(tokens, dtype=x.dtype)[:, None] * speeds
            q, k = (self._turn(part, angles, rotated) for part in (q, k))
            mask = torch.full((tokens, tokens), -math.inf, dtype=x.dtype).triu(1)
        scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1]) + mask
        return (scores.softmax(-1) @ v).transpose(0, 1).reshape(tokens, -1)

    @staticmethod
    def _turn(x: torch.Tensor, angles: torch.Tensor, rotated: int) -> torch.Tensor:
        a, b = x[..., : rotated // 2], x[..., rotated // 2 : rotated]
        turned = torch.complex(a, b) * torch.polar(torch.ones_like(angles), angles)
        return torch.cat([turned.real, turned.imag, x[..., rotated:]], dim=-1)

    @staticmethod
    def tanh_gelu(x: torch.Tensor) -> torch.Tensor:
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    def image(self, pixels: torch.Tensor) -> torch.Tensor:
        """Projected states [9, 48] of one image [3, 20, 20]; its last 2 rows and columns unread."""
        root = f"{TOWER}vision_model"
        patches = pixels.unfold(1, 6, 6).unfold(2, 6, 6).permute(1, 2, 0, 3, 4).reshape(9, -1)
        kernel = self.w[f"{root}.embeddings.patch_embedding.weight"].flatten(1)
        x = patches @ kernel.T + self.w[f"{root}.embeddings.patch_embedding.bias"]
        x = x + self.w[f"{root}.embeddings.position_embedding.weight"]
        for layer in (f"{root}.encoder.layers.0", f"{root}.encoder.layers.1"):
            y = self.norm(x, f"{layer}.layer_norm1", 1e-6)
            y = self.attention(y, f"{layer}.self_attn", heads=2, rotated=0)
            x = x + self.linear(y, f"{layer}.self_attn.out_proj")
            y = self.tanh_gelu(
                self.linear(self.norm(x, f"{layer}.layer_norm2", 1e-6), f"{layer}.mlp.fc1")
            )
            x = x + self.linear(y, f"{layer}.mlp.fc2")
        x = self.linear(x, "model.mm_projector.0")
        return self.linear(x * 0.5 * (1 + torch.erf(x / math.sqrt(2))), "model.mm_projector.2")

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [tokens, 333] of input embeddings [tokens, 48]."""
        for index in range(3):
            layer = f"model.layers.{index}"
            y = self.norm(x, f"{layer}.input_layernorm", 1e-5)
            heads = self.attention(y, f"{layer}.self_attn", heads=3, rotated=8)
            mlp = self.linear(
                self.tanh_gelu(self.linear(y, f"{layer}.mlp.fc1")), f"{layer}.mlp.fc2"
            )
            x = x + self.linear(heads, f"{layer}.self_attn.dense") + mlp
        return self.linear(self.norm(x, "model.final_layernorm", 1e-5), "lm_head")


def ask(folder: Path) -> tuple[Any, torch.Tensor, dict[str, torch.Tensor]]:
    """Model, logits and inputs of one question about a random picture."""
    model, info = LlavaForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    processor = AutoProcessor.from_pretrained(folder)
    content = [{"type": "image"}, {"type": "text", "text": QUESTION}]
    turns = [{"role": "user", "content": content}]
    prompt = processor.apply_chat_template(turns, add_generation_prompt=True)
    assert prompt == f"{SYSTEM} USER: <image>\n{QUESTION} ASSISTANT:"
    pixels = np.random.default_rng(0).integers(0, 256, (20, 13, 3), dtype=np.uint8)
    inputs = processor(images=Image.fromarray(pixels), text=prompt, return_tensors="pt")
    with torch.no_grad():
        return model, model(**inputs).logits[0], dict(inputs)


def expected_logits(
    tensors: Tensors, source: Path, inputs: dict[str, torch.Tensor], image_token: int
) -> torch.Tensor:
    """The oracle's logits; the text is tokenised as the original does, around the image."""
    tokenizer = AutoTokenizer.from_pretrained(source)
    before = tokenizer(f"{SYSTEM} USER: ").input_ids
    after = tokenizer(f"\n{QUESTION} ASSISTANT:").input_ids
    assert inputs["input_ids"][0].tolist() == before + [image_token] * 9 + after
    oracle = Oracle(tensors)
    embedding = oracle.w["model.embed_tokens.weight"]
    image = oracle.image(inputs["pixel_values"][0].double())
    return oracle.logits(torch.cat([embedding[before], image, embedding[after]]))


@pytest.mark.parametrize("bias", ["random", "none", "zero"])
def test_logits_equal_an_independent_forward_pass(
    bias: str, bunny_folder: Callable[..., Path], bunny_tensors: Tensors, tmp_path: Path
) -> None:
    if bias == "none":
        del bunny_tensors["lm_head.bias"]
    elif bias == "zero":
        bunny_tensors["lm_head.bias"].zero_()
    source, to = bunny_folder(bunny_tensors, shards=3), tmp_path / "stock"
    done = convert(source, to, vision_tower=tmp_path / "siglip")
    assert done.folded_bias == (bias == "random")
    model, logits, inputs = ask(to)
    expected = expected_logits(bunny_tensors, source, inputs, model.config.image_token_id)
    torch.testing.assert_close(logits[:, :333].double(), expected, atol=1e-4, rtol=0)
    mean = expected.mean(dim=1, keepdim=True).expand(-1, logits.shape[1] - 333)
    torch.testing.assert_close(logits[:, 333:].double(), mean, atol=1e-4, rtol=0)
    if bias != "random":
        assert torch.equal(model.lm_head.weight[:333], bunny_tensors["lm_head.weight"])


def test_a_whole_tower_converts_to_the_same_model(
    bunny_folder: Callable[..., Path],
    bunny_tensors: Tensors,
    tmp_path: Path,
) -> None:
    first = f"{TOWER}vision_model.encoder.layers.0."
    last = first.replace("layers.0.", "layers.2.")
    more = {name.replace(first, last): s for name, s in bunny_shapes().items() if first in name}
    more[f"{TOWER}vision_model.head.probe"] = (1, 1, 24)
    convert(bunny_folder(), tmp_path / "a", vision_tower=tmp_path / "siglip")
    whole = bunny_folder(bunny_tensors | random_tensors(more))
    done = convert(whole, tmp_path / "b", vision_tower=tmp_path / "siglip")
    assert set(done.unused) == set(more)
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in "ab"]
    assert files[0] == files[1]
    assert read_config(tmp_path / "b")["vision_config"]["num_hidden_layers"] == 2


def test_config_and_adapter(bunny_folder: Callable[..., Path], tmp_path: Path) -> None:
    convert(bunny_folder(), tmp_path / "stock", vision_tower=tmp_path / "siglip")
    config = read_config(tmp_path / "stock")
    assert adapter_for(config).name == "llava-phi"
    assert config["vision_feature_select_strategy"] == "full"
    assert (config["image_token_index"], config["text_config"]["vocab_size"]) == (333, 384)
    assert config["text_config"]["rope_parameters"]["partial_rotary_factor"] == 0.5
    processor = AutoProcessor.from_pretrained(tmp_path / "stock")
    assert processor.tokenizer.pad_token == "<pad>"
    image_processor = processor.image_processor
    assert image_processor.do_pad
    assert not image_processor.do_center_crop
    assert list(image_processor.image_mean) == [0.5, 0.5, 0.5]


def test_the_tower_without_its_config_must_be_a_known_one(
    bunny_folder: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"google/siglip-small.*siglip-so400m-patch14-384"):
        convert(bunny_folder(), tmp_path / "stock")
    known = bunny_folder(changes={"mm_vision_tower": "google/siglip-so400m-patch14-384"})
    with pytest.raises(ValueError, match=r"patch_embedding.weight is \[24, 3, 6, 6\], must be"):
        convert(known, tmp_path / "stock")


@pytest.mark.parametrize("shape", [(40,), (333, 1)])
def test_a_bias_of_another_shape(
    shape: tuple[int, ...],
    bunny_folder: Callable[..., Path],
    bunny_tensors: Tensors,
    tmp_path: Path,
) -> None:
    source = bunny_folder(bunny_tensors | {"lm_head.bias": torch.ones(shape)})
    with pytest.raises(ValueError, match=r"lm_head.bias .*must be \[333\]"):
        convert(source, tmp_path / "stock", vision_tower=tmp_path / "siglip")
