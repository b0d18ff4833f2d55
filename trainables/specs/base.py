"""The base of every spec and record, their digest, and the words that several of them share."""

import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Method = Literal["layerwise", "widthwise", "hybrid"]
Scope = Literal["none", "projector", "joint", "full"]
Split = Literal["search", "report"]
Origin = Literal["designed", "prior", "sampler", "reference", "confirm"]
Dtype = Literal["float32", "bfloat16", "float16"]
Quantization = Literal["none", "llm_int8", "nf4", "int8_weight_only"]

MIB, GIB = 2**20, 2**30  # bytes
DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


class Frozen(BaseModel):
    """Base of every spec and record: immutable, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def digest(value: Any, length: int = 16) -> str:
    """Hex SHA-256 prefix of the canonical JSON of `value` (a frozen model or plain data)."""
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]
