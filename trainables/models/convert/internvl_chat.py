"""InternVL-Chat with a Phi-3 backbone as OpenGVLab published it (Mini-InternVL-Chat-4B-V1-5).

Checked against OpenGVLab/InternVL (`internvl_chat/internvl`): tensor names and fused qkv
(`model/internvl_chat/modeling_intern_vit.py`), pixel shuffle, projector and hidden state
(`modeling_internvl_chat.py`), tiles (`train/dataset.py`, `dynamic_preprocess`), the conversation
`phi3-chat` (`conversation.py`), and its own renaming for the Qwen models
(`tools/internvl_custom2hf.py`). The arithmetic is tested against a forward pass written from the
architecture; the published weights themselves were not at hand.

Phi-3's fused projections stay fused, as the stock model has them; InternViT's qkv is cut in three.
The stock processor wants a video token, so `<video>` joins the vocabulary.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import (
    GotOcr2ImageProcessor,
    InternVLConfig,
    InternVLProcessor,
    InternVLVideoProcessor,
    InternVLVisionConfig,
    Phi3Config,
)
from transformers.utils.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from trainables.models.convert.layout import Layout, Table
from trainables.models.convert.recipe import (
    DECODER_KEYS,
    Recipe,
    chat_template,
    generation_config,
    pick,
)
from trainables.models.convert.sources import Source
from trainables.models.convert.tokens import grown_rows, load_tokenizer

START, END, CONTEXT, VIDEO = "<img>", "</img>", "<IMG_CONTEXT>", "<video>"
STOPS = ("</s>", "<|endoftext|>", "<|end|>")
# The original's own words: an assistant of Shanghai AI Laboratory and SenseTime named InternVL.
SYSTEM = (
    "你是由上海人工智能实验室联合商汤科技开发的书生多模态大模型，英文名叫InternVL, "  # noqa: RUF001
    "是一个有用无害的人工智能助手。"
)
PHI3_KEYS = DECODER_KEYS + (
    "original_max_position_embeddings rms_norm_eps sliding_window resid_pdrop embd_pdrop "
    "attention_dropout pad_token_id"
)
VISION_KEYS = (
    "hidden_size intermediate_size num_hidden_layers num_attention_heads hidden_act image_size "
    "patch_size num_channels norm_type layer_norm_eps attention_dropout initializer_range"
)

_EMBED, _VIT = "vision_model.embeddings", "vision_model.encoder.layers.{}"
_LAYER = "vision_tower.encoder.layer.{}"
INTERNVL_TABLE: Table = {
    f"{_EMBED}.class_embedding": "vision_tower.embeddings.cls_token",
    f"{_EMBED}.position_embedding": "vision_tower.embeddings.position_embeddings",
    f"{_EMBED}.patch_embedding": "vision_tower.embeddings.patch_embeddings.projection",
    f"{_VIT}.attn.qkv": tuple(f"{_LAYER}.attention.{part}_proj" for part in "qkv"),
    f"{_VIT}.attn.q_norm": f"{_LAYER}.attention.q_norm",
    f"{_VIT}.attn.k_norm": f"{_LAYER}.attention.k_norm",
    f"{_VIT}.attn.proj": f"{_LAYER}.attention.projection_layer",
    f"{_VIT}.norm1": f"{_LAYER}.layernorm_before",
    f"{_VIT}.norm2": f"{_LAYER}.layernorm_after",
    f"{_VIT}.mlp.": f"{_LAYER}.mlp.",
    f"{_VIT}.ls1": f"{_LAYER}.lambda_1",
    f"{_VIT}.ls2": f"{_LAYER}.lambda_2",
    "mlp1.0": "multi_modal_projector.layer_norm",
    "mlp1.1": "multi_modal_projector.linear_1",
    "mlp1.3": "multi_modal_projector.linear_2",
    "language_model.model.": "language_model.",
    "language_model.lm_head": "lm_head",
}


def _check(config: Mapping[str, Any]) -> None:
    """Raise ValueError for settings that the stock model cannot express."""
    template = config.get("template", "phi3-chat")
    if config.get("ps_version", "v1") != "v2":
        reason = (
            "has ps_version='v1', whose pixel shuffle transposes the image; "
            "InternVLForConditionalGeneration has only 'v2'"
        )
    elif config.get("pad2square"):
        reason = "pads its images to squares (pad2square), which InternVLProcessor does not"
    elif template != "phi3-chat":
        reason = (
            f"has the conversation {template!r}, but for a Phi-3 backbone only 'phi3-chat' is known"
        )
    elif config.get("dynamic_image_size") and not config.get("use_thumbnail"):
        reason = (
            "has tiles without a thumbnail (use_thumbnail=false), but InternVLProcessor always "
            "adds one"
        )
    else:
        return
    raise ValueError(f"the internvl-chat checkpoint {reason}")


def _tokenizer(folder: Path, rows: int) -> Any:
    """The checkpoint's tokenizer with the attributes that the stock processor asks for."""
    known = load_tokenizer(folder).get_vocab()
    foreign = [token for token in (START, END, CONTEXT) if known.get(token, rows) >= rows]
    if foreign:  # transformers would add them, with the ids of other tokens
        raise ValueError(
            f"the tokenizer in {folder} has no {', '.join(foreign)} among the embedding's {rows} "
            "rows; copy the checkpoint's own tokenizer files there, added_tokens.json included"
        )
    return load_tokenizer(
        folder,
        extra_special_tokens={
            "start_image_token": START,
            "end_image_token": END,
            "context_image_token": CONTEXT,
            "video_token": VIDEO,
        },
    )


def _processor(config: Mapping[str, Any], tokenizer: Any, size: int, image_tokens: int) -> Any:
    images: dict[str, Any] = {
        "size": {"height": size, "width": size},
        "image_mean": IMAGENET_DEFAULT_MEAN,
        "image_std": IMAGENET_DEFAULT_STD,
    }
    image_processor = GotOcr2ImageProcessor(
        crop_to_patches=bool(config.get("dynamic_image_size")),
        min_patches=config.get("min_dynamic_patch", 1),
        max_patches=config.get("max_dynamic_patch", 6),
        **images,
    )
    return InternVLProcessor(
        image_processor=image_processor,
        tokenizer=tokenizer,
        video_processor=InternVLVideoProcessor(**images),
        image_seq_length=image_tokens,
        chat_template=chat_template("internvl_chat", SYSTEM=config.get("system_message") or SYSTEM),
    )


def _recipe(config: Mapping[str, Any], source: Source, vision_tower: Path | None) -> Recipe:
    if vision_tower is not None:
        raise ValueError(
            "an internvl-chat checkpoint contains its vision tower; leave --vision-tower out"
        )
    _check(config)
    vision, llm = config["vision_config"], config["llm_config"]
    text = Phi3Config(**pick(llm, PHI3_KEYS), rope_parameters=_rotary(llm))
    rows = text.vocab_size
    tokenizer = _tokenizer(source.folder, rows)
    text.vocab_size = grown_rows(rows, tokenizer)
    size = config.get("force_image_size") or vision["image_size"]
    ratio = config.get("downsample_ratio", 0.5)
    image_tokens = int((size // vision["patch_size"]) ** 2 * ratio**2)
    stock = InternVLConfig(
        text_config=text,
        vision_config=InternVLVisionConfig(
            **pick(vision, VISION_KEYS),
            attention_bias=vision.get("qkv_bias", False),
            use_qk_norm=vision.get("qk_normalization", True),
            hidden_dropout_prob=vision.get("dropout", 0.0),
            layer_scale_init_value=vision.get("initializer_factor", 0.1),
            use_mean_pooling=True,  # the original has no norm after its last layer
        ),
        image_token_id=tokenizer.convert_tokens_to_ids(CONTEXT),
        image_seq_length=image_tokens,
        downsample_ratio=ratio,
        projector_hidden_act="gelu",
        vision_feature_layer=config.get("select_layer", -1),
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )
    known = tokenizer.get_vocab()
    stops = [known[stop] for stop in STOPS if stop in known]
    generation = generation_config(source.folder, tokenizer, stops)
    processor = _processor(config, tokenizer, size, image_tokens)
    return Recipe("InternVLForConditionalGeneration", stock, processor, generation, source, rows)


def _rotary(llm: Mapping[str, Any]) -> dict[str, Any]:
    """Phi-3's rotary settings in the stock config's words; its `su` scaling is LongRoPE."""
    scaling = llm.get("rope_scaling") or {"type": "default"}
    kind = scaling.get("rope_type", scaling.get("type"))
    if kind not in ("default", "su", "longrope"):
        raise ValueError(
            f"the internvl-chat checkpoint has rope_scaling of type {kind!r}, but only 'su' "
            "(LongRoPE) can be expressed"
        )
    rotary = {"rope_type": "default", "rope_theta": llm.get("rope_theta", 10000.0)}
    if kind == "default":
        return rotary
    return rotary | {
        "rope_type": "longrope",
        "short_factor": scaling["short_factor"],
        "long_factor": scaling["long_factor"],
        "original_max_position_embeddings": llm["original_max_position_embeddings"],
    }


def _matches(config: Mapping[str, Any]) -> bool:
    llm = config.get("llm_config") or {}
    phi3 = "Phi3ForCausalLM" in (llm.get("architectures") or ()) or llm.get("model_type") == "phi3"
    return config.get("model_type") == "internvl_chat" and phi3


INTERNVL = Layout(
    name="internvl-chat",
    example="OpenGVLab/Mini-InternVL-Chat-4B-V1-5",
    matches=_matches,
    table=INTERNVL_TABLE,
    unused=(r".*\.rotary_emb\.inv_freq",),
    recipe=_recipe,
)
