"""Importance scores of a dense model: a value that serves every ratio. Torch-free."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from trainables.models.adapter import LanguageShape
from trainables.specs import Frozen, Method

Array = NDArray[np.float32]
_NAMES = ("block", "heads", "neurons")


class ScoreMetadata(Frozen):
    """Where scores come from.

    Attributes:
        method: `layerwise` (block influence) or `widthwise` (Taylor).
        weights_digest: of the dense model; empty if it was not given.
        data_digest: of the calibration data; empty if it was not given.
        samples: calibration samples.
        tokens: tokens the mean goes over: all but padding, or the responses' (Taylor).
        batches: forward passes it took; one pass over the calibration data serves every ratio.
    """

    method: Method
    weights_digest: str = ""
    data_digest: str = ""
    samples: int = 0
    tokens: int = 0
    batches: int = 0


@dataclass(frozen=True, eq=False)
class ImportanceScores:
    """Importance of what can be removed; higher is kept. float32, on the CPU.

    Attributes:
        metadata: where the scores come from.
        block: block influence [layers], in [0, 2]; of `layerwise` scores.
        heads: Taylor importance [layers, kv_groups], >= 0; of `widthwise` scores.
        neurons: Taylor importance [layers, intermediate], >= 0; of `widthwise` scores.
    """

    metadata: ScoreMetadata
    block: Array | None = None
    heads: Array | None = None
    neurons: Array | None = None

    def require(self, shape: LanguageShape) -> None:
        """Raise ValueError unless the method's arrays are there, fit `shape` and are finite."""
        layers = shape.num_hidden_layers
        expected: dict[str, tuple[int, ...]] = (
            {"block": (layers,)}
            if self.metadata.method == "layerwise"
            else {
                "heads": (layers, shape.num_key_value_heads),
                "neurons": (layers, shape.intermediate_size),
            }
        )
        for name, size in expected.items():
            array: Array | None = getattr(self, name)
            if array is None or array.shape != size:
                found = "are missing" if array is None else f"have shape {list(array.shape)}"
                raise ValueError(
                    f"the {self.metadata.method} scores {name!r} {found}, but the model needs "
                    f"{list(size)}; score this model anew"
                )
            if not np.isfinite(array).all():
                raise ValueError(
                    f"the {self.metadata.method} scores {name!r} hold NaN or infinity, so nothing "
                    "can be ranked; check the calibration data or score in float32"
                )

    def save(self, path: Path) -> None:
        """Write the scores as safetensors, beside `path` first, then renamed into place."""
        arrays = {name: getattr(self, name) for name in _NAMES if getattr(self, name) is not None}
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            safetensors.numpy.save_file(
                {name: np.ascontiguousarray(array) for name, array in arrays.items()},
                part,
                metadata={"scores": self.metadata.model_dump_json()},
            )
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path) -> ImportanceScores:
        """Read scores that `save` wrote.

        Raises:
            ValueError: if the file is missing, damaged or something else.
        """
        try:
            with safe_open(path, framework="numpy") as file:
                text = (file.metadata() or {})["scores"]
                arrays = {name: file.get_tensor(name) for name in file.keys()}
            metadata = ScoreMetadata.model_validate(json.loads(text))
            return cls(metadata=metadata, **arrays)
        except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
            raise ValueError(
                f"{path} holds no readable importance scores ({error}); delete it and they are "
                "computed again"
            ) from None
