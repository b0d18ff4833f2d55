"""Estimates of activations, checkpointing, and the second try with smaller micro-batches."""

from pathlib import Path
from typing import Any

import pytest
import torch

from trainables.common.device import is_out_of_memory
from trainables.models.families.llava import LLAVA_LLAMA
from trainables.models.families.shape import LanguageShape
from trainables.recovery.train.activation_memory import (
    activation_bytes,
    effective_spec,
    halve_once,
    use_gradient_checkpointing,
)
from trainables.specs import RecoverySpec

CPU = torch.device("cpu")


@pytest.fixture
def shape(llava: Any) -> LanguageShape:
    """Sizes of a tiny language model."""
    return LLAVA_LLAMA.language_shape(llava.config.to_dict())


def test_activations_by_hand(shape: LanguageShape) -> None:
    expected = 34 * 10 * shape.hidden_size * 3
    assert activation_bytes(shape, 3, 10, 2) == expected
    assert activation_bytes(shape, 3, 10, 4) == 2 * expected


def test_checkpointing_is_for_what_would_not_fit(shape: LanguageShape) -> None:
    auto = RecoverySpec()
    assert not use_gradient_checkpointing(auto, shape, 2, 100, CPU)
    assert use_gradient_checkpointing(auto, shape, 2, 10**12, CPU)
    for given in ("on", "off"):
        spec = RecoverySpec(gradient_checkpointing=given)
        assert use_gradient_checkpointing(spec, shape, 2, 100, CPU) == (given == "on")


def test_micro_batches_are_halved_once(tmp_path: Path) -> None:
    spec = RecoverySpec(micro_batch_size=5, max_tokens_per_step=1000)
    assert effective_spec(spec, tmp_path) == spec
    assert halve_once(tmp_path)
    halved = effective_spec(spec, tmp_path)
    assert (halved.micro_batch_size, halved.max_tokens_per_step) == (2, 500)
    assert not halve_once(tmp_path)
    smallest = RecoverySpec(micro_batch_size=1)
    assert effective_spec(smallest, tmp_path).micro_batch_size == 1


def test_what_counts_as_out_of_memory() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(MemoryError())
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
