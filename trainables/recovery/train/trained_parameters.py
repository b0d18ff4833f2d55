"""What of the student is trained: the projector, and LoRA on the LM's linears or the whole LM."""

from contextlib import AbstractContextManager
from pathlib import Path

from torch import Tensor, nn

from trainables.models.families.adapter import VLMAdapter
from trainables.models.recovered import save_recovered
from trainables.recovery.loss.layer_maps import needs_width_map
from trainables.specs import LossSpec, RecoverySpec

LORA_ADAPTER = "default"


def prepare_student(
    student: nn.Module, adapter: VLMAdapter, spec: RecoverySpec
) -> dict[str, nn.Parameter]:
    """Freeze everything but what `spec.scope` trains; insert LoRA where it asks for it.

    Returns:
        The trained parameters by name, in a fixed order.

    Raises:
        ValueError: `spec.lora_targets` names a linear that the family does not have.
    """
    student.requires_grad_(False)
    if spec.scope == "joint":
        from peft import LoraConfig, inject_adapter_in_model

        config = LoraConfig(
            r=spec.lora_rank,
            lora_alpha=spec.lora_alpha or 2 * spec.lora_rank,
            target_modules=adapter.lora_target_regex(spec.lora_targets),
            lora_dropout=spec.lora_dropout,
            bias="none",
        )
        inject_adapter_in_model(config, student, adapter_name=LORA_ADAPTER)
    if spec.scope == "full":
        student.get_submodule(adapter.language_model).requires_grad_(True)
        student.get_submodule(adapter.lm_head).requires_grad_(True)
    student.get_submodule(adapter.projector).requires_grad_(True)
    return {name: p for name, p in student.named_parameters() if p.requires_grad}


def width_map(
    student: nn.Module, adapter: VLMAdapter, teacher_width: int, loss: LossSpec
) -> nn.Linear | None:
    """A trainable map from the student's hidden size to the teacher's, where they differ.

    Raises:
        ValueError: they differ, the hidden term is active, and the loss asks for no map.
    """
    width = adapter.language_shape(student.config.to_dict()).hidden_size  # type: ignore[union-attr, operator]
    if not needs_width_map(loss, width, teacher_width):
        return None
    weight = next(student.parameters())
    return nn.Linear(width, teacher_width, bias=False, device=weight.device, dtype=weight.dtype)


def save_trained(
    path: Path, trained: dict[str, Tensor], spec: RecoverySpec, gate: AbstractContextManager[None]
) -> None:
    """Write the trained tensors (full precision) in the form that `apply_recovered` merges."""
    lora = {
        name.replace(f".{LORA_ADAPTER}.", "."): value
        for name, value in trained.items()
        if ".lora_" in name
    }
    projector = {name: value for name, value in trained.items() if ".lora_" not in name}
    alpha = spec.lora_alpha or 2.0 * spec.lora_rank
    save_recovered(path, projector, lora, spec.lora_rank, alpha, gate)
