"""Loads a dense model, once per process, and refuses what a device cannot hold.

Only what is needed whatever happens is counted: weights that lie on the device together. So what is
refused cannot work, and what is let through may still run out of memory later.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import PreTrainedModel

from trainables.common.names import first_line
from trainables.common.weights import (
    checkpoint_contents,
    read_config,
    stored_tensors,
    weight_files,
)
from trainables.models.families.adapter import VLMAdapter
from trainables.models.families.registry import (
    adapter_for,
    check_model,
    maker_of,
    model_folder,
    refuse_unconverted,
)
from trainables.models.families.shape import LanguageShape
from trainables.models.processors import load_processor
from trainables.models.resized import resized_class
from trainables.specs import DTYPE_BYTES, GIB, Dtype, ModelSpec

# Computed from the config by transformers; old checkpoints still hold them.
_BUFFERS = ("position_ids", "rotary_emb.inv_freq")
WAYS_OUT = (
    "use a GPU with more memory{dtype}. Every worker holds the whole dense model, as a student is "
    "cut from it, so more workers, ZeRO or `quantization` (of the finished student) do not lower "
    "this; `prunesweep evaluate MODEL --spread` scores a dense model over all GPUs of a machine"
)
_FILES = ["*.safetensors", "*.model", "*.json", "*.txt", "*.jinja", "*.md", "LICENSE*", "NOTICE*"]


@dataclass(frozen=True, eq=False)
class DenseModel:
    """A loaded dense model: in eval mode, no gradients; not to be changed by who uses it.

    `model` is float32 on the CPU, or in the spec's type on a GPU, or on all of them when it was
    spread. `folder` holds its checkpoint, and held `contents` (see `checkpoint_contents`) when it
    was loaded.
    """

    model: PreTrainedModel
    processor: Any
    adapter: VLMAdapter
    shape: LanguageShape
    contents: Mapping[str, str]
    folder: Path
    spec: ModelSpec

    @property
    def weights_digest(self) -> str:
        """Hex SHA-256 of its weights."""
        return self.contents["weights"]


_Key = tuple[ModelSpec, Mapping[str, str], str]
_loaded: dict[str, tuple[_Key, DenseModel]] = {}  # one model per slot

SPREAD = "auto"  # accelerate's word for every device there is


def load_dense(spec: ModelSpec, slot: str = "dense", spread: bool = False) -> DenseModel:
    """The dense model of `spec`, kept in memory until its slot is needed for another one.

    On a GPU machine it lies on this process's own device, the current one: Ray Train makes each
    worker's GPU the current device before its loop runs (`TorchConfig`'s context), and a slot of
    one worker sees no other GPU. Whatever evaluates takes the model where it lies.

    Args:
        spec: the model.
        slot: a teacher of its own stays beside the dense model in a slot of its own.
        spread: lay its layers over all GPUs of this machine instead; for evaluation alone.

    Raises:
        ValueError: if weights are missing, unreadable, damaged or do not fit their config or the
            device's memory.
    """
    folder = checkpoint_folder(spec)
    contents = checkpoint_contents(folder)
    device = SPREAD if spread else "cuda" if torch.cuda.is_available() else "cpu"
    key = (spec, contents, device)
    if slot not in _loaded or _loaded[slot][0] != key:
        _loaded.pop(slot, None)  # before loading, so that never two of them are in memory
        _loaded[slot] = key, _load(spec, folder, contents, device)
    return _loaded[slot][1]


def checkpoint_folder(spec: ModelSpec) -> Path:
    """The checked local folder of the checkpoint, downloaded or put together if need be.

    Raises:
        ValueError: if it cannot be had or is damaged.
    """
    check_model(spec)
    folder = maker.put_together() if (maker := maker_of(spec)) else model_folder(spec)
    if folder is None:
        refuse_unconverted(spec)
        from huggingface_hub import snapshot_download

        try:
            folder = Path(
                snapshot_download(spec.path, revision=spec.revision, allow_patterns=_FILES)
            )
        except (OSError, ValueError) as error:
            raise ValueError(
                f"model {spec.path!r} cannot be downloaded ({error}); download it elsewhere and "
                "give its folder"
            ) from None
        for path in weight_files(folder):
            stored_tensors(path)
    return folder


def _load(spec: ModelSpec, folder: Path, contents: Mapping[str, str], device: str) -> DenseModel:
    config = read_config(folder)
    adapter = adapter_for(config)
    kind = getattr(transformers, adapter.model_class)
    given: dict[str, Any] = {}
    if "resized" in config:  # our own class for it, not the code in the folder
        kind, given = resized_class(kind), {"config": kind.config_class.from_dict(config)}
    processor = load_processor(folder, adapter, config, spec.trust_remote_code)
    dtype = getattr(torch, spec.dtype) if torch.cuda.is_available() else torch.float32
    if device == SPREAD:
        given["device_map"] = SPREAD
    elif device == "cuda":
        refuse_on_device(
            {f"the dense model {spec.path}": checkpoint_bytes(folder, spec.dtype)}, spec
        )
    try:
        model, info = kind.from_pretrained(
            folder,
            **given,
            dtype=dtype,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, all by name
            trust_remote_code=spec.trust_remote_code,
        )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        raise ValueError(f"the model in {folder} cannot be loaded: {first_line(error)}") from error
    _check_tensors(folder, info)
    if device != SPREAD:
        model.to(device)
    model.requires_grad_(False).eval()
    shape = adapter.language_shape(model.config.to_dict())
    return DenseModel(model, processor, adapter, shape, contents, folder, spec)


def checkpoint_bytes(folder: Path, dtype: Dtype) -> int:
    """Bytes of a checkpoint's weights in a type, from the headers of its safetensors files."""
    tensors = (stored_tensors(path).values() for path in weight_files(folder))
    return DTYPE_BYTES[dtype] * sum(math.prod(shape) for file in tensors for shape, _ in file)


def refuse_on_device(needs: Mapping[str, int], spec: ModelSpec) -> None:
    """Refuse what this process's GPU cannot hold at once (see `refuse_small_device`)."""
    if torch.cuda.is_available():
        _, total = torch.cuda.mem_get_info()
        refuse_small_device(needs, torch.cuda.get_device_name(), total, spec.dtype)


def refuse_small_device(
    needs: Mapping[str, int], device: str, total_bytes: int, dtype: Dtype
) -> None:
    """Refuse a device that cannot hold all of `needs` at once.

    Args:
        needs: bytes by what they are for.
        device: its name.
        total_bytes: all of its memory.
        dtype: type of the weights.

    Raises:
        ValueError: says what is needed, what there is, and the way out.
    """
    needed = sum(needs.values())
    if needed <= total_bytes:
        return
    parts = ", ".join(f"{what} {size / GIB:.1f} GiB" for what, size in needs.items())
    smaller = ", or model.dtype=bfloat16, which halves it" if dtype == "float32" else ""
    raise ValueError(
        f"{device} has {total_bytes / GIB:.1f} GiB of memory, but {needed / GIB:.1f} GiB are "
        f"needed for weights alone ({parts}); {WAYS_OUT.format(dtype=smaller)}"
    )


def _check_tensors(folder: Path, info: Mapping[str, Any]) -> None:
    """Refuse a checkpoint whose tensors are not those of its config; name every wrong one."""
    strange = [name for name in sorted(info["unexpected_keys"]) if not name.endswith(_BUFFERS)]
    shapes = [
        f"{name} {list(found)} (needed: {list(needed)})"
        for name, found, needed in sorted(info["mismatched_keys"])
    ]
    faults = {
        "missing": sorted(info["missing_keys"]),
        "not in the config's model": strange,
        "of another shape": shapes,
    }
    said = [f"{what}: {', '.join(names)}" for what, names in faults.items() if names]
    if said:
        raise ValueError(
            f"the tensors in {folder} are not those of its config; {'; '.join(said)}. Save the "
            "checkpoint again, or mend its config.json"
        )
