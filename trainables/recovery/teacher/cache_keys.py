"""Content keys of samples and of the teacher: what a cached tensor depends on.

Token ids already tell tokenizer, chat template and truncation, so a sample needs no word about
them; what is left of the processor is how it turns a picture into numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from trainables.specs import Dtype, digest


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
