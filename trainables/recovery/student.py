"""What of the student is trained: the projector, and LoRA on every linear of the LM."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from trainables.models.adapter import VLMAdapter
from trainables.models.recovered import save_recovered
from trainables.specs import RecoverySpec

LORA_ADAPTER = "default"


def prepare_student(
    student: nn.Module, adapter: VLMAdapter, spec: RecoverySpec
) -> dict[str, nn.Parameter]:
    """Freeze everything but what `spec.scope` trains; insert LoRA where it asks for it.

    Returns:
        The trained parameters by name, in a fixed order.
    """
    student.requires_grad_(False)
    if spec.scope == "joint":
        from peft import LoraConfig, inject_adapter_in_model

        config = LoraConfig(
            r=spec.lora_rank,
            lora_alpha=spec.lora_alpha or 2 * spec.lora_rank,
            target_modules=adapter.lora_target_regex(),
            lora_dropout=0.0,
            bias="none",
        )
        inject_adapter_in_model(config, student, adapter_name=LORA_ADAPTER)
    student.get_submodule(adapter.projector).requires_grad_(True)
    return {name: p for name, p in student.named_parameters() if p.requires_grad}


def save_trained(path: Path, trained: dict[str, Tensor], spec: RecoverySpec) -> None:
    """Write the trained tensors (full precision) in the form that `apply_recovered` merges."""
    lora = {
        name.replace(f".{LORA_ADAPTER}.", "."): value
        for name, value in trained.items()
        if ".lora_" in name
    }
    projector = {name: value for name, value in trained.items() if ".lora_" not in name}
    alpha = spec.lora_alpha or 2.0 * spec.lora_rank
    save_recovered(path, projector, lora, spec.lora_rank, alpha)
