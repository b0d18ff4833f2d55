"""Original names and shapes of small checkpoints in the original layouts."""

from __future__ import annotations

from helpers.original_configs import BUNNY_CONFIG, INTERNVL_CONFIG, LLAVA_CONFIG

Shapes = dict[str, tuple[int, ...]]


def _linear(name: str, rows: int, columns: int, bias: bool) -> Shapes:
    return {f"{name}.weight": (rows, columns)} | ({f"{name}.bias": (rows,)} if bias else {})


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _clip_type_tower(layers: int, width: int, neurons: int, positions: int, clip: bool) -> Shapes:
    """Shapes of CLIP's or SigLIP's vision model, names from `vision_model.` on."""
    shapes: Shapes = {}
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


def _under(prefix: str, shapes: Shapes) -> Shapes:
    return {prefix + name: shape for name, shape in shapes.items()}


def llava_shapes() -> Shapes:
    """The original names and shapes of a LLaVA-v1.5 checkpoint that does not hold its tower."""
    config, width, neurons = LLAVA_CONFIG, 40, 52
    shapes: Shapes = {"model.embed_tokens.weight": (config["vocab_size"], width)}
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


def clip_shapes() -> Shapes:
    """CLIP's vision model by its own names."""
    shapes: Shapes = _clip_type_tower(3, 24, 44, 10, clip=True)
    return shapes


def bunny_shapes() -> Shapes:
    """The original names and shapes of a Bunny checkpoint: tower inside, without its last layer."""
    config, width, neurons = BUNNY_CONFIG, 48, 76
    shapes: Shapes = {"model.embed_tokens.weight": (config["vocab_size"], width)}
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


def internvl_shapes() -> Shapes:
    """The original names and shapes of an InternVL-Chat checkpoint with a Phi-3 backbone."""
    vision, llm = INTERNVL_CONFIG["vision_config"], INTERNVL_CONFIG["llm_config"]
    width, neurons = vision["hidden_size"], vision["intermediate_size"]
    shapes: Shapes = {
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
