"""Learning from earlier sweeps: what it brings, that a misleading one costs little, bad names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sweeps.engine.search.sources import load_sources
from sweeps.engine.simulate.clock import simulate
from sweeps.engine.simulate.features import Rows
from sweeps.engine.simulate.found import follow
from sweeps.engine.simulate.objective import Analytic, Curves
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.ledger import Ledger
from sweeps.engine.spec.loading import BadInputError, load_sweep

PLAIN = ["designed=[]", "priors=false", "startup_samples=2"]
SEEDS = (0, 1, 2)


class Reversed(Analytic):
    """What is good in the one is bad in the other; costs are the same."""

    def curves(self, rows: Rows) -> Curves:
        found = super().curves(rows)
        return Curves(1.0 - found.retention, found.tflops, found.seconds)


def _sweep(name: str, *changes: str) -> SweepSpec:
    return load_sweep("quickstart", [f"name={name}", *PLAIN, *changes])


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage with a related and a misleading sweep, both of ratios that no other test has."""
    folder = tmp_path_factory.mktemp("storage")
    for name, objective in (("related", Analytic()), ("misleading", Reversed())):
        sweep = _sweep(name, "samples=120", "strata.ratio=[0.2, 0.35, 0.5]", "seed=100")
        assert len(list(simulate(sweep, objective, folder, 1))) > 120
    return folder


def _trials_to_half(storage: Path, source: str | None) -> int:
    """Trials until half of the attainable hypervolume, summed over seeds; at most 80 for each."""
    expected = {None: range(1), "related": range(21, 81), "misleading": range(15)}
    total = 0
    for seed in SEEDS:
        learn = f"learn_from=[{source}]" if source else "learn_from=[]"
        sweep = _sweep(f"{source}-{seed}", "samples=80", f"seed={seed}", learn)
        found = follow(sweep, Analytic(), 1, simulate(sweep, Analytic(), storage, 1))
        total += found.reached["0.50"].trials
        drawn = [r.drawn for r in Ledger(storage, sweep.name).requests().values() if r.drawn]
        assert drawn.count("source") in expected[source]
    return total


@pytest.mark.slow
def test_a_related_sweep_halves_the_trials_and_a_misleading_one_costs_little(storage: Path) -> None:
    alone = _trials_to_half(storage, None)
    assert _trials_to_half(storage, "related") <= alone / 2
    assert _trials_to_half(storage, "misleading") <= 1.15 * alone


def test_the_same_ledgers_give_the_same_trials(storage: Path, tmp_path: Path) -> None:
    keys = []
    for name in ("a", "b"):
        folder = tmp_path / name
        sweep = _sweep("own", "samples=12", f"learn_from=[{storage / 'related'}]")
        list(simulate(sweep, Analytic(), folder, 1))
        keys.append([r.key for r in Ledger(folder, "own").requests().values()])
    assert keys[0] == keys[1]


def test_a_source_is_read_as_points_of_today(storage: Path) -> None:
    """Gone factors are dropped, and trials with what is not offered any more are left out."""
    (source,) = load_sources(_sweep("own", "learn_from=[related]"), storage)
    assert len(source.observations) == 120
    fewer = ['choices.scope=["joint"]', "choices.data_fraction=[0.05]", "learn_from=[related]"]
    (less,) = load_sources(_sweep("own", *fewer), storage)
    assert 0 < len(less.observations) < 60
    assert {o.params["scope"] for o in less.observations} == {"joint"}
    assert {o.cell["source"] for o in less.observations} == {"related"}
    other = _sweep("own", "space=loss_coefficients", "learn_from=[related]", "choices={}")
    (found,) = load_sources(other, storage)
    assert {name for o in found.observations for name in o.params} <= {
        "terms", "log2_hidden", "log2_logits",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["learn_from=[relatd]"], r"'relatd' is not a known sweep in .*Did you mean 'related'"),
        (["learn_from=[related]", "name=related"], r"'related' is this sweep itself"),
        (
            ["learn_from=[related]", "space=calibration", "choices={}"],
            r"no completed trial with a factor in common: it has .*scope.*, and this sweep "
            r"searches calibration_samples, calibration_seed",
        ),
    ],
)
def test_what_cannot_be_learned_from(storage: Path, changes: list[Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message) as caught:
        load_sources(_sweep("own", *changes), storage)
    assert "\n" not in str(caught.value)
