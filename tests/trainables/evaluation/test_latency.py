"""Latency: what is timed, in which order, and on which device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from trainables.evaluation import latency
from trainables.evaluation.latency import device_name, latency_inputs, measure_latency
from trainables.models.llava import LLAVA_LLAMA
from trainables.specs import EfficiencySpec

SPEC = EfficiencySpec(prompt_tokens=6, new_tokens=4, latency_repeats=4)


def test_inputs_are_one_image_and_the_prompt(model: Any) -> None:
    inputs = latency_inputs(model, LLAVA_LLAMA, EfficiencySpec(prompt_tokens=40))
    ids = inputs["input_ids"][0].tolist()
    assert ids[:9] == [4] * 9
    assert len(ids) == 49
    assert 4 not in ids[9:]
    assert inputs["pixel_values"].shape == (1, 3, 24, 24)


def test_student_and_dense_take_turns_and_make_all_tokens(
    build_model: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    student, dense = build_model(num_hidden_layers=1), build_model()
    calls: list[str] = []
    for name, model in (("student", student), ("dense", dense)):

        def generate(_name: str = name, _whole: Any = model.generate, **kwargs: Any) -> Any:
            out = _whole(**kwargs)
            assert out.shape == (1, 9 + 6 + 4)
            calls.append(_name)
            return out

        monkeypatch.setattr(model, "generate", generate)
    got = measure_latency(student, dense, LLAVA_LLAMA, SPEC)
    pairs = [calls[i : i + 2] for i in range(0, len(calls), 2)]
    assert len(pairs) == latency.WARM_UP + SPEC.latency_repeats
    assert pairs[0] == ["dense", "student"]
    assert pairs[1] == ["student", "dense"]
    assert 0 < got.lower_ms <= got.median_ms <= got.upper_ms
    assert got.dense_median_ms > 0
    assert got.repeats == 4
    assert got.device == device_name(torch.device("cpu"))
    assert got.device.endswith(f"{torch.get_num_threads()} threads")


def test_times_are_medians_and_quartiles(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Warm-up takes 9 s each. The fourth turn begins with the student, the next with the dense one.
    turns = [(0.001, 0.01), (0.02, 0.003), (0.005, 0.03), (0.04, 0.007)]
    known = iter([9.0] * 2 * 3 + [seconds for turn in turns for seconds in turn])
    monkeypatch.setattr(latency, "WARM_UP", 3)
    monkeypatch.setattr(latency, "_timed", lambda *_: next(known))
    got = measure_latency(model, model, LLAVA_LLAMA, SPEC)
    # Student 1, 3, 5, 7 ms; dense model 10, 20, 30, 40 ms.
    assert (got.lower_ms, got.median_ms, got.upper_ms) == pytest.approx((2.5, 4.0, 5.5))
    assert got.dense_median_ms == pytest.approx(25.0)


def test_models_in_different_dtypes_are_refused(build_model: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match=r"cpu \(bfloat16\).*cpu \(float32\)"):
        measure_latency(build_model().to(torch.bfloat16), build_model(), LLAVA_LLAMA, SPEC)
