"""Small checkpoints in the original layouts: random weights, odd sizes, real tokenizers."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

Tensors = dict[str, torch.Tensor]
TEXT = [
    "A chat between a curious user and an artificial intelligence assistant.",
    "The assistant gives helpful, detailed, and polite answers to the user's questions.",
    "USER: What colour is the large square left of the small circle? ASSISTANT: It is red.",
    "USER: How many blue triangles are there in this picture? ASSISTANT: There are three of them.",
    "Why is the image funny? Describe what you see and answer with a single word or phrase.",
]


@pytest.fixture(scope="session")
def sentencepiece_model() -> bytes:
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


@pytest.fixture(scope="session")
def byte_level_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `vocab.json` and `merges.txt` of a byte-level BPE, as Phi-2 has them."""
    from tokenizers import ByteLevelBPETokenizer

    folder = tmp_path_factory.mktemp("byte-level")
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(
        TEXT, vocab_size=333, min_frequency=1, special_tokens=["<|endoftext|>"]
    )
    tokenizer.save_model(str(folder))
    return folder


@pytest.fixture
def random_tensors() -> Callable[[dict[str, tuple[int, ...]]], Tensors]:
    """A function that fills shapes with seeded values; norm gains near 1, the rest around 0."""

    def fill(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> Tensors:
        generator = torch.Generator().manual_seed(seed)
        tensors = {}
        for name, shape in shapes.items():
            values = torch.randn(shape, generator=generator)
            gain = ("norm" in name and name.endswith("weight")) or name.endswith((".ls1", ".ls2"))
            tensors[name] = 1 + 0.3 * values if gain else 0.25 * values
        return tensors

    return fill


@pytest.fixture
def save_checkpoint() -> Callable[..., Path]:
    """A function that writes config and weights: one file or shards, safetensors or `.bin`."""

    def save(
        folder: Path,
        config: dict[str, Any],
        tensors: Tensors,
        *,
        shards: int = 1,
        bin_: bool = False,
    ) -> Path:
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

    return save


def _linear(name: str, rows: int, columns: int, bias: bool) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (rows, columns)} | ({f"{name}.bias": (rows,)} if bias else {})


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _clip_type_tower(layers: int, width: int, neurons: int, positions: int, clip: bool) -> Any:
    """Shapes of CLIP's or SigLIP's vision model, names from `vision_model.` on."""
    shapes: dict[str, tuple[int, ...]] = {}
    if clip:
        shapes["vision_model.embeddings.class_embedding"] = (width,)
        shapes |= _norm("vision_model.pre_layrnorm", width)
    else:
        shapes["vision_model.embeddings.patch_embedding.bias"] = (width,)
    shapes["vision_model.embeddings.patch_embedding.weight"] = (width, 3, 6, 6)
    shapes["vision_model.embeddings.position_embedding.weight"] = (positions, width)
    for index in range(layers):
        layer = f"vision_model.encoder.layers.{index}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= _linear(f"{layer}.self_attn.{part}", width, width, True)
        shapes |= _norm(f"{layer}.layer_norm1", width) | _norm(f"{layer}.layer_norm2", width)
        shapes |= _linear(f"{layer}.mlp.fc1", neurons, width, True)
        shapes |= _linear(f"{layer}.mlp.fc2", width, neurons, True)
    return shapes | _norm("vision_model.post_layernorm", width)


def _under(prefix: str, shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {prefix + name: shape for name, shape in shapes.items()}


LLAVA_CONFIG: dict[str, Any] = {
    "model_type": "llava",
    "architectures": ["LlavaLlamaForCausalLM"],
    "vocab_size": 331,
    "hidden_size": 40,
    "intermediate_size": 52,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "hidden_act": "silu",
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "tie_word_embeddings": False,
    "image_aspect_ratio": "pad",
    "mm_vision_tower": "openai/clip-small",
    "mm_vision_select_layer": -2,
    "mm_vision_select_feature": "patch",
    "mm_hidden_size": 24,
    "mm_projector_type": "mlp2x_gelu",
    "mm_use_im_start_end": False,
    "mm_use_im_patch_token": False,
    "torch_dtype": "float32",
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
CLIP_CONFIG: dict[str, Any] = {  # as openai's: the vision config inside one of both towers
    "model_type": "clip",
    "vision_config": {
        "model_type": "clip_vision_model",
        "hidden_size": 24,
        "intermediate_size": 44,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "image_size": 18,
        "patch_size": 6,
        "projection_dim": 20,
    },
    "text_config": {"model_type": "clip_text_model", "hidden_size": 20},
}
BUNNY_CONFIG: dict[str, Any] = {
    "model_type": "bunny-phi",
    "architectures": ["BunnyPhiForCausalLM"],
    "vocab_size": 333,
    "hidden_size": 48,
    "intermediate_size": 76,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "num_key_value_heads": 3,
    "hidden_act": "gelu_new",
    "max_position_embeddings": 128,
    "layer_norm_eps": 1e-05,
    "partial_rotary_factor": 0.5,
    "rope_theta": 10000.0,
    "rope_scaling": None,
    "qk_layernorm": False,
    "tie_word_embeddings": False,
    "image_aspect_ratio": "pad",
    "mm_vision_tower": "google/siglip-small",
    "mm_hidden_size": 24,
    "mm_projector_type": "mlp2x_gelu",
    "torch_dtype": "float32",
    "bos_token_id": 0,
    "eos_token_id": 0,
}
SIGLIP_CONFIG: dict[str, Any] = {
    "model_type": "siglip",
    "vision_config": {
        "model_type": "siglip_vision_model",
        "hidden_size": 24,
        "intermediate_size": 44,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "image_size": 20,  # no multiple of the patch: 3 x 3 patches, as 384 / 14 leaves 6 pixels
        "patch_size": 6,
    },
}
INTERNVL_CONFIG: dict[str, Any] = {
    "model_type": "internvl_chat",
    "architectures": ["InternVLChatModel"],
    "downsample_ratio": 0.5,
    "dynamic_image_size": True,
    "force_image_size": 24,
    "max_dynamic_patch": 6,
    "min_dynamic_patch": 1,
    "pad2square": False,
    "ps_version": "v2",
    "select_layer": -1,
    "template": "phi3-chat",
    "use_thumbnail": True,
    "torch_dtype": "float32",
    "vision_config": {
        "model_type": "intern_vit_6b",
        "hidden_size": 20,
        "intermediate_size": 36,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 24,
        "patch_size": 6,
        "qkv_bias": True,
        "qk_normalization": False,
        "norm_type": "layer_norm",
        "layer_norm_eps": 1e-06,
        "hidden_act": "gelu",
        "initializer_factor": 1.0,
        "drop_path_rate": 0.1,
        "use_flash_attn": True,
    },
    "llm_config": {
        "model_type": "phi3",
        "architectures": ["Phi3ForCausalLM"],
        "vocab_size": 345,
        "hidden_size": 32,
        "intermediate_size": 44,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "hidden_act": "silu",
        "max_position_embeddings": 64,
        "original_max_position_embeddings": 16,
        "rms_norm_eps": 1e-05,
        "rope_theta": 10000.0,
        "rope_scaling": {
            "type": "su",
            "short_factor": [1.05, 1.1, 1.2, 1.3],
            "long_factor": [1.5, 2.0, 3.0, 4.0],
        },
        "sliding_window": 100,
        "bos_token_id": 1,
        "eos_token_id": 332,
        "pad_token_id": 332,
        "attn_implementation": "flash_attention_2",
        "auto_map": {"AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM"},
    },
}
PHI3_TOKENS = (
    "<|endoftext|> <|assistant|> <|system|> <|end|> <|user|> "
    "<img> </img> <IMG_CONTEXT> <quad> </quad> <ref> </ref> <box> </box>"
).split()


@pytest.fixture
def llava_shapes() -> dict[str, tuple[int, ...]]:
    """The original names and shapes of a LLaVA-v1.5 checkpoint that does not hold its tower."""
    config, width, neurons = LLAVA_CONFIG, 40, 52
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (config["vocab_size"], width)
    }
    for index in range(config["num_hidden_layers"]):
        layer = f"model.layers.{index}"
        for part in ("q_proj", "k_proj", "v_proj", "o_proj"):
            shapes[f"{layer}.self_attn.{part}.weight"] = (width, width)
        shapes[f"{layer}.mlp.gate_proj.weight"] = (neurons, width)
        shapes[f"{layer}.mlp.up_proj.weight"] = (neurons, width)
        shapes[f"{layer}.mlp.down_proj.weight"] = (width, neurons)
        shapes[f"{layer}.input_layernorm.weight"] = (width,)
        shapes[f"{layer}.post_attention_layernorm.weight"] = (width,)
        shapes[f"{layer}.self_attn.rotary_emb.inv_freq"] = (5,)
    shapes |= {"model.norm.weight": (width,), "lm_head.weight": (config["vocab_size"], width)}
    shapes |= _linear("model.mm_projector.0", width, 24, True)
    return shapes | _linear("model.mm_projector.2", width, width, True)


@pytest.fixture
def clip_shapes() -> dict[str, tuple[int, ...]]:
    """CLIP's vision model by its own names."""
    shapes: dict[str, tuple[int, ...]] = _clip_type_tower(3, 24, 44, 10, clip=True)
    return shapes


@pytest.fixture
def bunny_shapes() -> dict[str, tuple[int, ...]]:
    """The original names and shapes of a Bunny checkpoint: tower inside, without its last layer."""
    config, width, neurons = BUNNY_CONFIG, 48, 76
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (config["vocab_size"], width)
    }
    for index in range(config["num_hidden_layers"]):
        layer = f"model.layers.{index}"
        for part in ("q_proj", "k_proj", "v_proj", "dense"):
            shapes |= _linear(f"{layer}.self_attn.{part}", width, width, True)
        shapes |= _linear(f"{layer}.mlp.fc1", neurons, width, True)
        shapes |= _linear(f"{layer}.mlp.fc2", width, neurons, True)
        shapes |= _norm(f"{layer}.input_layernorm", width)
    shapes |= _norm("model.final_layernorm", width)
    shapes |= _linear("lm_head", config["vocab_size"], width, True)
    shapes |= _linear("model.mm_projector.0", width, 24, True)
    shapes |= _linear("model.mm_projector.2", width, width, True)
    tower = _clip_type_tower(2, 24, 44, 9, clip=False)
    return shapes | _under("model.vision_tower.vision_tower.", tower)


@pytest.fixture
def internvl_shapes() -> dict[str, tuple[int, ...]]:
    """The original names and shapes of an InternVL-Chat checkpoint with a Phi-3 backbone."""
    vision, llm = INTERNVL_CONFIG["vision_config"], INTERNVL_CONFIG["llm_config"]
    width, neurons = vision["hidden_size"], vision["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "vision_model.embeddings.class_embedding": (1, 1, width),
        "vision_model.embeddings.position_embedding": (1, 17, width),
        "vision_model.embeddings.patch_embedding.weight": (width, 3, 6, 6),
        "vision_model.embeddings.patch_embedding.bias": (width,),
    }
    for index in range(vision["num_hidden_layers"]):
        layer = f"vision_model.encoder.layers.{index}"
        shapes |= _linear(f"{layer}.attn.qkv", 3 * width, width, True)
        shapes |= _linear(f"{layer}.attn.proj", width, width, True)
        shapes |= _norm(f"{layer}.norm1", width) | _norm(f"{layer}.norm2", width)
        shapes |= _linear(f"{layer}.mlp.fc1", neurons, width, True)
        shapes |= _linear(f"{layer}.mlp.fc2", width, neurons, True)
        shapes |= {f"{layer}.ls1": (width,), f"{layer}.ls2": (width,)}
    width, neurons = llm["hidden_size"], llm["intermediate_size"]
    shapes["language_model.model.embed_tokens.weight"] = (llm["vocab_size"], width)
    for index in range(llm["num_hidden_layers"]):
        layer = f"language_model.model.layers.{index}"
        shapes[f"{layer}.self_attn.qkv_proj.weight"] = (64, width)
        shapes[f"{layer}.self_attn.o_proj.weight"] = (width, width)
        shapes[f"{layer}.mlp.gate_up_proj.weight"] = (2 * neurons, width)
        shapes[f"{layer}.mlp.down_proj.weight"] = (width, neurons)
        shapes[f"{layer}.input_layernorm.weight"] = (width,)
        shapes[f"{layer}.post_attention_layernorm.weight"] = (width,)
    shapes["language_model.model.norm.weight"] = (width,)
    shapes["language_model.lm_head.weight"] = (llm["vocab_size"], width)
    shapes |= _norm("mlp1.0", 80) | _linear("mlp1.1", width, 80, True)
    return shapes | _linear("mlp1.3", width, width, True)


@pytest.fixture
def llava_tensors(llava_shapes: Any, random_tensors: Any) -> Tensors:
    """Seeded values of a LLaVA-v1.5 checkpoint."""
    tensors: Tensors = random_tensors(llava_shapes)
    return tensors


@pytest.fixture
def clip_tensors(clip_shapes: Any, random_tensors: Any) -> Tensors:
    """Seeded values of CLIP's vision model."""
    tensors: Tensors = random_tensors(clip_shapes, seed=1)
    return tensors


@pytest.fixture
def llava_folder(
    tmp_path: Path,
    llava_tensors: Tensors,
    clip_tensors: Tensors,
    sentencepiece_model: bytes,
    save_checkpoint: Callable[..., Path],
) -> Callable[..., Path]:
    """A function that writes a LLaVA-v1.5 checkpoint, its tower in the subfolder it names."""

    def make(tensors: Tensors | None = None, changes: Any = None, **how: Any) -> Path:
        config = LLAVA_CONFIG | (changes or {})
        folder = save_checkpoint(tmp_path / "llava", config, tensors or llava_tensors, **how)
        (folder / "tokenizer.model").write_bytes(sentencepiece_model)
        tokens = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
        settings = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, **tokens}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
        other = {"logit_scale": torch.ones(1), "text_model.final_layer_norm.weight": torch.ones(20)}
        save_checkpoint(tmp_path / "clip", CLIP_CONFIG, clip_tensors | other, bin_=True)
        return folder

    return make


@pytest.fixture
def bunny_tensors(bunny_shapes: Any, random_tensors: Any) -> Tensors:
    """Seeded values of a Bunny checkpoint, its head with a bias."""
    tensors: Tensors = random_tensors(bunny_shapes)
    return tensors


@pytest.fixture
def bunny_folder(
    tmp_path: Path,
    bunny_tensors: Tensors,
    byte_level_files: Path,
    save_checkpoint: Callable[..., Path],
) -> Callable[..., Path]:
    """A function that writes a Bunny checkpoint; `siglip` beside it holds the tower's config."""

    def make(tensors: Tensors | None = None, changes: Any = None, **how: Any) -> Path:
        config = BUNNY_CONFIG | (changes or {})
        folder = save_checkpoint(tmp_path / "bunny", config, tensors or bunny_tensors, **how)
        for name in ("vocab.json", "merges.txt"):
            (folder / name).write_bytes((byte_level_files / name).read_bytes())
        end = dict.fromkeys(("unk_token", "bos_token", "eos_token"), "<|endoftext|>")
        settings = {"tokenizer_class": "CodeGenTokenizer", **end}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
        (tmp_path / "siglip").mkdir(exist_ok=True)
        (tmp_path / "siglip" / "config.json").write_text(json.dumps(SIGLIP_CONFIG))
        return folder

    return make


@pytest.fixture
def internvl_tensors(internvl_shapes: Any, random_tensors: Any) -> Tensors:
    """Seeded values of an InternVL-Chat checkpoint."""
    tensors: Tensors = random_tensors(internvl_shapes)
    return tensors


@pytest.fixture
def internvl_folder(
    tmp_path: Path,
    internvl_tensors: Tensors,
    sentencepiece_model: bytes,
    save_checkpoint: Callable[..., Path],
) -> Callable[..., Path]:
    """A function that writes an InternVL-Chat checkpoint with a Phi-3 backbone."""

    def make(tensors: Tensors | None = None, changes: Any = None, **how: Any) -> Path:
        config = INTERNVL_CONFIG | (changes or {})
        folder = save_checkpoint(tmp_path / "internvl", config, tensors or internvl_tensors, **how)
        (folder / "tokenizer.model").write_bytes(sentencepiece_model)
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

    return make
