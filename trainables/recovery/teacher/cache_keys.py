"""Content keys of samples, images and frozen parts: what a cached tensor depends on.

Token ids already tell tokenizer, chat template and truncation, so a sample needs no word about
them; what is left of the processor is how it turns a picture into numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from trainables.models.families.adapter import VLMAdapter
from trainables.specs import Dtype, digest

# Of a model's config: what happens to the tower's output before it reaches the projector.
_SELECTION = (
    "vision_feature_layer",
    "vision_feature_select_strategy",
    "downsample_ratio",
)


def sample_key(ids: Sequence[int], labels: Sequence[int], images: Sequence[str]) -> str:
    """Key of one training sample: its tokens, which of them are answers, and its images' keys."""
    whole = hashlib.blake2b(digest_size=16)
    for part in (ids, labels):
        whole.update(np.asarray(part, dtype=np.int64).tobytes())
        whole.update(b"|")
    whole.update("|".join(images).encode())
    return whole.hexdigest()


def image_settings(processor: Any) -> str:
    """Digest of the image processor's settings: size, tiles, mean and deviation."""
    return digest(json.loads(processor.image_processor.to_json_string()))


def teacher_content(weights: str, processor: Any, compute: Dtype, quantize: str) -> dict[str, str]:
    """What the teacher's answers depend on besides the sample and what is kept of them.

    Args:
        weights: digest of its checkpoint.
        processor: of its family.
        compute: the type in which it computes, whatever the type in which answers are kept.
        quantize: `TeacherSpec.quantize`.
    """
    return {
        "weights": weights,
        "images": image_settings(processor),
        "compute": compute,
        "quantize": quantize,
    }


def vision_settings(model: nn.Module, adapter: VLMAdapter) -> str:
    """Digest of everything in front of the projector: the tower's weights, and what is selected.

    The language model does not enter, so that models of different size with one tower share.
    """
    config: dict[str, Any] = model.config.to_dict()  # type: ignore[union-attr, operator]
    told = {name: config[name] for name in _SELECTION if name in config}
    whole = hashlib.sha256(digest([told, config.get("vision_config")], 64).encode())
    for name, tensor in model.get_submodule(adapter.vision_tower).state_dict().items():
        whole.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        whole.update(flat.view(torch.uint8).numpy().data)
    return whole.hexdigest()
