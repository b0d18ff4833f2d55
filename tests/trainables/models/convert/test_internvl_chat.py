"""InternVL-Chat's original layout against a forward pass written from the architecture.

The oracle reads the original tensors by their original names, in float64: InternViT (a pre-norm
transformer with fused qkv and a learnt scale per channel on both residual branches), pixel shuffle
(2 x 2 neighbouring patches become the channels of one token, rows of the square before columns),
LayerNorm and two linears with an exact GELU, Phi-3 (fused qkv and gate/up, SwiGLU, shared KV heads)
with the long rotary scaling of Ding et al. 2024, LongRoPE.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F
from transformers import AutoProcessor, InternVLForConditionalGeneration

from trainables.common.weights import read_config
from trainables.models.convert import convert
from trainables.models.families.registry import adapter_for

Tensors = dict[str, torch.Tensor]
QUESTION = "How many blue triangles?"
SHORT, LONG = [1.05, 1.1, 1.2, 1.3], [1.5, 2.0, 3.0, 4.0]


class Oracle:
    """The architecture on the original tensors, in float64."""

    def __init__(self, tensors: Tensors) -> None:
        self.w = {name: tensor.double() for name, tensor in tensors.items()}

    def linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return F.linear(x, self.w[f"{name}.weight"], self.w.get(f"{name}.bias"))

    def layer_norm(self, x: torch.Tensor, name: str, eps: float) -> torch.Tensor:
        weight, bias = self.w[f"{name}.weight"], self.w[f"{name}.bias"]
        return F.layer_norm(x, x.shape[-1:], weight, bias, eps)

    def rms_norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return F.rms_norm(x, x.shape[-1:], self.w[f"{name}.weight"], 1e-5)

    def tile(self, pixels: torch.Tensor) -> torch.Tensor:
        """Projected states [4, 32] of one tile [3, 24, 24]."""
        kernel = self.w["vision_model.embeddings.patch_embedding.weight"]
        bias = self.w["vision_model.embeddings.patch_embedding.bias"]
        x = F.conv2d(pixels[None], kernel, bias, stride=6)[0].flatten(1).T
        x = torch.cat([self.w["vision_model.embeddings.class_embedding"][0], x])
        x = x + self.w["vision_model.embeddings.position_embedding"][0]
        for index in range(2):
            layer = f"vision_model.encoder.layers.{index}"
            y = self.linear(self.layer_norm(x, f"{layer}.norm1", 1e-6), f"{layer}.attn.qkv")
            q, k, v = (part.view(-1, 4, 5).transpose(0, 1) for part in y.split(20, dim=1))
            y = (q @ k.transpose(1, 2) / math.sqrt(5)).softmax(-1) @ v
            y = self.linear(y.transpose(0, 1).flatten(1), f"{layer}.attn.proj")
            x = x + self.w[f"{layer}.ls1"] * y
            y = self.linear(self.layer_norm(x, f"{layer}.norm2", 1e-6), f"{layer}.mlp.fc1")
            y = self.linear(y * 0.5 * (1 + torch.erf(y / math.sqrt(2))), f"{layer}.mlp.fc2")
            x = x + self.w[f"{layer}.ls2"] * y
        grid = x[1:].view(4, 4, 20)  # rows, columns, channels
        squares = [
            torch.cat([grid[r, c], grid[r, c + 1], grid[r + 1, c], grid[r + 1, c + 1]])
            for r in (0, 2)
            for c in (0, 2)
        ]
        x = self.linear(self.layer_norm(torch.stack(squares), "mlp1.0", 1e-5), "mlp1.1")
        return self.linear(x * 0.5 * (1 + torch.erf(x / math.sqrt(2))), "mlp1.3")

    def rotate(self, x: torch.Tensor) -> torch.Tensor:
        """LongRoPE: long factors beyond 16 tokens; attention grows with the context's stretch."""
        tokens = x.shape[1]
        factors = torch.tensor(LONG if tokens > 16 else SHORT, dtype=x.dtype)
        speeds = 1 / (factors * 10000.0 ** (torch.arange(4, dtype=x.dtype) / 4))
        angles = torch.arange(tokens, dtype=x.dtype)[:, None] * speeds
        scale = math.sqrt(1 + math.log(64 / 16) / math.log(16))
        a, b = x[..., :4], x[..., 4:]
        cos, sin = scale * angles.cos(), scale * angles.sin()
        return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [tokens, 345] of input embeddings [tokens, 32]."""
        hidden = torch.full((len(x), len(x)), -math.inf, dtype=x.dtype).triu(1)
        for index in range(2):
            layer = f"language_model.model.layers.{index}"
            y = self.rms_norm(x, f"{layer}.input_layernorm")
            q, k, v = self.linear(y, f"{layer}.self_attn.qkv_proj").split([32, 16, 16], dim=1)
            q, k, v = (part.unflatten(1, (-1, 8)).transpose(0, 1) for part in (q, k, v))
            q, k = self.rotate(q), self.rotate(k)
            k, v = (part[[0, 0, 1, 1]] for part in (k, v))  # two query heads read one KV head
            y = (q @ k.transpose(1, 2) / math.sqrt(8) + hidden).softmax(-1) @ v
            x = x + self.linear(y.transpose(0, 1).flatten(1), f"{layer}.self_attn.o_proj")
            y = self.rms_norm(x, f"{layer}.post_attention_layernorm")
            gate, up = self.linear(y, f"{layer}.mlp.gate_up_proj").split(44, dim=1)
            x = x + self.linear(gate * torch.sigmoid(gate) * up, f"{layer}.mlp.down_proj")
        return self.linear(self.rms_norm(x, "language_model.model.norm"), "language_model.lm_head")


@pytest.fixture
def stock(internvl_folder: Callable[..., Path], tmp_path: Path) -> Path:
    """A converted checkpoint."""
    convert(internvl_folder(shards=2), tmp_path / "stock")
    return tmp_path / "stock"


def test_logits_equal_an_independent_forward_pass(stock: Path, internvl_tensors: Tensors) -> None:
    model, info = InternVLForConditionalGeneration.from_pretrained(stock, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    processor = AutoProcessor.from_pretrained(stock)
    content = [{"type": "image"}, {"type": "text", "text": QUESTION}]
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": content}]
    prompt = processor.apply_chat_template(turns, add_generation_prompt=True)
    pixels = np.random.default_rng(0).integers(0, 256, (24, 50, 3), dtype=np.uint8)
    inputs = processor(images=Image.fromarray(pixels), text=prompt, return_tensors="pt")
    assert inputs["pixel_values"].shape == (3, 3, 24, 24), "2 x 1 tiles and a thumbnail"
    with torch.no_grad():
        logits = model(**inputs).logits[0]

    ids = inputs["input_ids"][0]
    context = processor.tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>")
    assert (ids == context).sum() == 3 * 4
    oracle = Oracle(internvl_tensors)
    embedded = oracle.w["language_model.model.embed_tokens.weight"][ids]
    tiles = torch.cat([oracle.tile(tile.double()) for tile in inputs["pixel_values"]])
    embedded[ids == context] = tiles
    expected = oracle.logits(embedded)
    torch.testing.assert_close(logits[:, :345].double(), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("tokens", [9, 40], ids=["short factors", "long factors"])
def test_text_within_and_beyond_the_original_context(
    tokens: int, stock: Path, internvl_tensors: Tensors
) -> None:
    model = InternVLForConditionalGeneration.from_pretrained(stock)
    ids = torch.randint(3, 330, (1, tokens), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, :, :345]
    oracle = Oracle(internvl_tensors)
    expected = oracle.logits(oracle.w["language_model.model.embed_tokens.weight"][ids[0]])
    torch.testing.assert_close(logits.double(), expected, atol=1e-4, rtol=0)


def original_tiles(image: Image.Image, size: int, most: int) -> list[Image.Image]:
    """Tiles by the paper's rule (Chen et al. 2024): the grid of the nearest aspect ratio.

    Of grids at the same distance, a larger one wins if the picture has more than half its area.
    """
    width, height = image.size
    best, distance = (1, 1), math.inf
    grids = [(c, r) for c in range(1, most + 1) for r in range(1, most + 1) if c * r <= most]
    for columns, rows in sorted(grids, key=lambda grid: grid[0] * grid[1]):
        found = abs(width / height - columns / rows)
        roomy = width * height > 0.5 * size * size * columns * rows
        if found < distance or (found == distance and roomy):
            best, distance = (columns, rows), found
    columns, rows = best
    whole = image.resize((size * columns, size * rows), Image.Resampling.BICUBIC)
    tiles = [
        whole.crop((c * size, r * size, (c + 1) * size, (r + 1) * size))
        for r in range(rows)
        for c in range(columns)
    ]
    return (
        [*tiles, image.resize((size, size), Image.Resampling.BICUBIC)] if best != (1, 1) else tiles
    )


@pytest.mark.parametrize("size", [(30, 30), (90, 30), (30, 80), (200, 100), (50, 44), (400, 31)])
def test_tiles_follow_the_original_rule(size: tuple[int, int], stock: Path) -> None:
    processor = AutoProcessor.from_pretrained(stock)
    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    given = processor.image_processor(image, crop_to_patches=True, return_tensors="np")
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = [(np.asarray(tile) / 255 - mean) / std for tile in original_tiles(image, 24, 6)]
    assert len(given["pixel_values"]) == len(expected)
    levels = np.abs(given["pixel_values"] - np.stack(expected).transpose(0, 3, 1, 2)) * 58
    assert levels.max() <= 6, "another implementation of the same resizing"
    assert levels.mean() < 0.5


def test_conversation_config_and_adapter(stock: Path) -> None:
    processor = AutoProcessor.from_pretrained(stock)
    turns = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "a"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "b"}]},
        {"role": "user", "content": "c"},
    ]
    text = processor.apply_chat_template(turns, add_generation_prompt=True)
    assert text.startswith("<|system|>\n你是由上海人工智能实验室")
    assert text.endswith(
        "<|end|><|user|>\n<IMG_CONTEXT>\na<|end|><|assistant|>\nb<|end|>"
        "<|user|>\nc<|end|><|assistant|>\n"
    )
    config = read_config(stock)
    assert adapter_for(config).name == "internvl-phi3"
    assert config["image_seq_length"] == 4
    rope = config["text_config"]["rope_parameters"]
    assert (rope["rope_type"], rope["long_factor"]) == ("longrope", LONG)
    assert config["text_config"]["vocab_size"] == 384, "one more token, a multiple of 64"
    generation = InternVLForConditionalGeneration.from_pretrained(stock).generation_config
    assert generation.eos_token_id == [2, 331, 334]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ps_version": "v1"}, "ps_version='v1'"),
        ({"pad2square": True}, "pad2square"),
        ({"template": "Hermes-2"}, "Hermes-2"),
        ({"use_thumbnail": False}, "thumbnail"),
        ({"llm_config": {"model_type": "internlm2"}}, "'internlm2' language model"),
        ({"llm_config": {"model_type": "phi3", "rope_scaling": {"type": "yarn"}}}, "'yarn'"),
        ({"vision_config": {"hidden_size": 20}}, r"config.json is no usable internvl-chat config"),
    ],
)
def test_what_the_stock_class_cannot_express(
    changes: dict[str, Any], message: str, internvl_folder: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        convert(internvl_folder(changes=changes), tmp_path / "stock")


def test_a_tokenizer_without_image_tokens(
    internvl_folder: Callable[..., Path], tmp_path: Path
) -> None:
    source = internvl_folder()
    (source / "tokenizer_config.json").unlink()
    with pytest.raises(ValueError, match=r"<img>, </img>, <IMG_CONTEXT>"):
        convert(source, tmp_path / "stock")
