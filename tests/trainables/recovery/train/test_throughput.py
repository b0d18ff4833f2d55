"""The stopwatch, and utilisation of a device's peak."""

import time

import pytest
import torch

from trainables.recovery.train.throughput import Stopwatch, model_flops_utilisation, peak_tflops

CPU = torch.device("cpu")


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
