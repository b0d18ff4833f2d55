"""Spaces as functions: cells fix factors, points are checked, weights are normalised."""

from __future__ import annotations

from typing import Any

import optuna
import pytest

from docs.scripts.embedded.card import MIXTURES
from search_spaces import factors
from search_spaces.factors import STUDY_TERMS, TERMS
from search_spaces.spaces import SPACES, decision_flow, warm_starts
from search_spaces.suggesters import PointTrial
from trainables.specs import DEFAULT_LEARNING_RATE, Budget, RecoverySpec, Seeds, TrialSpec
from trainables.specs.presets import study_loss

BASE = TrialSpec()
CELL = {"method": "widthwise", "ratio": 0.45}


@pytest.mark.parametrize("name", sorted(SPACES))
def test_what_optuna_samples_is_read_back_from_its_params(name: str) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    space = SPACES[name]
    for _ in range(20):
        trial = study.ask()
        spec = space.build(trial, CELL, BASE)
        assert (spec.pruning.method, spec.pruning.ratio) == ("widthwise", 0.45)
        point = PointTrial(trial.params)
        assert space.build(point, CELL, BASE) == spec
        assert point.distributions == trial.distributions
        point.check_used()


def test_defaults_are_equal_weights_and_the_scope_rate() -> None:
    point = PointTrial({"scope": "joint", "terms": "ce+l2"})
    recovery = SPACES["frontier"].build(point, CELL, BASE).recovery
    assert (recovery.loss.alpha, recovery.loss.beta, recovery.loss.gamma) == (0.5, 0.0, 0.5)
    assert recovery.learning_rate is None
    assert recovery.resolved_learning_rate == pytest.approx(DEFAULT_LEARNING_RATE["joint"])


@pytest.mark.parametrize(
    ("terms", "extra", "weights"),
    [
        ("ce", {}, (1, 0, 0)),
        ("reverse_kl", {}, (0, 1, 0)),
        ("l2", {}, (0, 0, 1)),
        ("ce+kl", {"log2_logits": 1.0}, (1 / 3, 2 / 3, 0)),
        ("ce+reverse_kl+l2", {"log2_logits": 0.0, "log2_hidden": 1.0}, (0.25, 0.25, 0.5)),
        ("ce+js", {"log2_logits": -2.0}, (0.8, 0.2, 0)),
        ("cosine", {}, (0, 0, 1)),
        ("kl+relative_l2", {"log2_hidden": 2.0}, (0, 0.2, 0.8)),
    ],
)
def test_weights_by_hand(
    terms: str, extra: dict[str, float], weights: tuple[float, float, float]
) -> None:
    point = PointTrial({"terms": terms, **extra})
    space = SPACES["loss_coefficients"].restricted({"terms": (terms,)})
    loss = space.build(point, CELL, BASE).recovery.loss
    assert (loss.alpha, loss.beta, loss.gamma) == pytest.approx(weights)
    assert loss.terms == terms


def test_the_published_grid_prunes_by_the_rules_of_the_study() -> None:
    spec = SPACES["published_grid"].build(PointTrial({"scope": "none"}), CELL, BASE)
    assert spec.pruning.preset == "study"
    assert SPACES["frontier"].build(PointTrial({}), CELL, BASE).pruning.preset is None


@pytest.mark.parametrize("terms", STUDY_TERMS)
def test_the_published_grid_trains_on_the_loss_of_the_study(terms: str) -> None:
    point = PointTrial({"scope": "joint", "terms": terms, "data_fraction": 0.2})
    recovery = SPACES["published_grid"].build(point, CELL, BASE).recovery
    assert recovery.loss.terms == terms
    assert recovery.loss == study_loss(recovery.loss)
    assert set(recovery.loss.weights.values()) == {0.5 if "+" in terms else 1.0}
    assert recovery.data_fraction == 0.2
    point.check_used()


def test_number_and_draw_of_calibration_samples_are_factors() -> None:
    space = SPACES["calibration"]
    point = PointTrial({"calibration_samples": 128, "calibration_seed": 3})
    spec = space.build(point, CELL, BASE)
    assert (spec.pruning.importance.samples, spec.seeds.calibration) == (128, 3)
    assert spec.seeds.data == BASE.seeds.data
    one = {**CELL, "calibration_samples": 10, "calibration_seed": 0}
    fixed = PointTrial({})
    spec = space.build(fixed, one, BASE)
    assert (spec.pruning.importance.samples, fixed.params) == (10, {})
    assert spec.recovery == BASE.recovery


def test_a_sweep_may_restrict_choices() -> None:
    space = SPACES["frontier"].restricted({"scope": ("projector",), "data_fraction": (0.3,)})
    spec = space.build(PointTrial({}), CELL, BASE)
    assert spec.recovery.scope == "projector"
    assert spec.recovery.data_fraction == 0.3
    with pytest.raises(ValueError, match="outside of the space"):
        space.build(PointTrial({"scope": "none"}), CELL, BASE)


def test_a_sweep_may_move_ranges_and_equal_weights_stay_the_default() -> None:
    ranges = {"log2_logits": (-4.0, 12.0), "lr_scale": (2.0, 8.0)}
    space = SPACES["frontier"].restricted({"terms": ("ce+kl+l2",)}, ranges)
    point = PointTrial({})
    loss = space.build(point, CELL, BASE).recovery.loss
    assert loss.normalised == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert point.params["lr_scale"] == pytest.approx(4.0), "1 lies outside: the middle"
    ends = {n: (d.low, d.high) for n, d in point.distributions.items() if hasattr(d, "low")}
    assert ends == {**ranges, "log2_hidden": (-4.0, 4.0)}
    loss = space.build(PointTrial({"log2_logits": 10.0}), CELL, BASE).recovery.loss
    assert loss.beta / loss.alpha == pytest.approx(1024)
    with pytest.raises(ValueError, match="outside of the space"):
        space.build(PointTrial({"log2_logits": 12.5}), CELL, BASE)


@pytest.mark.parametrize("name", sorted(SPACES))
def test_a_space_names_its_numbers(name: str) -> None:
    """What a space asks for is named by it: of choices what may be stratified, and every number."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    asked: dict[str, Any] = {}
    for _ in range(40):
        trial = study.ask()
        SPACES[name].build(trial, {}, BASE)
        asked |= trial.distributions
    numbers = {n for n, d in asked.items() if not hasattr(d, "choices")}
    assert numbers <= set(SPACES[name].numbers)
    assert asked.keys() - numbers <= set(SPACES[name].stratifiable)


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ("ce+magic", "magic; loss terms are ce, kl"),
        ("kl+reverse_kl", "two terms of one kind"),
        ("ce+l2+cosine", "two terms of one kind"),
        ("l2+ce", "out of order"),
    ],
)
def test_mixtures_that_make_no_sense_are_refused(terms: str, message: str) -> None:
    space = SPACES["frontier"].restricted({"terms": (terms,)})
    with pytest.raises(ValueError, match=message):
        space.build(PointTrial({"scope": "joint"}), CELL, BASE)


SENSITIVITY_BASE = TrialSpec(
    recovery=RecoverySpec(budget=Budget(steps=100), learning_rate=1e-3, lora_rank=16),
    seeds=Seeds(calibration=1, data=2, train=3),
)


def test_without_a_setting_the_sensitivity_space_is_the_recipe_of_the_ratio() -> None:
    build = SPACES["sensitivity"].build
    for ratio, terms in ((0.15, "ce"), (0.30, "ce+l2"), (0.60, "ce+l2")):
        spec = build(PointTrial({}), {"ratio": ratio}, SENSITIVITY_BASE)
        recipe = decision_flow(ratio)
        assert (spec.pruning.method, spec.pruning.ratio) == (recipe["method"], ratio)
        assert (spec.recovery.scope, spec.recovery.loss.terms) == (recipe["scope"], terms)
        assert spec.recovery.budget == Budget(steps=100)
        assert spec.recovery.learning_rate == pytest.approx(1e-3)
        assert spec.recovery.lora_rank == 16
        assert spec.seeds == SENSITIVITY_BASE.seeds
        if terms == "ce+l2":
            assert spec.recovery.loss.normalised == (0.5, 0.0, 0.5)


def test_each_factor_of_the_sensitivity_space_changes_one_setting() -> None:
    def changed(**point: Any) -> dict[str, Any]:
        build, cell = SPACES["sensitivity"].build, {"ratio": 0.3}
        before = build(PointTrial({}), cell, SENSITIVITY_BASE).model_dump()
        trial = PointTrial(point)
        after = build(trial, cell, SENSITIVITY_BASE).model_dump()
        trial.check_used()
        assert before["pruning"] == after["pruning"]
        flat = {**after["recovery"], "seeds": after["seeds"]}
        old = {**before["recovery"], "seeds": before["seeds"]}
        return {k: v for k, v in flat.items() if v != old[k]}

    assert changed(lr_scale=0.25) == {"learning_rate": pytest.approx(2.5e-4)}
    assert changed(lora_rank=64) == {"lora_rank": 64}
    assert changed(budget_scale=0.5) == {
        "budget": {"epochs": None, "steps": 50, "tokens": None, "tflops": None}
    }
    assert changed(seed=2) == {"seeds": {"calibration": 3, "data": 4, "train": 5}}
    loss = changed(log2_hidden=2.0)["loss"]
    assert (loss["alpha"], loss["gamma"]) == pytest.approx((0.2, 0.8))


def test_recovery_of_the_projector_has_no_rank_to_vary() -> None:
    trial = PointTrial({"lora_rank": 64})
    SPACES["sensitivity"].build(trial, {"ratio": 0.15}, SENSITIVITY_BASE)
    with pytest.raises(ValueError, match="lora_rank, which the space does not use"):
        trial.check_used()


@pytest.mark.parametrize(
    ("budget", "scaled"),
    [
        (Budget(epochs=2), Budget(epochs=1)),
        (Budget(tokens=5), Budget(tokens=2)),
        (Budget(steps=1), Budget(steps=1)),
        (Budget(tflops=3.0), Budget(tflops=1.5)),
    ],
)
def test_a_budget_is_scaled_in_its_own_unit(budget: Budget, scaled: Budget) -> None:
    assert factors.budget(PointTrial({"budget_scale": 0.5}), budget) == scaled


@pytest.mark.parametrize(
    ("ratio", "method", "scope"),
    [
        (0.15, "layerwise", "projector"),
        (0.20, "layerwise", "projector"),
        (0.30, "layerwise", "joint"),
        (0.40, "layerwise", "joint"),
        (0.45, "widthwise", "joint"),
        (0.60, "widthwise", "joint"),
    ],
)
def test_the_decision_flow(ratio: float, method: str, scope: str) -> None:
    point = decision_flow(ratio)
    assert (point["method"], point["scope"]) == (method, scope)
    assert decision_flow(ratio, data=False) == {
        "method": "widthwise", "ratio": ratio, "scope": "none"
    }  # fmt: skip


def test_warm_starts_stay_inside_the_cells() -> None:
    cells = [{"method": "layerwise", "ratio": r} for r in (0.15, 0.6)]
    assert [p["ratio"] for p in warm_starts(cells)] == [0.15]


def test_the_embedded_models_card_compares_the_mixtures_of_the_search_spaces() -> None:
    assert set(MIXTURES) == set(TERMS)
    assert all(set(loss.terms.split("+")) == set(n.split("+")) for n, loss in MIXTURES.items())


def test_quantization_is_a_factor_of_its_space_alone() -> None:
    space = SPACES["pruning_x_quantization"]
    point = {"scope": "joint", "terms": "ce+l2"}
    cell = {**CELL, "quantization": "nf4"}
    spec = space.build(PointTrial(point), cell, BASE)
    assert spec.quantization == "nf4"
    plain = SPACES["frontier"].build(PointTrial(point), CELL, BASE)
    assert spec.model_copy(update={"quantization": "none"}) == plain
    searched = PointTrial({"scope": "none"})
    assert space.build(searched, CELL, BASE).quantization == "none"
    assert searched.params["quantization"] == "none"
    assert "quantization" not in SPACES["frontier"].stratifiable
    with pytest.raises(ValueError, match="quantization='int4', but must be one of none, llm_int8"):
        space.build(PointTrial(point), {**CELL, "quantization": "int4"}, BASE)
