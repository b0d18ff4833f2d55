"""Frontiers and hypervolumes worked out by hand; which trials compete, and on which split."""

import itertools
import math
import random
from dataclasses import replace

import pytest
from helpers.trials import make_dense, make_trial

from analysis.draw.looks import GUESSING, groups
from analysis.frontier import CANDIDATE_AXES, find_frontier, ranking_split, report_candidates
from analysis.hypervolume import reference_point
from analysis.load import Trial, trial_of
from analysis.points import Point, point_of
from analysis.tables import caption, trial_rows


def ids(points: object) -> list[str]:
    return [p.trial_id for p in points]  # type: ignore[attr-defined]


def small() -> list:
    """Sizes 4, 6, 8, 10 of 16 MiB; `c` (8 MiB) is dominated by `b` (6 MiB)."""
    return [
        make_trial("a", 0.5, weights_mib=4.0),
        make_trial("b", 0.8, weights_mib=6.0),
        make_trial("c", 0.7, weights_mib=8.0),
        make_trial("d", 0.9, weights_mib=10.0),
        make_dense(),
    ]


def test_frontier_and_hypervolume_by_hand() -> None:
    front = find_frontier(small())
    assert ids(front.points) == ["a", "b", "d", "dense"]
    assert ids(front.dominated) == ["c"]
    assert front.reference is not None
    assert (front.reference.x, front.reference.retention) == (16.0, 0.0)
    # (6 - 4) * 0.5 + (10 - 6) * 0.8 + (16 - 10) * 0.9 = 9.6; the box is 16 * 1
    assert front.hypervolume == pytest.approx(9.6)
    assert front.hypervolume_share == pytest.approx(0.6)
    assert front.chance_retention == pytest.approx(24 / 96)


@pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[::5])
def test_order_of_the_trials_does_not_matter(order: tuple[int, ...]) -> None:
    trials = small()
    shuffled = [trials[i] for i in order] + trials[4:]
    assert find_frontier(shuffled) == find_frontier(trials)


def untrained(trial: Trial) -> Trial:
    return replace(trial, record=trial.record.model_copy(update={"kept": "untrained"}))


def test_a_model_that_needs_no_recovery_costs_none() -> None:
    kept = trial_of(untrained(make_trial("a", 0.8, weights_mib=6.0, recovery_tflops=9.0)).record)
    found = find_frontier([kept, make_trial("b", 0.9, recovery_tflops=5.0)], "recovery_tflops")
    assert [(p.trial_id, p.recovery_tflops) for p in found.points] == [("a", 0.0), ("b", 5.0)]
    assert "need no recovery (0 TFLOPs), whatever was tried: a." in caption(found)


def test_one_untrained_student_stands_once() -> None:
    one = untrained(make_trial("a", 0.8, weights_mib=6.0))
    same = untrained(make_trial("b", 0.8, weights_mib=6.0))
    int8 = untrained(make_trial("c", 0.8, weights_mib=6.0, quantization="llm_int8"))
    trained = make_trial("d", 0.8, weights_mib=6.0)
    front = find_frontier([one, same, int8, trained])
    assert ids(front.points) == ["a", "c", "d"]
    assert ids(front.unranked) == ["b"]
    bare = make_trial("e", 0.8, weights_mib=6.0, scope="none")
    front = find_frontier([one, same, bare])
    assert ids(front.points) == ["e"]
    assert [t.trial_id for t in report_candidates([one, same, bare])] == ["e"]


def test_equal_points_all_stay_and_weakly_dominated_ones_go() -> None:
    trials = [
        make_trial("z", 0.8, weights_mib=6.0),
        make_trial("y", 0.8, weights_mib=6.0),
        make_trial("same_size_worse", 0.7, weights_mib=6.0),
        make_trial("same_score_larger", 0.8, weights_mib=7.0),
    ]
    front = find_frontier(trials)
    assert ids(front.points) == ["y", "z"]
    assert ids(front.dominated) == ["same_size_worse", "same_score_larger"]


def test_only_completed_trials_compete() -> None:
    trials = [
        make_trial("ok", 0.5),
        make_trial("stopped", 0.99, status="early_stopped"),
        make_trial("failed", status="failed"),
        make_trial("unscored", None),
    ]
    front = find_frontier(trials)
    assert ids(front.points) == ["ok"]
    assert not front.dominated
    assert not front.unranked


def test_without_a_dense_base_there_is_no_reference_point() -> None:
    front = find_frontier([make_trial("a")])
    assert front.reference is None
    assert front.hypervolume is None


def test_no_trials_at_all() -> None:
    front = find_frontier([])
    assert front.points == ()
    assert front.split == "search"


def test_report_scores_rank_alone_once_there_are_any() -> None:
    trials = [
        make_trial("a", 0.80, weights_mib=6.0, report=0.75),
        make_trial("b", 0.82, weights_mib=8.0, report=0.74),  # better by luck on the search split
        make_trial("c", 0.99, weights_mib=9.0),  # flattered, never checked
        make_dense(report=1.0),
    ]
    front = find_frontier(trials)
    assert front.split == "report"
    assert ids(front.points) == ["a", "dense"]
    assert front.points[0].retention == 0.75
    assert front.points[0].search_retention == 0.80
    assert ids(front.dominated) == ["b"]
    assert ids(front.unranked) == ["c"]
    assert front.awaiting_report == ("c",)
    assert ids(find_frontier(trials, split="search").points) == ["a", "b", "c", "dense"]


def test_a_report_of_the_dense_base_alone_does_not_empty_the_frontier() -> None:
    trials = [make_trial("a", 0.8), make_dense(report=1.0)]
    assert ranking_split(trials) == "search"
    assert ids(find_frontier(trials).points) == ["a", "dense"]


def test_a_small_unpruned_model_can_dominate() -> None:
    stock = make_trial("stock", 0.95, weights_mib=5.0, origin="reference", method="layerwise")
    front = find_frontier([*small(), stock])
    assert ids(front.points) == ["a", "stock", "dense"]
    assert [p.origin for p in front.points] == ["designed", "reference", "reference"]
    # The reference dominates, but the hypervolume remains that of the sweep's own trials.
    assert front.hypervolume == pytest.approx(9.6)


def test_recovery_axis_leaves_unpruned_models_out_and_has_a_round_corner() -> None:
    trials = [
        make_trial("free", 0.6, scope="none"),
        make_trial("cheap", 0.8, recovery_tflops=3.0),
        make_trial("dear", 0.9, recovery_tflops=13.0),
        make_dense(),
    ]
    front = find_frontier(trials, "recovery_tflops")
    assert ids(front.points) == ["free", "cheap", "dear"]
    assert ids(front.unranked) == ["dense"]
    assert front.reference is not None
    assert front.reference.x == 20.0  # 13 rounded up to 2 x 10
    # 3 * 0.6 + 10 * 0.8 + 7 * 0.9
    assert front.hypervolume == pytest.approx(16.1)


@pytest.mark.parametrize(("cost", "corner"), [(0.0013, 0.002), (0.5, 0.5), (7.0, 10.0), (51, 100)])
def test_recovery_corner_is_rounded_up(cost: float, corner: float) -> None:
    point = reference_point([make_trial("a", recovery_tflops=cost)], "recovery_tflops")
    assert point is not None
    assert point.x == pytest.approx(corner)


def test_latency_frontier_names_its_device_and_refuses_two() -> None:
    cpu = make_trial("a", 0.8, report=0.8, latency_ms=20.0)
    dense = make_dense(report=1.0, latency_ms=40.0)
    front = find_frontier([cpu, dense], "latency_ms")
    assert front.device == "cpu"
    assert front.hypervolume == pytest.approx(20 * 0.8)
    other = make_trial("b", 0.7, report=0.7, latency_ms=5.0, device="NVIDIA H200")
    with pytest.raises(ValueError, match=r"2 devices \(NVIDIA H200: b; cpu: a, dense\)"):
        find_frontier([cpu, other, dense], "latency_ms")
    assert ids(find_frontier([cpu, other, dense]).points) == ["a", "dense"]


def test_unmeasured_latency_does_not_compete() -> None:
    assert find_frontier([make_trial("a", 0.8)], "latency_ms").points == ()


def test_unknown_axis() -> None:
    with pytest.raises(ValueError, match="did you mean 'tflops'"):
        find_frontier([], "flops")


def test_candidates_are_the_search_frontiers_and_near_misses() -> None:
    same = {"recovery_tflops": 5.0, "tflops": 1.0}
    trials = [
        make_trial("best", 0.90, weights_mib=6.0, **same),
        make_trial("near", 0.89, weights_mib=6.0, **same),  # 0.01 below; se of difference 0.0141
        make_trial("far", 0.80, weights_mib=6.0, **same),
        make_trial("cheap", 0.50, weights_mib=6.0, scope="none", tflops=1.0),
        make_dense(),
    ]
    assert [t.trial_id for t in report_candidates(trials)] == ["best", "cheap", "near"]
    assert [t.trial_id for t in report_candidates(trials, slack_se=0.0)] == ["best", "cheap"]
    assert [t.trial_id for t in report_candidates(trials)][:1] == ["best"]


def test_candidates_are_those_that_no_trial_at_all_beats() -> None:
    """Only the strongest are compared against, which changes nothing."""
    rng = random.Random(0)
    trials = [
        make_trial(
            f"t{i}",
            rng.randint(50, 90) / 100,
            weights_mib=float(rng.randint(1, 9)),
            tflops=float(rng.randint(1, 9)),
            recovery_tflops=float(rng.randint(1, 9)),
            se=rng.choice([None, 0.01, 0.05]),
        )
        for i in range(60)
    ]
    points = [p for t in trials if (p := point_of(t, "search"))]

    def beaten(p: Point, x: str) -> bool:
        for q in points:
            error = math.hypot(p.retention_se or 0.0, q.retention_se or 0.0)
            cheaper, ahead = p.cost(x) - q.cost(x), q.retention - p.retention
            if (cheaper > 0 or ahead > 0) and cheaper >= 0 and q.retention >= p.retention + error:
                return True
        return False

    expected = {p.trial_id for p in points if any(not beaten(p, x) for x in CANDIDATE_AXES)}
    assert {t.trial_id for t in report_candidates(trials)} == expected
    assert 10 < len(expected) < 60


def test_repeats_with_other_seeds_do_not_compete() -> None:
    """The luckiest of three seeds would stand for its configuration."""
    lucky = make_trial("lucky", 0.99, origin="confirm", seed=1, report=0.99)
    trials = [make_trial("a", 0.8), lucky, make_dense()]
    front = find_frontier(trials)
    assert (front.split, ids(front.points)) == ("search", ["a", "dense"])
    assert ids(front.unranked) == []
    assert [t.trial_id for t in report_candidates(trials)] == ["a"]


def test_no_better_than_guessing_is_no_point_of_the_frontier_but_is_named() -> None:
    # Chance averages 24 and 1.645 standard errors of 0.7 are 1.15: 25.15 of the dense 96 is 0.262.
    zero, guess, better = (
        make_trial(name, retention, weights_mib=mib)
        for name, retention, mib in (("zero", 0.0, 1.0), ("guess", 0.26, 2.0), ("more", 0.265, 3.0))
    )
    trials = [zero, guess, better, *small()]
    front = find_frontier(trials)
    assert ids(front.points) == ["more", "a", "b", "d", "dense"]
    assert ids(front.guessing) == ["zero", "guess"]
    assert not {"zero", "guess"} & set(ids(report_candidates(trials)))
    assert "no point of the frontier: zero (0.0), guess (25.0)" in caption(front)
    marks = {row.trial_id: row.frontier for row in trial_rows(trials, front)}
    assert (marks["zero"], marks["more"], marks["c"]) == ("guessing", "yes", "")
    assert {g.state for g in groups(front) if "zero" in ids(g.points)} == {GUESSING}
    own = 9.6 + (4.0 - 3.0) * 0.265  # of `small`, and of what `more` adds
    assert front.hypervolume == pytest.approx(own)


def test_what_guesses_on_the_report_split_awaits_none() -> None:
    lucky = make_trial("lucky", 0.5, weights_mib=2.0, report=0.2)
    front = find_frontier([lucky, make_trial("a", 0.8, weights_mib=6.0, report=0.8)])
    assert (ids(front.points), ids(front.guessing)) == (["a"], ["lucky"])
    assert front.awaiting_report == ()


def test_without_chance_levels_only_what_scores_nothing_is_guessing() -> None:
    def unknown(trial: Trial) -> Trial:
        scores = trial.record.evaluation
        assert scores is not None
        tasks = {n: t.model_copy(update={"chance": None}) for n, t in scores.tasks.items()}
        evaluation = scores.model_copy(update={"tasks": tasks})
        return replace(trial, record=trial.record.model_copy(update={"evaluation": evaluation}))

    trials = [unknown(make_trial("zero", 0.0)), unknown(make_trial("little", 0.05))]
    front = find_frontier(trials)
    assert (ids(front.points), ids(front.guessing)) == (["little"], ["zero"])
