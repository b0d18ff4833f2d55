"""Energy: the counters of processor packages, and what one run of several used."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from trainables.efficiency import energy
from trainables.efficiency.energy import energy_counter, joules_per_run

CPU = torch.device("cpu")


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two packages of 3 and 4 J so far; the first has a zone within it, which it counts."""
    for name, microjoules in (("0", 3_000_000), ("0:0", 1_000_000), ("1", 4_000_000)):
        (tmp_path / f"intel-rapl:{name}").mkdir()
        (tmp_path / f"intel-rapl:{name}" / "energy_uj").write_text(f"{microjoules}\n")
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    monkeypatch.setattr(energy, "WINDOW_SECONDS", 0.05)
    return tmp_path


def test_packages_add_up(packages: Path) -> None:
    read = energy_counter(CPU)
    assert read is not None
    assert read() == pytest.approx(7.0)


def test_energy_of_a_run_is_the_mean_of_many(packages: Path) -> None:
    counter = packages / "intel-rapl:1" / "energy_uj"

    def run() -> None:  # uses a quarter of a joule
        counter.write_text(str(int(counter.read_text()) + 250_000))

    assert joules_per_run(run, CPU) == pytest.approx(0.25)


def test_a_counter_that_started_over_is_no_energy(packages: Path) -> None:
    counter = packages / "intel-rapl:1" / "energy_uj"
    assert joules_per_run(lambda: counter.write_text("17"), CPU) is None


def test_none_without_a_counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "POWERCAP", tmp_path / "absent")

    def run() -> None:
        raise AssertionError("nothing is run for energy that nobody counts")

    assert joules_per_run(run, CPU) is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_counts_joules() -> None:
    device = torch.device("cuda")
    matrix = torch.randn(4096, 4096, device=device)

    def run() -> None:
        matrix @ matrix
        torch.cuda.synchronize()

    joules = joules_per_run(run, device)
    assert joules is not None
    assert 0 < joules < 100
