"""What fits: gradient checkpointing by estimate, and half the micro-batch after a failure."""

from pathlib import Path

import psutil
import torch

from trainables.models.families.shape import LanguageShape
from trainables.specs import RecoverySpec

HALVED = "halved.txt"
SAFE_SHARE = 0.7  # of the memory that activations may take by the estimate


def activation_bytes(shape: LanguageShape, layers: int, tokens: int, bytes_per_value: int) -> int:
    """Bytes of activations that a forward pass keeps for the backward pass, without recomputing.

    34 * tokens * hidden_size bytes per layer in half precision (Korthikanti et al., arXiv
    2205.05198, eq. 1, without the attention scores, which a fused kernel does not keep); `tokens`
    are those of a forward pass, padding included.
    """
    return 34 * tokens * shape.hidden_size * layers * bytes_per_value // 2


def use_gradient_checkpointing(
    spec: RecoverySpec, shape: LanguageShape, layers: int, tokens: int, device: torch.device
) -> bool:
    """Whether activations are computed again in the backward pass (see `RecoverySpec`)."""
    if spec.gradient_checkpointing != "auto":
        return spec.gradient_checkpointing == "on"
    needed = activation_bytes(shape, layers, tokens, 2 if device.type == "cuda" else 4)
    return needed > SAFE_SHARE * _memory_bytes(device)


def halve_once(folder: Path) -> bool:
    """Note in the trial's folder that micro-batches are halved from now on; False if they were."""
    path = folder / HALVED
    if path.exists():
        return False
    path.write_text("memory ran out; micro-batches are half as large from here\n")
    return True


def was_halved(folder: Path) -> bool:
    """Whether micro-batches of this trial are halved."""
    return (folder / HALVED).exists()


def effective_spec(spec: RecoverySpec, folder: Path) -> RecoverySpec:
    """The spec, with half the micro-batch where memory ran out before."""
    if not was_halved(folder):
        return spec
    tokens = spec.max_tokens_per_step
    return spec.model_copy(
        update={
            "micro_batch_size": max(1, spec.micro_batch_size // 2),
            "max_tokens_per_step": None if tokens is None else max(1, tokens // 2),
        }
    )


def _memory_bytes(device: torch.device) -> int:
    """What is free on a GPU; all that a CPU has, as what is free there changes from run to run.

    The same trial on the same machine is to give the same bits, and recomputed activations do not.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().total)
