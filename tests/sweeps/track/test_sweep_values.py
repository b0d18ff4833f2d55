"""What MLflow says of a sweep and of a trial's place, as values; no store is written."""

from __future__ import annotations

from typing import Any

from helpers.trials import make_dense, make_trial

from analysis.frontier import find_frontier
from sweeps.engine.spec.loading import load_sweep
from sweeps.engine.track.places import places
from sweeps.engine.track.sweep_values import (
    NOTE_CHARACTERS,
    PARAM_CHARACTERS,
    counts,
    sweep_note,
    sweep_params,
)


def test_params_are_what_differs_from_the_defaults_and_what_identifies() -> None:
    sweep = load_sweep("llava_7b_frontier", ["resources.slots=3", "trial.workers=2"])
    found = sweep_params(sweep.model_dump(mode="json"))
    assert found["trial.model.path"] == "llava-hf/llava-1.5-7b-hf"
    assert found["strata.method"] == '["layerwise", "widthwise"]'
    assert found["seed"] == "0", "a default that identifies"
    assert "trial.recovery.weight_decay" not in found
    assert not [name for name in found if name.startswith(("resources", "trial.workers", "name"))]
    assert all(len(value) <= PARAM_CHARACTERS for value in found.values())
    assert found["designed"].startswith('[{"')


def test_no_value_and_no_name_is_more_than_mlflow_takes() -> None:
    designed = [{"ratio": 0.3, "method": "layerwise"}] * 100
    found = sweep_params({"designed": designed, "choices": {"own, (factor)": ["a"]}})
    assert len(found["designed"]) == PARAM_CHARACTERS
    assert found["designed"].endswith(" …")
    assert found["choices.own_ _factor_"] == '["a"]'


def test_a_long_note_ends_with_a_whole_line() -> None:
    trials = [make_dense(), make_trial("a")]
    frontier = find_frontier(trials)
    short = sweep_note("?", trials, frontier, {"all": "#x"}, "")
    note = sweep_note("?", trials, frontier, {"all": "#x"}, "one line\n" * 2000)
    assert len(note) <= NOTE_CHARACTERS
    assert note.startswith(short.rstrip("\n"))
    assert note.endswith("one line\n\n(The rest is in the artifacts.)")


def test_unpruned_models_and_repeats_are_counted_as_what_they_are() -> None:
    trials = [
        make_dense(),
        make_trial("small", 0.8, origin="reference", ratio=0.0),
        make_trial("a", 0.9),
        make_trial("again", 0.9, origin="confirm", seed=1),
        make_trial("bad", status="failed"),
    ]
    assert counts(trials) == {"completed": 2, "early_stopped": 0, "failed": 1, "references": 2}
    note = sweep_note("?", trials, find_frontier(trials), {}, "")
    assert "Beside them: the dense base and 1 other unpruned model. 1 of them repeats" in note


def test_a_place_says_how_sure_it_is_or_why_there_is_none() -> None:
    split: dict[str, Any] = {"report": 0.9}
    trials = [
        make_dense(report=1.0),
        make_trial("best", 0.9, weights_mib=6.0, **split),
        make_trial("worse", 0.5, weights_mib=9.0, report=0.5),
        make_trial("close", 0.9, weights_mib=6.1, report=0.899),
        make_trial("guess", 0.1, weights_mib=1.0, report=0.1),
        make_trial("bad", status="failed"),
        make_trial("cut", status="early_stopped"),
        make_trial("unseen", 0.95, weights_mib=5.0),
        make_trial("late", 0.4, weights_mib=9.0),
    ]
    found = places(trials, find_frontier(trials))
    assert {name: place["standing"] for name, place in found.items()} == {
        "dense": "dense base", "best": "frontier, certain", "worse": "certainly dominated",
        "close": "within noise", "guess": "guessing", "bad": "failed", "cut": "early stopped",
        "unseen": "no report score", "late": "not ranked",
    }  # fmt: skip
    assert {name for name, place in found.items() if place["frontier"] == "true"} == {
        "dense", "best",
    }  # fmt: skip
    assert found["guess"]["frontier"] == "guessing"
