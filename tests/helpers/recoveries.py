"""Recoveries in tests: run, killed and started again, compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from trainables.records import CURVES, TRAINED

Recover = Callable[..., Any]


def trained(folder: Path) -> dict[str, torch.Tensor]:
    """The tensors that a recovery saved."""
    return load_file(folder / TRAINED)


def assert_same(a: Path, b: Path) -> None:
    """The saved tensors are equal bit by bit."""
    first, second = trained(a), trained(b)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def assert_close(a: Path, b: Path) -> None:
    """Equal to float error: losses to 1e-5, tensors to 2e-3 of their norm.

    By norm rather than by element, because Adam divides by the gradient's size: an element whose
    gradient is nearly zero moves by the full rate in whichever direction the rounding points.
    """
    first, second = trained(a), trained(b)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert float((value - second[name]).norm()) <= 2e-3 * float(value.norm()), name
    for one, two in zip(curve(a), curve(b), strict=True):
        assert one == pytest.approx(two, rel=1e-5)


def curve(folder: Path) -> list[dict[str, float]]:
    """The terms of every step."""
    lines = (folder / CURVES).read_text(encoding="utf-8").splitlines()
    return [
        {k: v for k, v in json.loads(x).items() if k not in ("grad_norm", "learning_rate")}
        for x in lines
    ]


class Killed(BaseException):
    """What a kill would be."""


def cut_and_resumed(run: Recover, rung: float, name: str = "cut", **settings: Any) -> Any:
    """The same recovery, killed at a rung and started again; what `run` returns."""

    def kill(*_: Any) -> None:
        raise Killed

    with pytest.raises(Killed):
        run(name, on_rung=kill, rungs=(rung,), **settings)
    return run(name, rungs=(rung,), **settings)
