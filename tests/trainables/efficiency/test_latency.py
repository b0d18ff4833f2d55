"""Latency: what is timed, in which order, and on which device."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from trainables.common.device import device_name
from trainables.efficiency import latency
from trainables.efficiency.latency import measure_latency
from trainables.efficiency.prompt import prompt_inputs
from trainables.models.families import qwen_vl
from trainables.models.families.llava import LLAVA_LLAMA
from trainables.specs import EfficiencySpec

SPEC = EfficiencySpec(prompt_tokens=6, new_tokens=4, latency_repeats=4)


def test_inputs_are_one_image_and_the_prompt(model: Any) -> None:
    inputs = prompt_inputs(model, LLAVA_LLAMA, EfficiencySpec(prompt_tokens=40))
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

    def timed(*_: Any) -> tuple[float, float]:
        whole = next(known)
        return whole, whole / 4

    monkeypatch.setattr(latency, "WARM_UP", 3)
    monkeypatch.setattr(latency, "_timed", timed)
    got = measure_latency(model, model, LLAVA_LLAMA, SPEC, batch=8)
    # Student 1, 3, 5, 7 ms; dense model 10, 20, 30, 40 ms.
    assert (got.lower_ms, got.median_ms, got.upper_ms) == pytest.approx((2.5, 4.0, 5.5))
    assert got.dense_median_ms == pytest.approx(25.0)
    # A quarter until the first token, the rest for three more; 8 x 4 tokens in 4 ms.
    assert (got.prefill_ms, got.decode_ms) == pytest.approx((1.0, 1.0))
    assert got.tokens_per_second == pytest.approx(32 / 0.004)
    assert (got.batch, got.repeats) == (8, 4)


def test_the_first_token_ends_the_prefill(
    build_model: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that stands still but for the decoder's passes: 50 ms the first one, then 20."""
    model = build_model()
    forward, now = model.model.language_model.forward, 0.0

    def slow(*args: Any, **kwargs: Any) -> Any:
        nonlocal now
        now += 0.05 if kwargs["inputs_embeds"].shape[1] > 1 else 0.02
        return forward(*args, **kwargs)

    monkeypatch.setattr(model.model.language_model, "forward", slow)
    monkeypatch.setattr(latency, "time", SimpleNamespace(perf_counter=lambda: now))
    got = measure_latency(model, model, LLAVA_LLAMA, SPEC)
    assert (got.prefill_ms, got.decode_ms, got.median_ms) == pytest.approx((50, 20, 110))


def test_one_new_token_has_no_decoding(model: Any) -> None:
    spec = EfficiencySpec(prompt_tokens=4, new_tokens=1, latency_repeats=3)
    got = measure_latency(model, model, LLAVA_LLAMA, spec)
    assert got.decode_ms is None
    assert got.prefill_ms is not None
    assert got.prefill_ms <= got.median_ms


def test_a_batch_of_every_family_generates(family: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every prompt of the batch gets the same answer, with its own image."""
    monkeypatch.setattr(qwen_vl, "PIXELS", 24)
    model, spec = family.model, EfficiencySpec(prompt_tokens=6)
    one = prompt_inputs(model, family.adapter, spec)
    many = prompt_inputs(model, family.adapter, spec, batch=3)
    assert many["input_ids"].shape == (3, one["input_ids"].shape[1])
    settings = {"max_new_tokens": 3, "min_new_tokens": 3, "do_sample": False}
    alone, together = model.generate(**one, **settings), model.generate(**many, **settings)
    assert together.tolist() == alone.tolist() * 3


def test_models_in_different_dtypes_are_refused(build_model: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match=r"cpu \(bfloat16\).*cpu \(float32\)"):
        measure_latency(build_model().to(torch.bfloat16), build_model(), LLAVA_LLAMA, SPEC)


def test_a_quantized_student_is_compared_by_what_it_computes_in(
    build_model: Callable[..., Any],
) -> None:
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    student, dense = build_model(), build_model()
    quantize_(student.model.language_model.layers, Int8WeightOnlyConfig())
    assert measure_latency(student, dense, LLAVA_LLAMA, SPEC).median_ms > 0
    with pytest.raises(ValueError, match=r"cpu \(float32\).*cpu \(bfloat16\)"):
        measure_latency(student, dense.to(torch.bfloat16), LLAVA_LLAMA, SPEC)
