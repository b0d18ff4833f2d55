"""The embedded model's parts before training: configuration, tokenizer and processor.

Everything is stock: `LlavaForConditionalGeneration` with a CLIP vision tower, a two-layer MLP
projector and a Llama backbone, a word-level fast tokenizer and a `LlavaProcessor`, so that the
folder loads with plain `from_pretrained`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainables.embedded.processing import llava_processor
from trainables.embedded.questions import DIRECTIONS, LETTERS, MAX_COUNT
from trainables.embedded.scenes import (
    CELLS,
    COLORS,
    COLUMNS,
    IMAGE_PIXELS,
    PATCH_PIXELS,
    ROWS,
    SHAPES,
    cell_name,
)
from trainables.models.families.registry import TINY_FOLDER

WEIGHTS = TINY_FOLDER
SPECIAL_TOKENS = ("<pad>", "<s>", "</s>", "<unk>", "<image>")
ROLE_TOKENS = ("USER:", "ASSISTANT:")
PAD_ID, BOS_ID, EOS_ID, UNK_ID, IMAGE_ID = range(5)
# The one thing that training asks besides the questions, and its word for an empty cell.
DESCRIBE = "describe the image"
NOTHING = "nothing"

# LLaVA 1.5's template, on one line per role; the answer closes with the end-of-sequence token.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] if part['type'] == 'image' %}{{ '<image>\n' }}{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    "{% endif %}{{ eos_token if message['role'] == 'assistant' else ' ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


def config() -> Any:
    """`LlavaConfig` of the embedded model: 2.1 M parameters, 12 layers, 8 heads."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig

    vision = CLIPVisionConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=IMAGE_PIXELS,
        patch_size=PATCH_PIXELS,
        projection_dim=64,
    )
    text = LlamaConfig(
        vocab_size=len(vocabulary()),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=12,
        num_attention_heads=8,
        num_key_value_heads=8,
        head_dim=16,
        max_position_embeddings=256,
        rope_theta=1000.0,
        tie_word_embeddings=False,
        pad_token_id=PAD_ID,
        bos_token_id=BOS_ID,
        eos_token_id=EOS_ID,
    )
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=IMAGE_ID,
        image_seq_length=CELLS,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
        pad_token_id=PAD_ID,
    )


def words() -> list[str]:
    """Every word and sign that questions and answers use, sorted."""
    text = [*COLORS, *SHAPES, *LETTERS, *ROWS, *COLUMNS, *(str(n) for n in range(MAX_COUNT + 1))]
    text += [cell_name(cell) for cell in range(CELLS)] + list(DIRECTIONS)
    text += ["what color is the object ? shape how many objects are there in a row column"]
    text += [f"yes no which {DESCRIBE} {NOTHING}"]
    return sorted({word for entry in text for word in entry.split()})


def vocabulary() -> dict[str, int]:
    """Token ids: special tokens, roles, then every word of the questions."""
    return {word: i for i, word in enumerate((*SPECIAL_TOKENS, *ROLE_TOKENS, *words()))}


def tokenizer() -> Any:
    """A word-level fast tokenizer that splits at white space and before `?`."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel(vocabulary(), unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex(r"\?"), "isolated")]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>"},
        padding_side="left",
        model_max_length=256,
        clean_up_tokenization_spaces=False,
    )


def processor() -> Any:
    """`LlavaProcessor` of the embedded model."""
    return llava_processor(tokenizer(), IMAGE_PIXELS, PATCH_PIXELS, CHAT_TEMPLATE)


def save(model: Any, folder: Path) -> None:
    """Write model (bfloat16 safetensors), tokenizer and processor into `folder`."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    processor().save_pretrained(folder)
