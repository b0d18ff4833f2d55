"""How sure a place on or below the frontier is: by hand, and against a paired t and a bootstrap."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from helpers.answered import answered, random_tables
from helpers.trials import make_trial
from scipy import stats

from analysis import standing
from analysis.contrasts import all_pairs_factor
from analysis.frontier import find_frontier
from analysis.load import Trial
from analysis.samples import trial_samples
from analysis.standing import Costs, HalfWidths, Paired, standings
from analysis.tables import frontier_table, trial_rows, trials_table
from trainables.evaluation.bootstrap import TaskColumns, interval, resampled_scores
from trainables.records import REPORT_SAMPLES, SEARCH_SAMPLES
from trainables.records.clusters import Floats, image_sums
from trainables.records.score_table import ScoreTable


@dataclass(frozen=True)
class Given(HalfWidths):
    """Half widths pair by pair, as a test writes them down."""

    table: Floats = field(default_factory=lambda: np.zeros((0, 0)))

    def between(self, rows: np.ndarray, columns: np.ndarray) -> Floats:
        return self.table[np.ix_(rows, columns)]


def given(table: Floats) -> Given:
    """These half widths, [N, N]."""
    return Given(np.zeros(len(table)), 0.0, table=table)


def of_pairs(trials: list[Trial], split: str) -> Floats:
    """Every pair's half width, [N, N]."""
    every = np.arange(len(trials))
    return HalfWidths.of(trials, split).between(every, every)


def test_the_rule_on_hand_made_points() -> None:
    #        cheap  front, beats cheap  loser within 5  certain loser  front, 1 above the second
    costs = Costs.exact([1.0, 2.0, 3.0, 3.0, 4.0])
    retentions = [0.5, 0.9, 0.87, 0.7, 0.91]
    front = [True, True, False, False, True]
    halves = np.full((5, 5), 0.05)
    assert standings(costs, retentions, given(halves), front) == [
        "certain", "certain", "within noise", "certainly dominated", "within noise",
    ]  # fmt: skip
    # The last one beats its cheaper neighbour once the questions tell them apart.
    halves[4, 1] = halves[1, 4] = 0.005
    assert (
        standings(costs, retentions, given(halves), front)[4] == "within noise"
    )  # the third: 0.04
    halves[4, 2] = halves[2, 4] = 0.005
    assert standings(costs, retentions, given(halves), front)[4] == "certain"


def test_a_measured_cost_dominates_beyond_its_noise_and_contests_within_it() -> None:
    retentions, front = [0.7, 0.9, 0.5, 0.5], [True, True, False, False]
    values = np.array([1.0, 2.0, 2.2, 2.2])
    apart, same = np.arange(4), np.array([0, 1, 2, 1])
    halves = given(np.full((4, 4), 0.01))

    def words(error: float, architectures: np.ndarray) -> list[str]:
        return standings(Costs(values, np.full(4, error), architectures), retentions, halves, front)

    assert words(0.0, apart) == ["certain", "certain", "certainly dominated", "certainly dominated"]
    # Differences of 0.28 cannot be told; the first is 1.2 cheaper than both losers.
    assert words(0.2, apart) == ["certain", "certain", "certainly dominated", "certainly dominated"]
    # Now neither can be; the second may even be cheaper than the first, which it beats.
    assert words(1.0, apart) == ["within noise", "certain", "within noise", "within noise"]
    # What is built alike costs the same, however it was measured.
    values[3] = 2.0
    assert words(1.0, same)[2:] == ["within noise", "certainly dominated"]


def test_equal_trials_at_the_same_place_are_within_noise() -> None:
    halves = given(np.zeros((2, 2)))
    assert standings(Costs.exact([1, 1]), [0.9, 0.9], halves, [True, True]) == ["within noise"] * 2


def test_a_single_point_is_certain() -> None:
    assert standings(Costs.exact([1.0]), [0.4], given(np.zeros((1, 1))), [True]) == ["certain"]


def by_the_rule(
    cost: np.ndarray, retention: np.ndarray, halves: Floats, front: np.ndarray
) -> list[str]:
    """The definition, pair by pair."""
    words = []
    for p in range(len(cost)):
        rivals = [q for q in range(len(cost)) if q != p and cost[q] <= cost[p]]
        if front[p]:
            sure = all(retention[p] - retention[q] > halves[q, p] for q in rivals)
        else:
            sure = any(retention[q] - retention[p] > halves[q, p] for q in rivals if front[q])
        words.append(
            "within noise" if not sure else "certain" if front[p] else "certainly dominated"
        )
    return words


@pytest.mark.parametrize("paired", [0, 12, 60])
def test_in_blocks_it_is_the_rule(paired: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "BLOCK", 2)
    rng, words = np.random.default_rng(paired), set[str]()
    for _ in range(20):
        cost, retention = rng.integers(1, 15, 60) / 1.0, rng.integers(50, 90, 60) / 100
        errors = rng.choice([0.0, 0.01, 0.03, 0.1], 60)
        place = np.full(60, -1)
        place[rng.permutation(60)[:paired]] = np.arange(paired)
        group = Paired(place, rng.normal(size=(paired, 5)) / 30, 2.0)
        halves = HalfWidths(errors, 1.96, (group,) if paired else ())
        every = np.arange(60)
        front = np.array([
            not any(
                (cost[q] <= cost[p] and retention[q] >= retention[p])
                and (cost[q] < cost[p] or retention[q] > retention[p])
                for q in every
            )
            for p in every
        ])  # fmt: skip
        found = standings(Costs.exact(cost), retention.tolist(), halves, front.tolist())
        assert found == by_the_rule(cost, retention, halves.between(every, every), front)
        words |= set(found)
    assert words == {"certain", "certainly dominated", "within noise"}


def test_pairs_are_compared_question_by_question(tmp_path: Path) -> None:
    tables = random_tables(np.random.default_rng(0))
    sizes = {"best": 6.0, "near": 7.0, "far": 8.0}
    trials = {t.trial_id: t for t in answered(tmp_path, tables, sizes)}
    halves = of_pairs([trials["best"], trials["near"]], "report")  # two: Tukey's is Student's
    # A paired t over images, of the difference of the averages of two tasks.
    differences = [tables["best"].tasks[t].scores - tables["near"].tasks[t].scores for t in "ab"]
    per_image = np.mean(differences, axis=0).reshape(-1, 2).mean(axis=1)
    exact = stats.ttest_1samp(per_image, 0.0).confidence_interval(0.95)
    dense = tables["dense"].average
    assert halves[0, 1] == pytest.approx((exact.high - exact.low) / 2 / dense)
    assert halves[0, 1] == halves[1, 0]
    assert halves[0, 0] == pytest.approx(0.0, abs=1e-8)
    # And a bootstrap of the same pair.
    columns = [
        TaskColumns(s.image_ids, s.weights, np.stack([tables["near"].tasks[t].scores, s.scores]))
        for t, s in tables["best"].tasks.items()
    ]
    draws = resampled_scores(columns, 4000)
    assert draws is not None
    low, high = interval(draws.mean(axis=-1)[:, 1] - draws.mean(axis=-1)[:, 0])
    assert 2 * dense * halves[0, 1] == pytest.approx(high - low, rel=0.06)


@pytest.mark.parametrize("file", [REPORT_SAMPLES, SEARCH_SAMPLES])
def test_a_frontier_says_which_places_are_certain(tmp_path: Path, file: str) -> None:
    tables = random_tables(np.random.default_rng(0))
    trials = answered(tmp_path, tables, {"best": 6.0, "near": 7.0, "far": 8.0}, file)
    front = find_frontier(trials)
    words = {p.trial_id: p.standing for p in (*front.points, *front.dominated)}
    assert [p.trial_id for p in front.points] == ["best", "dense"]
    assert words == {
        "best": "certain",
        "dense": "certain",
        "near": "within noise",
        "far": "certainly dominated",
    }
    assert [p.trial_id for p in front.within_noise] == ["near"]
    text = frontier_table(front).plain()
    assert "Within noise of the frontier: near." in text
    assert text.splitlines()[1].endswith("certain")
    marks = {row[0]: row[9] for row in trials_table(trial_rows(trials, front)).rows}
    assert marks == {"best": "yes", "near": "within noise", "far": "", "dense": "yes"}


def test_without_tables_the_errors_are_taken_as_independent() -> None:
    trials = [make_trial("a", 0.8, se=0.03, weights_mib=6.0), make_trial("b", 0.75, se=0.04)]
    assert of_pairs(trials, "search")[0, 1] == pytest.approx(1.96 * 0.05, rel=1e-4)
    front = find_frontier(trials)
    assert [p.standing for p in front.dominated] == ["within noise"]
    sure = [make_trial("a", 0.8, se=0.01, weights_mib=6.0), make_trial("b", 0.75, se=0.01)]
    assert [p.standing for p in find_frontier(sure).dominated] == ["certainly dominated"]


def test_the_more_rivals_the_wider(tmp_path: Path) -> None:
    """A difference of 0.05 with an error of 0.014 is sure between two, not among twenty."""
    trials = [make_trial("a", 0.80, weights_mib=6.0), make_trial("b", 0.75)]
    others = [make_trial(f"far{i}", 0.3, weights_mib=7.0 + i) for i in range(18)]
    assert of_pairs([*trials, *others], "search")[0, 1] == pytest.approx(
        all_pairs_factor(20, np.inf) * 0.01 * np.sqrt(2)
    )
    words = {p.trial_id: p.standing for p in find_frontier([*trials, *others]).dominated}
    assert words.pop("b") == "within noise"
    assert set(words.values()) == {"certainly dominated"}
    assert [p.standing for p in find_frontier(trials).dominated] == ["certainly dominated"]


def test_tables_of_other_questions_are_not_paired(tmp_path: Path) -> None:
    tables = random_tables(np.random.default_rng(0))
    trials = answered(tmp_path, tables, {"best": 6.0, "near": 7.0, "far": 8.0})
    short = ScoreTable({t: s.take(range(500)) for t, s in tables["near"].tasks.items()})
    short.save(tmp_path / "demo" / "trials" / "near" / REPORT_SAMPLES)
    chosen = [t for t in trials if t.trial_id in ("best", "near")]
    se = [t.retention("report")[1] or 0.0 for t in chosen]
    assert of_pairs(chosen, "report")[0, 1] == pytest.approx(1.96 * np.hypot(*se), rel=1e-4)


def test_samples_are_read_in_one_order(tmp_path: Path) -> None:
    tables = random_tables(np.random.default_rng(0))
    trials = answered(tmp_path, tables, {"best": 6.0, "near": 7.0, "far": 8.0})
    mixed = ScoreTable({t: tables["far"].tasks[t].take(range(599, -1, -1)) for t in ("b", "a")})
    mixed.save(tmp_path / "demo" / "trials" / "far" / REPORT_SAMPLES)
    first, second = (trial_samples(t, "report") for t in trials if t.trial_id in ("best", "far"))
    assert first is not None
    assert second is not None
    assert first.same_questions(second)
    _, sums = image_sums(second.images, second.influences)
    assert sums.shape == (300,)
    assert sums.sum() == pytest.approx(0.0, abs=1e-9)
    assert trial_samples(trials[0], "search") is None


def test_of_equal_models_hardly_a_sweep_calls_one_sure() -> None:
    """Pair by pair 85 % did; `tests/benchmarks/statistics.py` does it with questions and images."""
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(100):
        values = 0.9 + 0.01 * rng.normal(size=21)
        front = find_frontier([
            make_trial(f"t{i}", float(v), weights_mib=1.0 + i) for i, v in enumerate(values)
        ])  # fmt: skip
        sure = [p for p in (*front.points, *front.dominated) if p.standing != "within noise"]
        wrong += {p.trial_id for p in sure} != {"t0"}  # the cheapest has nobody to beat
    assert wrong <= 5
