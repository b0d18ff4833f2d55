"""Whatever ends a recovery, nothing of its engine is left in the process, which serves others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from helpers.alive import alive
from torch import nn

from trainables.common.process_group import (
    destroy_process_group,
    fresh_single_process_group,
    import_deepspeed,
)
from trainables.recovery.train.engine import training_engine
from trainables.specs import RecoverySpec

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _group() -> Iterator[None]:
    fresh_single_process_group()
    yield
    destroy_process_group()


def _train(stage: int, steps: int, ending: type[BaseException] | None = None) -> None:
    """Train two small layers; `ending` is raised after the steps, in the midst of a forward."""
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 1))
    spec = RecoverySpec(scope="full", zero_stage=stage, batch_size=2, micro_batch_size=2)
    with training_engine(model, model.parameters(), spec, CPU) as engine:
        for _ in range(steps):
            engine.set_gradient_accumulation_boundary(True)
            engine.backward(engine(torch.ones(2, 4)).sum())
            engine.step()
        if ending is not None:
            model[1].register_forward_pre_hook(_raiser(ending))
            engine(torch.ones(2, 4))


def _raiser(error: type[BaseException]) -> Any:
    def hook(*_: Any) -> None:
        raise error

    return hook


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_an_engine_is_gone_after_its_block(stage: int) -> None:
    _train(stage, 1)  # what DeepSpeed makes once
    before = alive()
    _train(stage, 3)  # ZeRO-3 goes by its trace from the second step on
    assert alive() == before


@pytest.mark.parametrize("stage", [1, 2, 3])
@pytest.mark.parametrize("ending", [RuntimeError, SystemExit, KeyboardInterrupt])
def test_an_engine_is_gone_however_its_block_ends(stage: int, ending: type[BaseException]) -> None:
    before = alive()
    with pytest.raises(ending):
        _train(stage, 2, ending)
    assert alive() == before


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_an_engine_that_memory_ran_out_for_is_gone(
    stage: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = alive()
    engine = import_deepspeed().DeepSpeedEngine
    monkeypatch.setattr(engine, "_configure_checkpointing", _raiser(torch.OutOfMemoryError))
    with pytest.raises(torch.OutOfMemoryError):
        _train(stage, 1)
    assert alive() == before
