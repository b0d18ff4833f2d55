"""Spaces as functions: cells fix factors, points are checked, weights are normalised."""

from __future__ import annotations

import optuna
import pytest

from search_spaces.factors import TERMS
from search_spaces.points import PointTrial, Restricted
from search_spaces.priors import decision_flow, warm_starts
from search_spaces.spaces import SPACES
from trainables.models.tiny.card import MIXTURES
from trainables.specs import DEFAULT_LEARNING_RATE, TrialSpec

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


def test_defaults_are_the_study_equal_weights_and_the_scope_rate() -> None:
    point = PointTrial({"scope": "joint", "terms": "ce+l2"})
    recovery = SPACES["frontier"].build(point, CELL, BASE).recovery
    assert (recovery.loss.alpha, recovery.loss.beta, recovery.loss.gamma) == (0.5, 0.0, 0.5)
    assert recovery.learning_rate == pytest.approx(DEFAULT_LEARNING_RATE["joint"])


@pytest.mark.parametrize(
    ("terms", "extra", "weights"),
    [
        ("ce", {}, (1, 0, 0)),
        ("reverse_kl", {}, (0, 1, 0)),
        ("l2", {}, (0, 0, 1)),
        ("ce+kl", {"log2_logits": 1.0}, (1 / 3, 2 / 3, 0)),
        ("ce+reverse_kl+l2", {"log2_logits": 0.0, "log2_hidden": 1.0}, (0.25, 0.25, 0.5)),
    ],
)
def test_weights_by_hand(
    terms: str, extra: dict[str, float], weights: tuple[float, float, float]
) -> None:
    point = PointTrial({"scope": "projector", "terms": terms, **extra})
    loss = SPACES["frontier"].build(point, CELL, BASE).recovery.loss
    assert (loss.alpha, loss.beta, loss.gamma) == pytest.approx(weights)
    assert loss.terms == terms


def test_the_published_grid_prunes_by_the_rules_of_the_study() -> None:
    spec = SPACES["published_grid"].build(PointTrial({"scope": "none"}), CELL, BASE)
    assert spec.pruning.preset == "study"
    assert SPACES["frontier"].build(PointTrial({}), CELL, BASE).pruning.preset is None


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
    trial = PointTrial({"scope": "none"})
    with pytest.raises(ValueError, match="outside of the space"):
        Restricted(trial, {"scope": ("joint",)}).suggest_categorical("scope", ("none",))


def test_unknown_loss_terms_are_named() -> None:
    space = SPACES["frontier"].restricted({"terms": ("ce+magic",)})
    with pytest.raises(ValueError, match="magic"):
        space.build(PointTrial({"scope": "joint"}), CELL, BASE)


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
