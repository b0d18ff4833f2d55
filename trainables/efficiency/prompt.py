"""What efficiency figures are for: one image of the family's own size and a prompt after it."""

from typing import Any

import torch

from trainables.models.families.adapter import VLMAdapter
from trainables.specs import EfficiencySpec


def image_tokens(model: Any, adapter: VLMAdapter) -> int:
    """Tokens that one image takes in the prompt."""
    return adapter.natural_image(model.config.to_dict()).tokens


def image_inputs(model: Any, adapter: VLMAdapter) -> dict[str, torch.Tensor]:
    """One grey image of the family's own size, as the model's forward takes it, on the CPU."""
    image = adapter.natural_image(model.config.to_dict())
    pixels = torch.ones(image.pixel_values, dtype=model.dtype)  # all 0 would pass for padding
    others = {name: torch.tensor(values) for name, values in image.arguments.items()}
    return {"pixel_values": pixels, **others}


def embedded_prompt(ghost: Any, tokens: int) -> dict[str, torch.Tensor]:
    """A prompt of so many tokens, embedded already, for a copy on meta."""
    width = ghost.config.get_text_config().hidden_size
    return {
        "inputs_embeds": torch.empty(1, tokens, width, device="meta", dtype=ghost.dtype),
        # With a mask given, transformers does not look into the positions for packed sequences.
        "attention_mask": torch.ones(1, tokens, device="meta", dtype=torch.long),
    }


def prompt_inputs(
    model: Any, adapter: VLMAdapter, spec: EfficiencySpec, batch: int = 1
) -> dict[str, torch.Tensor]:
    """One grey image and `spec.prompt_tokens` arbitrary text tokens after it, `batch` times.

    Returns:
        What `generate` takes, on the model's device; `input_ids` is int64 [batch, tokens].
    """
    device, image = next(model.parameters()).device, adapter.image_token_id(model.config.to_dict())
    words = [i for i in range(model.config.get_text_config().vocab_size) if i != image]
    prompt = [words[i % len(words)] for i in range(spec.prompt_tokens)]
    ids = torch.tensor([[image] * image_tokens(model, adapter) + prompt])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if adapter.token_types:
        inputs[adapter.token_types] = (ids == image).int()
    inputs |= image_inputs(model, adapter)
    # Images that are alike need no padding, so those of several samples follow each other.
    return {name: torch.cat([tensor] * batch).to(device) for name, tensor in inputs.items()}
