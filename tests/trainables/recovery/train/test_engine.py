"""Which steps are skipped, memory estimates and the second try, and the stopwatch."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from trainables.common.device import (
    is_out_of_memory,
)
from trainables.models.families.llava import LLAVA_LLAMA
from trainables.models.families.shape import LanguageShape
from trainables.recovery.train.engine import SETTLED, WINDOW, reason_to_skip, window
from trainables.recovery.train.memory import (
    activation_bytes,
    effective_spec,
    halve_once,
    use_gradient_checkpointing,
)
from trainables.recovery.train.throughput import Stopwatch, model_flops_utilisation, peak_tflops
from trainables.specs import RecoverySpec

CPU = torch.device("cpu")


@pytest.fixture
def shape(llava: Any) -> LanguageShape:
    """Sizes of a tiny language model."""
    return LLAVA_LLAMA.language_shape(llava.config.to_dict())


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_skipped(loss: float) -> None:
    assert "not finite" in str(reason_to_skip(loss, (), None))


def test_a_spike_is_measured_against_the_median() -> None:
    usual = (1.0,) * (SETTLED - 1) + (100.0,)
    assert reason_to_skip(9.9, usual, 10.0) is None
    assert "above 10 times" in str(reason_to_skip(10.1, usual, 10.0))
    assert reason_to_skip(10.1, usual, None) is None
    assert reason_to_skip(1e9, usual[1:], 10.0) is None, "too few losses to call it a spike"


def test_next_to_nothing_is_no_spike() -> None:
    assert reason_to_skip(1e-5, (0.0,) * SETTLED, 10.0) is None
    assert "above" in str(reason_to_skip(1.0, (0.0,) * SETTLED, 10.0))


def test_the_window_is_bounded() -> None:
    losses: tuple[float, ...] = ()
    for i in range(WINDOW + 7):
        losses = window(losses, float(i))
    assert losses == tuple(float(i) for i in range(7, WINDOW + 7))


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


def test_a_stopwatch_counts_what_runs_inside() -> None:
    watch = Stopwatch(CPU)
    with watch.running():
        time.sleep(0.02)
    time.sleep(0.05)
    with watch.running():
        time.sleep(0.02)
    assert 0.04 <= watch.seconds() < 0.09


def test_utilisation_needs_a_known_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    assert peak_tflops(CPU) is None
    assert model_flops_utilisation(1e12, 1.0, CPU, 1) is None
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100 80GB HBM3")
    used = model_flops_utilisation(989e12, 2.0, torch.device("cuda"), 1)
    assert used == pytest.approx(0.5)
