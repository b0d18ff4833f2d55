"""Bunny with a Phi-2 backbone as BAAI published it: SigLIP-so400m/384, a two-layer projector.

Checked against BAAI-DCAI/Bunny (`bunny/`): tensor names and the hidden state
(`model/multimodal_encoder/siglip/siglip_encoder.py`: the last but one, so the tower's last layer is
never needed), the projector (`model/multimodal_projector/builder.py`), padding to a square
(`util/mm_utils.py`), the conversation (`conversation.py`). The arithmetic is tested against a
forward pass written from the architecture; the published weights themselves were not at hand.

- The stock tower is built without its last layer and pooling head, and its last hidden state is
  read raw, before `post_layernorm` (transformers hands SigLIP's hidden states over so). Original
  checkpoints with and without the last layer both convert.
- Phi-2's head has a bias, the stock LLaVA's has none. Bunny's own training code builds its head
  without one, so a checkpoint usually has nothing to fold; where there is a bias, `folding` puts it
  into the weights.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import PhiConfig

from trainables.models.convert.layout import Layout
from trainables.models.convert.llava_v1_5 import BUFFERS, LLAVA_TABLE, check_projector, llava_recipe
from trainables.models.convert.recipe import DECODER_KEYS, Recipe, pick
from trainables.models.convert.sources import Source
from trainables.models.convert.towers import PREFIX, find_tower

PHI_KEYS = DECODER_KEYS + (
    "layer_norm_eps rope_theta rope_scaling partial_rotary_factor qk_layernorm resid_pdrop "
    "embd_pdrop attention_dropout"
)


def _recipe(config: Mapping[str, Any], source: Source, vision_tower: Path | None) -> Recipe:
    check_projector(config, "bunny-phi")
    tower = find_tower(config, source, vision_tower, "SiglipVisionConfig")
    last = tower.config.num_hidden_layers - 1
    tower.config.num_hidden_layers = last
    tower.config.vision_use_head = False
    text = PhiConfig(**pick(config, PHI_KEYS))
    recipe = llava_recipe(config, tower, text, layer=-1, strategy="full")
    idle = re.escape(f"{PREFIX}vision_model.encoder.layers.{last}.") + ".*"
    return replace(recipe, unused=(idle,))


BUNNY = Layout(
    name="bunny-phi",
    example="BAAI/Bunny-v1_0-3B",
    matches=lambda config: config.get("model_type") == "bunny-phi",
    table=LLAVA_TABLE,
    unused=(*BUFFERS, r"model\.vision_tower\.vision_tower\.vision_model\.head\..*"),
    recipe=_recipe,
    head_bias=("lm_head.bias", "model.final_layernorm.weight", "model.final_layernorm.bias"),
)
