"""The study's recovery as settings: the terms that are asked for, in its units, by family."""

from __future__ import annotations

from typing import Any

import pytest

from trainables.specs import Budget, LossSpec, RecoverySpec
from trainables.specs.presets import study_loss, study_recovery


@pytest.mark.parametrize(
    ("given", "weights"),
    [
        ({}, {"ce": 1.0}),
        ({"beta": 4.0, "logits": "kl"}, {"ce": 0.5, "kl": 0.5}),
        ({"alpha": 0, "beta": 0.1}, {"reverse_kl": 1.0}),
        ({"alpha": 0, "gamma": 0.1}, {"l2": 1.0}),
        ({"beta": 1.0, "gamma": 3.0}, {"ce": 0.5, "reverse_kl": 0.5, "l2": 0.5}),
        ({"alpha": 0, "beta": 1, "gamma": 3, "logits": "kl"}, {"kl": 0.5, "l2": 0.5}),
    ],
)
def test_terms_at_its_weights_and_units(given: dict[str, Any], weights: dict[str, float]) -> None:
    own = {"temperature": 7.0, "hidden_layers": 3, "hidden_tokens": "response"}
    loss = study_loss(LossSpec(**own, **given))
    assert loss.weights == weights
    assert (loss.temperature, loss.logits_tokens, loss.logits_per) == (2.0, "all", "sample")
    assert (loss.hidden_layers, loss.hidden_tokens, loss.normalize) == (1, "all", "none")


@pytest.mark.parametrize(
    ("family", "rank", "alpha", "rate", "decay"),
    [
        ("llava-llama", 128, 256, 2e-5, 0.0),
        ("llava-phi", 64, 16, 5e-5, 0.0),
        ("internvl-phi3", 16, 32, 4e-5, 0.05),
    ],
)
def test_lora_and_rate_by_family(
    family: str, rank: int, alpha: float, rate: float, decay: float
) -> None:
    given = RecoverySpec(
        preset="study", scope="projector", budget=Budget(steps=7), data_fraction=0.2,
        batch_size=128, learning_rate=1.0, lora_rank=3, lora_alpha=1.0, lora_targets=("q_proj",),
    )  # fmt: skip
    found = study_recovery(given, family)
    assert (found.lora_rank, found.lora_dropout) == (rank, 0.05)
    assert found.model_copy(update={"scope": "joint"}).canonical()["lora_alpha"] == alpha
    assert (found.resolved_learning_rate, found.weight_decay) == (rate, decay)
    assert (found.lora_targets, found.clip_norm, found.spike_factor) == (None, 1.0, None)
    for kept in ("scope", "budget", "data_fraction", "batch_size"):
        assert getattr(found, kept) == getattr(given, kept)
    assert found.preset is None
    assert study_recovery(found, family) == found


def test_what_the_study_has_not_is_refused() -> None:
    for given in ({"beta": 1.0, "logits": "js"}, {"gamma": 1.0, "hidden": "cosine"}):
        with pytest.raises(ValueError, match="the study has no loss term"):
            study_loss(LossSpec.model_validate(given))
    assert study_loss(LossSpec(logits="js")).weights == {"ce": 1.0}, "a term without weight"
    with pytest.raises(ValueError, match="but the model is a qwen2-vl"):
        study_recovery(RecoverySpec(preset="study"), "qwen2-vl")
