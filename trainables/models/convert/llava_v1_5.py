"""LLaVA-v1.5 as `liuhaotian` published it: Vicuna, CLIP-L/336, a two-layer projector.

Checked against haotian-liu/LLaVA: tensor names and the choice of the hidden state
(`llava/model/multimodal_encoder/clip_encoder.py`), the projector
(`multimodal_projector/builder.py`), padding to a square (`llava/mm_utils.py`), the conversation
(`llava/conversation.py`, `vicuna_v1`). The arithmetic is tested against a forward pass written from
the architecture; the published weights themselves were not at hand.

The original has no image token: it splits the prompt at `<image>` and tokenises the pieces on
their own. The stock model needs one, so `<image>` and `<pad>` join the vocabulary and the embedding
grows to a multiple of 64. `legacy=True` makes the tokenizer begin anew after `<image>`, as the
original does (and as the checkpoints published for the stock class do); it also begins anew after
the end of an answer, which a checkpoint with `legacy=false` did not in conversations of several
turns.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from tokenizers import AddedToken
from transformers import (
    LlamaConfig,
    LlavaConfig,
    LlavaImageProcessor,
    LlavaProcessor,
    PreTrainedConfig,
)

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
from trainables.models.convert.towers import Tower, find_tower

IMAGE, PAD = "<image>", "<pad>"
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
# CLIP, SigLIP, Llama and Phi name the modules inside a layer as the stock model does.
LLAVA_TABLE: Table = {
    "lm_head": "lm_head",
    "model.mm_projector.0": "multi_modal_projector.linear_1",
    "model.mm_projector.2": "multi_modal_projector.linear_2",
    "model.vision_tower.vision_tower.vision_model.": "vision_tower.",
    "model.": "language_model.",
}
BUFFERS = (r".*\.rotary_emb\.inv_freq", r".*\.embeddings\.position_ids")


def check_projector(config: Mapping[str, Any], name: str) -> None:
    """Raise ValueError unless the projector is two linears with a GELU between, on plain images."""
    projector = config.get("mm_projector_type", "linear")
    if projector != "mlp2x_gelu":
        raise ValueError(
            f"the {name} checkpoint has mm_projector_type={projector!r}, but only 'mlp2x_gelu' has "
            "a place in LlavaForConditionalGeneration"
        )
    grid = config.get("image_aspect_ratio") == "anyres" or "unpad" in str(
        config.get("mm_patch_merge_type", "")
    )
    if grid or config.get("use_s2"):
        kind = "tiles of any resolution (LLaVA-NeXT)" if grid else "several scales (S2)"
        raise ValueError(
            f"the {name} checkpoint reads images in {kind}, which LlavaForConditionalGeneration "
            "does not; use the checkpoint published for the stock class, if there is one"
        )


def llava_recipe(
    config: Mapping[str, Any],
    tower: Tower,
    text: PreTrainedConfig,
    *,
    layer: int,
    strategy: Literal["default", "full"],
    **tokenizer_settings: Any,
) -> Recipe:
    """The recipe of any LLaVA-type checkpoint.

    Images become squares of the tower's size, padded first where the original does: for CLIP the
    shorter side is resized and the middle cut out, for SigLIP they are stretched.

    Args:
        config: the checkpoint's; `image_aspect_ratio="pad"` pads with the mean colour.
        tower: its vision tower.
        text: the stock text config with the original number of rows; changed to the new one.
        layer: hidden state of the tower that the projector reads.
        strategy: `default` leaves the class token out, `full` takes all.
        tokenizer_settings: of the checkpoint's tokenizer.
    """
    clip = tower.config.model_type == "clip_vision_model"
    class_tokens = int(clip)
    tokenizer = load_tokenizer(tower.source.folder, **tokenizer_settings)
    special = [AddedToken(token, special=True, normalized=False) for token in (IMAGE, PAD)]
    tokenizer.add_tokens(special, special_tokens=True)
    tokenizer.pad_token = PAD
    rows = text.vocab_size
    text.vocab_size = grown_rows(rows, tokenizer)
    image, pad = tokenizer.convert_tokens_to_ids([IMAGE, PAD])
    text.pad_token_id = pad
    stock = LlavaConfig(
        text_config=text,
        vision_config=tower.config,
        image_token_index=image,
        image_seq_length=tower.patches + (class_tokens if strategy == "full" else 0),
        vision_feature_layer=layer,
        vision_feature_select_strategy=strategy,
        projector_hidden_act="gelu",
        tie_word_embeddings=False,
    )
    size = tower.config.image_size
    square = {"height": size, "width": size}
    image_processor = LlavaImageProcessor(
        size={"shortest_edge": size} if clip else square,
        crop_size=square,
        do_center_crop=clip,
        do_pad=config.get("image_aspect_ratio") == "pad",
        **tower.normalise,
    )
    processor = LlavaProcessor(
        image_processor=image_processor,
        tokenizer=tokenizer,
        patch_size=tower.config.patch_size,
        vision_feature_select_strategy=strategy,
        chat_template=chat_template("llava_v1_5", SYSTEM=SYSTEM, END=tokenizer.eos_token),
        image_token=IMAGE,
        num_additional_image_tokens=class_tokens,
    )
    generation = generation_config(tower.source.folder, tokenizer, tokenizer.eos_token_id)
    name = "LlavaForConditionalGeneration"
    return Recipe(name, stock, processor, generation, tower.source, rows)


def _matches(config: Mapping[str, Any]) -> bool:
    original = config.get("model_type") in ("llava", "llava_llama") and "text_config" not in config
    return original and "mm_vision_tower" in config


def _recipe(config: Mapping[str, Any], source: Source, vision_tower: Path | None) -> Recipe:
    check_projector(config, "llava-v1.5")
    tower = find_tower(config, source, vision_tower, "CLIPVisionConfig")
    keys = DECODER_KEYS + "rms_norm_eps rope_theta rope_scaling attention_bias"
    text = LlamaConfig(**pick(config, keys))
    whole = config.get("mm_vision_select_feature", "patch") == "cls_patch"
    layer = config.get("mm_vision_select_layer", -2)
    strategy: Literal["default", "full"] = "full" if whole else "default"
    return llava_recipe(config, tower, text, layer=layer, strategy=strategy, legacy=True)


LLAVA = Layout(
    name="llava-v1.5",
    example="liuhaotian/llava-v1.5-7b",
    matches=_matches,
    table=LLAVA_TABLE,
    unused=BUFFERS,
    recipe=_recipe,
)
