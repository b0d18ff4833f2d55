"""Nominal recovery FLOPs against torch's counter over one real training step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from trainables.efficiency.measure import image_flops
from trainables.models.families.llava import LLAVA_LLAMA
from trainables.models.work import (
    RecoveryFlops,
    SampleFlops,
    attention_channels,
    linear_weights,
    lora_weights,
    recovery_flops,
)
from trainables.specs import LossSpec, RecoverySpec, Scope

IMAGE_TOKENS, TOKENS = 9, 49
SIZES = {"num_hidden_layers": 4, "hidden_size": 64, "intermediate_size": 128, "head_dim": 16}


def counted_step(student: Any, teacher: Any | None) -> int:
    """FLOPs of forward and backward of the student, and forward of the teacher, on one sample."""
    ids = torch.tensor([[4] * IMAGE_TOKENS + [7] * (TOKENS - IMAGE_TOKENS)])
    batch = {"input_ids": ids, "pixel_values": torch.zeros(1, 3, 24, 24)}
    with FlopCounterMode(display=False) as counter:
        if teacher is not None:
            with torch.no_grad():
                teacher(**batch)
        student(**batch).logits.square().mean().backward()
    return int(counter.get_total_flops())


def nominal(dense: Any, recovery: RecoverySpec, kept: list[tuple[int, int]] | None) -> float:
    vision, projector = image_flops(dense, LLAVA_LLAMA)
    shape = LLAVA_LLAMA.language_shape(dense.config.to_dict())
    cost = recovery_flops(shape, kept, recovery, vision_flops=vision, projector_flops=projector)
    return cost.per_sample(TOKENS)


def prepared(model: Any, scope: Scope, rank: int) -> Any:
    """The student as recovery trains it: projector, and LoRA where the scope is joint."""
    from peft import LoraConfig, inject_adapter_in_model

    model.set_attn_implementation("eager")
    model.requires_grad_(False)
    if scope == "joint":
        target = LLAVA_LLAMA.lora_target_regex()
        model = inject_adapter_in_model(LoraConfig(r=rank, target_modules=target), model)
    if scope == "full":
        model.get_submodule(LLAVA_LLAMA.language_model).requires_grad_(True)
        model.get_submodule(LLAVA_LLAMA.lm_head).requires_grad_(True)
    model.get_submodule(LLAVA_LLAMA.projector).requires_grad_(True)
    return model


@pytest.mark.parametrize("scope", ["projector", "joint", "full"])
@pytest.mark.parametrize("distilled", [False, True])
def test_one_real_step(build_model: Callable[..., Any], scope: Scope, distilled: bool) -> None:
    dense = build_model(**SIZES)
    student = build_model(**{**SIZES, "num_hidden_layers": 3})
    loss = LossSpec(alpha=1.0, beta=1.0) if distilled else LossSpec()
    recovery = RecoverySpec(scope=scope, loss=loss, lora_rank=8)
    expected = nominal(dense, recovery, kept=[(2, 128)] * 3)
    dense.set_attn_implementation("eager")
    counted = counted_step(prepared(student, scope, 8), dense if distilled else None)
    # The formula also charges the gradient of the projector's input, which nobody asks for.
    assert counted == pytest.approx(expected, rel=0.03)


def test_weights_match_the_modules(build_model: Callable[..., Any]) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    model = build_model()
    shape = LLAVA_LLAMA.language_shape(model.config.to_dict())
    linears = [
        m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and "vision" not in n
    ]
    linears = [m for m in linears if m not in list(model.model.multi_modal_projector.modules())]
    assert linear_weights(shape) == sum(m.weight.numel() for m in linears)
    assert linear_weights(shape, [(2, 80), (1, 30)]) < linear_weights(shape, [(2, 80), (2, 80)])
    assert attention_channels(shape, [(2, 80), (1, 30)]) == 48 + 24
    target = LLAVA_LLAMA.lora_target_regex()
    model = inject_adapter_in_model(LoraConfig(r=3, target_modules=target), model)
    added = sum(p.numel() for n, p in model.named_parameters() if "lora_" in n)
    assert lora_weights(shape, None, 3) == added


def test_nothing_trained_costs_nothing(model: Any) -> None:
    assert nominal(model, RecoverySpec(scope="none"), None) == 0.0


def test_samples_without_image_cost_their_tokens_only() -> None:
    student, teacher = SampleFlops(10.0, 2.0, 1000.0), SampleFlops(1.0, 0.0, 50.0)
    alone = RecoveryFlops(student, vision=7.0)
    assert alone.per_sample(3, images=0) == 48.0
    assert alone.per_sample(3) == 1048.0 + 7.0
    taught = RecoveryFlops(student, teacher, 7.0)
    assert taught.per_sample(3) == 1048.0 + 53.0 + 2 * 7.0
    assert taught.computed(3, 1, teacher=False) == 1048.0 + 7.0
    assert taught.computed(3, 2, teacher=True) == 2048.0 + 103.0 + 2 * 14.0
