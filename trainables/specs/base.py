"""The base of every spec and record, their digest, and the words that several of them share."""

import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationInfo, model_validator

Method = Literal["layerwise", "widthwise", "hybrid"]
Scope = Literal["none", "projector", "joint", "full"]
Split = Literal["search", "report"]
Origin = Literal["designed", "prior", "sampler", "reference", "confirm"]
Dtype = Literal["float32", "bfloat16", "float16"]
Quantization = Literal["none", "llm_int8", "nf4", "int8_weight_only"]

MIB = 2**20  # bytes
DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


class Frozen(BaseModel):
    """Base of every spec and record: immutable, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _from_older_file(cls, value: Any, info: ValidationInfo) -> Any:
        """What the reader of a file makes of older JSON (`records.versions`); else as it is."""
        lift = (info.context or {}).get("lift")
        return lift(cls.__name__, value) if lift and isinstance(value, dict) else value


def digest(value: Any, length: int = 16) -> str:
    """Hex SHA-256 prefix of the canonical JSON of `value` (a frozen model or plain data)."""
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]
