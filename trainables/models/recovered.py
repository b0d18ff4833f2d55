"""What recovery training leaves: projector tensors and LoRA updates in one safetensors file.

Format `prunesweep-recovered-1`: projector tensors under their parameter names, and for every
updated weight `<module path>.weight` the pair `<module path>.lora_A.weight` [r, in] and
`<module path>.lora_B.weight` [out, r]; rank and alpha stand in the metadata.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from trainables.common.files import replacing

FORMAT = "prunesweep-recovered-1"
_A, _B = ".lora_A.weight", ".lora_B.weight"


def save_recovered(
    path: Path,
    projector_tensors: Mapping[str, Tensor],
    lora_tensors: Mapping[str, Tensor],
    rank: int,
    alpha: float,
    gate: AbstractContextManager[None] | None = None,
) -> None:
    """Write what was trained, in one step.

    Args:
        path: the file to write.
        projector_tensors: by full parameter name.
        lora_tensors: `<module path>.lora_A.weight` and `.lora_B.weight`; may be empty.
        rank: LoRA rank r.
        alpha: LoRA scale numerator; the merged update is alpha / r * B @ A.
        gate: see `replacing`.

    Raises:
        ValueError: if a LoRA tensor has no partner.
    """
    modules = _lora_modules(lora_tensors)
    tensors = {**projector_tensors, **lora_tensors}
    assert len(tensors) == len(projector_tensors) + 2 * len(modules), "a name is given twice"
    metadata = {"format": FORMAT, "rank": str(rank), "alpha": repr(float(alpha))}
    # A copy each, because safetensors refuses tensors that share memory.
    plain = {name: t.detach().cpu().clone().contiguous() for name, t in tensors.items()}
    with replacing(path, gate) as part:
        save_file(plain, part, metadata)


@torch.no_grad()
def apply_recovered(model: nn.Module, path: Path) -> None:
    """Put trained tensors into a student, in place: projector replaced, W += alpha / r * B @ A.

    The update is computed in float32 and cast to the weight's type, as PEFT's own merge does.

    Raises:
        ValueError: if the file is unreadable or does not fit the model, which is then unchanged.
    """
    tensors, scale = _read(path)
    parameters = dict(model.named_parameters())
    modules = _lora_modules(tensors)
    replaced = {name: t for name, t in tensors.items() if not name.endswith((_A, _B))}
    shapes = {name: tensor.shape for name, tensor in replaced.items()}
    for module in modules:
        rows, columns = tensors[module + _B].shape[0], tensors[module + _A].shape[1]
        shapes[f"{module}.weight"] = torch.Size((rows, columns))
    for name, shape in shapes.items():
        parameter = parameters.get(name)
        if parameter is None or parameter.shape != shape:
            found = "has no such parameter" if parameter is None else f"has {list(parameter.shape)}"
            raise ValueError(
                f"{path} trains {name} {list(shape)}, but the model {found}; it belongs to a "
                "student of another plan"
            )
    for name, tensor in replaced.items():
        parameters[name].copy_(tensor)
    for module in modules:
        weight = parameters[f"{module}.weight"]
        low, high = (tensors[module + end].to(weight.device, torch.float32) for end in (_A, _B))
        weight.add_(((high @ low) * scale).to(weight.dtype))


def _lora_modules(names: Mapping[str, Tensor]) -> list[str]:
    """Module paths of the LoRA pairs, in order."""
    first = [name.removesuffix(_A) for name in names if name.endswith(_A)]
    second = [name.removesuffix(_B) for name in names if name.endswith(_B)]
    lonely = sorted(set(first) ^ set(second))
    if lonely:
        raise ValueError(f"LoRA needs {_A[1:]} and {_B[1:]} of every module; {lonely[0]} has one")
    return first


def _read(path: Path) -> tuple[dict[str, Tensor], float]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        if metadata.get("format") != FORMAT:
            raise ValueError(f"its format is {metadata.get('format')!r}, expected {FORMAT!r}")
        return tensors, float(metadata["alpha"]) / int(metadata["rank"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path} holds no readable recovered tensors ({error})") from None
