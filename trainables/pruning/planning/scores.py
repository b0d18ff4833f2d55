"""Importance scores of a model: a value that serves every ratio. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from pydantic import Field
from safetensors import SafetensorError, safe_open

from trainables.common.files import replace_file
from trainables.models.families.shape import LanguageShape
from trainables.pruning.planning.methods import method_named
from trainables.specs import Criterion, Frozen, ImportanceSpec, Method

Array = NDArray[np.float32]
_NAMES = ("block", "heads", "neurons")


class ScoreMetadata(Frozen):
    """Where scores come from.

    Attributes:
        method: what the scores can plan: `layerwise` (block), `widthwise` (heads and neurons) or
            `hybrid` (all three).
        weights_digest: of the scored model; empty if it was not given.
        data_digest: of the conversations; empty if it was not given, or none were used.
        seed: of the draw of calibration samples, or of random scores.
        samples: calibration samples; 0 where no data were used.
        tokens: tokens the mean goes over: the covered ones, or the responses' (Taylor).
        batches: forward passes it took; one pass over the calibration data serves every ratio.
        settings: the criterion and the settings that it reads; of hybrid scores one such dict for
            `layers` and one for `groups`.
    """

    method: Method
    weights_digest: str = ""
    data_digest: str = ""
    seed: int = 0
    samples: int = 0
    tokens: int = 0
    batches: int = 0
    settings: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ImportanceScores:
    """Importance of what can be removed; higher is kept. float32, on the CPU.

    Attributes:
        metadata: where the scores come from.
        block: importance of layers [layers]; of `layerwise` and `hybrid` scores.
        heads: importance of KV groups [layers, kv_groups], >= 0; of `widthwise` and `hybrid` ones.
        neurons: importance of neurons [layers, intermediate], >= 0; as `heads`.
    """

    metadata: ScoreMetadata
    block: Array | None = None
    heads: Array | None = None
    neurons: Array | None = None

    def require(self, shape: LanguageShape) -> None:
        """Raise ValueError unless the method's arrays are there, fit `shape` and are finite."""
        layers = shape.num_hidden_layers
        sizes: dict[str, tuple[int, ...]] = {
            "block": (layers,),
            "heads": (layers, shape.num_key_value_heads),
            "neurons": (layers, shape.intermediate_size),
        }
        for name in method_named(self.metadata.method).arrays:
            size = sizes[name]
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

    def as_layers(self) -> ImportanceScores:
        """Layer scores: these ones, or the sum of the scores of each layer's heads and neurons."""
        if self.block is not None:
            return self
        assert self.heads is not None
        assert self.neurons is not None
        block = self.heads.sum(axis=1, dtype=np.float64)
        block += self.neurons.sum(axis=1, dtype=np.float64)
        metadata = self.metadata.model_copy(update={"method": "layerwise"})
        return ImportanceScores(metadata, block=block.astype(np.float32))

    @staticmethod
    def merged(layers: ImportanceScores, groups: ImportanceScores) -> ImportanceScores:
        """Hybrid scores: `block` of one, `heads` and `neurons` of the other.

        Raises:
            ValueError: if the two belong to different weights or calibration data.
        """
        one, other = layers.metadata, groups.metadata
        for name in ("weights_digest", "data_digest"):
            digests = {getattr(one, name), getattr(other, name)} - {""}
            if len(digests) > 1:
                raise ValueError(
                    f"the layers' and the groups' scores have different {name}s "
                    f"({', '.join(sorted(digest[:12] for digest in digests))}), so they cannot "
                    "plan one model; score both on the same weights and data"
                )
        most = other if other.samples else one  # magnitude and random use no data
        metadata = most.model_copy(
            update={
                "method": "hybrid",
                "weights_digest": one.weights_digest or other.weights_digest,
                "data_digest": one.data_digest or other.data_digest,
                "batches": one.batches + other.batches,
                "settings": {"layers": one.settings, "groups": other.settings},
            }
        )
        return replace(groups, metadata=metadata, block=layers.block)

    def save(self, path: Path) -> None:
        """Write the scores as safetensors, in one step."""
        arrays = {name: getattr(self, name) for name in _NAMES}
        content = safetensors.numpy.save(
            {name: np.ascontiguousarray(a) for name, a in arrays.items() if a is not None},
            metadata={"scores": self.metadata.model_dump_json()},
        )
        replace_file(path, content)

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
            metadata = ScoreMetadata.model_validate_json(text)
            return cls(metadata=metadata, **arrays)
        except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
            raise ValueError(
                f"{path} holds no readable importance scores ({error}); delete it and they are "
                "computed again"
            ) from None


def scores_of_method(
    method: Method, importance: ImportanceSpec, by_criterion: Mapping[Criterion, ImportanceScores]
) -> ImportanceScores:
    """What a method plans from, put together from the scores of the criteria it asks for.

    Args:
        method: the pruning method.
        importance: the settings in force; names the criteria.
        by_criterion: scores as each criterion's pass returns them.
    """
    row = method_named(method)
    if not row.layers:
        return by_criterion[importance.groups]
    layers = by_criterion[importance.layers].as_layers()
    if not row.width:
        return layers
    return ImportanceScores.merged(layers, by_criterion[importance.groups])
