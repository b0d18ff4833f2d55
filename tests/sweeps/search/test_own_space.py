"""Spaces of the user's own, and any field of the trial as a factor."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.agendas import finish

from analysis.frontier import Frontier
from analysis.load import load_trials
from analysis.output.frontier_files import frontier_csv
from analysis.points import point_of
from search_spaces.suggesters import PointTrial
from sweeps.engine.plan.preflight import check_sweep
from sweeps.engine.search.agenda import Agenda
from sweeps.engine.search.fixed_points import resolve_point
from sweeps.engine.search.space_checks import check_same_space
from sweeps.engine.show.overview import sweep_status
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.ledger import Ledger
from sweeps.engine.spec.loading import BadInputError, load_sweep
from sweeps.engine.track.run_values import trial_metrics, trial_params
from trainables.models.families.registry import language_shape
from trainables.specs import LossSpec, TrialSpec

SPACE = """
def mine(trial, cell, base):
    where = trial.suggest_categorical("where", tuple(LINEARS))
    return {
        "pruning.method": trial.suggest_categorical("how", ("layerwise", "widthwise")),
        "pruning.ratio": 0.3,
        "recovery.scope": "joint",
        "recovery.lora_targets": LINEARS[where],
        "recovery.weight_decay": trial.suggest_float("decay", 0.0, 0.2),
        "recovery.lora_rank": trial.suggest_int("rank", 2, 32, log=True),
    }
"""
SWEEP = """
from linears import LINEARS
from sweeps.engine.spec import SweepSpec
{space}
sweep = SweepSpec(
    name="own", question="?", space=mine, strata={{"where": ("few", "all")}},
    choices={{"recovery.warmup_fraction": (0.1, 0.03)}}, ranges={{"recovery.clip_norm": (0.5, 8)}},
    designed=({{"where": "all", "decay": 0.1}},), priors=False, samples=6, startup_samples=2,
)
"""
LINEARS = 'LINEARS = {"few": ("q_proj",), "all": ("q_proj", "v_proj")}\n'
Make = Callable[..., tuple[Agenda, Ledger]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A sweep file that defines its space and imports a neighbour."""
    return write(tmp_path / "own.py")


def write(path: Path, space: str = SPACE, linears: str = LINEARS) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.with_name("linears.py").write_text(linears)
    path.write_text(SWEEP.format(space=space))
    return path


def run(agenda: Agenda) -> list[Any]:
    """Run every trial; the closing pass is not begun."""
    jobs = []
    while isinstance(found := agenda.next(), tuple) and found[1].kind == "trial":
        jobs.append(found[1])
        finish(found[1])
        agenda.ended(found[0])
    return jobs


def test_the_trials_of_an_own_space(file: Path, make_agenda: Make) -> None:
    sweep = load_sweep(str(file))
    shape = check_sweep(sweep)
    cell, params, spec = resolve_point(sweep, sweep.designed[0])
    assert cell == {"where": "all"}
    assert spec.recovery.lora_targets == ("q_proj", "v_proj")
    assert spec.recovery.weight_decay == 0.1
    # Fields that a point does not name are the base's, where they are offered.
    assert (params["recovery.warmup_fraction"], params["recovery.clip_norm"]) == (0.03, 1.0)
    agenda, ledger = make_agenda(sweep)
    run(agenda)
    requests = [r for r in ledger.requests().values() if r.origin == "sampler"]
    assert [r.cell["where"] for r in requests].count("few") == 3
    assert {r.drawn for r in requests} == {"startup", "model"}
    for request in requests:
        recovery = request.spec.recovery
        assert recovery.weight_decay == request.params["decay"] <= 0.2
        assert 2 <= recovery.lora_rank == request.params["rank"] <= 32
        assert recovery.clip_norm == request.params["recovery.clip_norm"]
        assert recovery.warmup_fraction == request.params["recovery.warmup_fraction"]
    assert len({request.key for request in requests}) == 6
    check_same_space(sweep, ledger, shape)


def test_its_factors_are_shown_everywhere(file: Path, make_agenda: Make) -> None:
    agenda, ledger = make_agenda(load_sweep(str(file)))
    run(agenda)
    trials = load_trials(ledger.folder)
    (trial,) = (t for t in trials if t.record.origin == "designed")
    own = {"where": "all", "decay": 0.1, "rank": 8, "how": "layerwise",
           "recovery.warmup_fraction": 0.03, "recovery.clip_norm": 1.0}  # fmt: skip
    assert trial.record.factors == own
    assert "where=all" in trial.label
    assert "clip_norm=1" in trial.label
    assert "warmup_fraction" not in trial.label, "it is what it is by default"
    params = {p.key: p.value for p in trial_params(trial)}
    assert params["factor/where"] == "all"
    assert {m.key: m.value for m in trial_metrics(trial)}["factor/decay"] == 0.1
    point = point_of(trial, "search")
    assert point is not None
    front = Frontier(sweep="own", x="weights_mib", split="search", points=(point,))
    (row,) = csv.DictReader(frontier_csv(front).splitlines())
    assert (row["factor/where"], row["factor/decay"]) == ("all", "0.1")
    assert "factors" not in row
    status = sweep_status(ledger, whole=True)
    assert any("where=all" in row.label for row in status["rows"])


def test_another_process_reads_the_sweep_and_goes_on(file: Path, make_agenda: Make) -> None:
    sweep = load_sweep(str(file))
    _, ledger = make_agenda(sweep)
    code = (
        "import sys; from pathlib import Path\n"
        "from sweeps.engine.search.rerun import last_sweep\n"
        "from sweeps.engine.search.fixed_points import resolve_point\n"
        "from sweeps.engine.spec.ledger import Ledger\n"
        "sweep = last_sweep(Ledger(Path(sys.argv[1]), 'own'))\n"
        "print(resolve_point(sweep, sweep.designed[0])[2].recovery.lora_targets)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(ledger.storage)], capture_output=True, text=True,
        cwd="/", env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "('q_proj', 'v_proj')", done.stderr
    file.unlink()  # what has run is read without it
    assert sweep_status(ledger, whole=True)["sweep"] == "own"
    assert json.loads((ledger.folder / "sweep.json").read_text())["space"] == f"{file}:mine"


@pytest.mark.parametrize(
    ("space", "linears", "why"),
    [
        (SPACE.replace('"decay", 0.0', '"decay", 0.01'), LINEARS, None),  # it is outside now
        (SPACE.replace("0.3", "0.30"), "# said otherwise\n" + LINEARS, None),
        (SPACE.replace("0.3", "0.4"), LINEARS, "pruning.ratio: 0.3 -> 0.4"),
        (SPACE, LINEARS.replace('"v_proj"', '"k_proj"'), "lora_targets: .*v_proj.* -> .*k_proj"),
    ],
    ids=["another range", "the same in other words", "another ratio", "a changed neighbour"],
)
def test_a_function_that_makes_other_trials_is_refused(
    file: Path, make_agenda: Make, space: str, linears: str, why: str | None
) -> None:
    sweep = load_sweep(str(file))
    agenda, ledger = make_agenda(sweep)
    run(agenda)
    later = load_sweep(str(write(file, space, linears)))
    shape = language_shape(later.trial.model)
    if why is None:
        return check_same_space(later, ledger, shape)
    with pytest.raises(BadInputError, match=f"makes another trial of .*{why}.*another name"):
        check_same_space(later, ledger, shape)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return 3", r"own.py:mine returned 3; it must return a TrialSpec, or a dict"),
        ("return None", "returned None; it must return"),
        ("1 / 0", r"own.py:mine raised ZeroDivisionError.*own.py, line 6"),
        ("return {'recovery.weigth_decay': 1}", "Did you mean 'recovery.weight_decay'"),
        ("return {'recovery.weight_decay': -1}", "weight_decay=-1: .*greater than or equal to 0"),
        ("return base.model_copy(update={'workers': 0})", "workers=0"),
        ("return {'evaluation.search_limit': 5}", "changed evaluation .*compared by the same"),
        ("return {'model.path': 'other'}", "changed model .*of one dense model"),
        ("trial.suggest_float('a+b', 0, 1); return base", "'a\\+b' .*MLflow"),
        ("import absent; return base", "No module named 'absent'"),
    ],
)
def test_a_function_that_makes_no_trials_is_refused(
    tmp_path: Path, body: str, message: str
) -> None:
    given = (
        f"def mine(trial, cell, base):\n    trial.suggest_categorical('where', (1,))\n    {body}"
    )
    sweep = load_sweep(str(write(tmp_path / "own.py", given)))
    with pytest.raises(BadInputError, match=message):
        check_sweep(sweep)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("strata.wher=[few]", "'wher' is not a known factor of own.py: mine.*'where'"),
        ("choices.dcay=[0.1]", "'dcay' is not .* Did you mean 'decay'"),
        ("space=absent.py:mine", "there is no file .*absent.py"),
        ("space=frontierr", "Did you mean 'frontier'"),
    ],
)
def test_what_the_space_does_not_ask_is_refused(file: Path, setting: str, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        check_sweep(load_sweep(str(file), ["designed=[]", setting]))


def test_a_function_that_is_not_there(file: Path) -> None:
    sweep = load_sweep(str(file), [f"space={file}:mne", "designed=[]"])
    with pytest.raises(BadInputError, match=r"no function mne \(did you mean 'mine'\?\)"):
        check_sweep(sweep)


def test_a_function_that_no_other_process_finds() -> None:
    with pytest.raises(ValueError, match="by `def` at the top of a file"):
        SweepSpec(name="s", question="?", space=lambda trial, cell, base: base)


@pytest.mark.parametrize(
    ("linears", "message"),
    [
        ("LINEARS = (\n", r"linears.py, line 1: .*never closed"),
        ("1 / 0\n", r"own.py, line 2 \(linears.py, line 1\): ZeroDivisionError"),
        ("raise SystemExit(3)\n", r"own.py, line 2 \(linears.py, line 1\): SystemExit: 3"),
    ],
)
def test_a_neighbour_that_does_not_run(tmp_path: Path, linears: str, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        load_sweep(str(write(tmp_path / "own.py", linears=linears)))


def test_a_neighbour_that_is_not_there(file: Path) -> None:
    file.write_text(file.read_text().replace("from linears", "from linear"))
    with pytest.raises(BadInputError, match=r"'linear' \(did you mean 'linears'\?\)"):
        load_sweep(str(file))


def test_neighbours_of_one_name_stay_apart(tmp_path: Path) -> None:
    one = load_sweep(str(write(tmp_path / "a" / "own.py")))
    other = LINEARS.replace("v_proj", "k_proj")
    two = load_sweep(str(write(tmp_path / "b" / "own.py", linears=other)))
    made = [
        sweep.search_space.build(PointTrial({}), {"where": "all"}, sweep.trial)
        for sweep in (one, two, one)
    ]
    last = [spec.recovery.lora_targets[-1] for spec in made if spec.recovery.lora_targets]
    assert last == ["v_proj", "k_proj", "v_proj"]
    assert "linears" not in sys.modules


def test_any_field_is_a_factor_of_a_shipped_space(
    small_sweep: Callable[..., SweepSpec], make_agenda: Make
) -> None:
    sweep = small_sweep(
        strata={"ratio": (0.3,), "recovery.loss.temperature": (1, 4)},
        choices={"scope": ("joint",), "recovery.lora_dropout": (0.0, 0.1)},
        ranges={"recovery.weight_decay": (0.001, 0.1)},
        designed=({"ratio": 0.3, "recovery.loss.temperature": 4, "scope": "joint"},),
        priors=False,
    )
    check_sweep(sweep)
    agenda, ledger = make_agenda(sweep)
    run(agenda)
    sampled = [r for r in ledger.requests().values() if r.origin == "sampler"]
    assert len(sampled) == sweep.samples
    for request in sampled:
        recovery = request.spec.recovery
        assert recovery.loss.temperature == request.cell["recovery.loss.temperature"]
        assert recovery.lora_dropout == request.params["recovery.lora_dropout"]
        assert 0.001 <= recovery.weight_decay <= 0.1
    distribution = sweep.search_space
    point = PointTrial({})
    distribution.build(point, sweep.cells[0], sweep.base_trial)
    assert point.distributions["recovery.weight_decay"].log  # over a factor of ten


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"choices": {"recovery.weigth_decay": (0,)}}, "did you mean 'recovery.weight_decay'"),
        ({"choices": {"recovery.weight_decay": (0, -1)}}, "recovery.weight_decay=-1: .*greater"),
        ({"choices": {"recovery.lora_targets": (("q",),)}}, "a level is a number"),
        ({"choices": {"recovery.loss": ("ce",)}}, "holds several fields; name one: .*temperature"),
        ({"choices": {"data.workers": (0, 1)}}, "data.workers can be no factor: .*no result"),
        ({"choices": {"evaluation.search_limit": (9,)}}, "by the same scores"),
        ({"choices": {"recovery.lora_rank": (4, 8)}}, "the space's own factor 'lora_rank'"),
        ({"ranges": {"recovery.loss.hidden_tokens": (0, 1)}}, "is no number"),
        ({"ranges": {"recovery.weight_decay": (-1, 1)}}, "recovery.weight_decay=-1"),
    ],
)
def test_fields_that_cannot_be_factors(
    small_sweep: Callable[..., SweepSpec], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        small_sweep(**changes)


def test_levels_that_contradict_the_rest_are_refused_before_anything_runs(
    small_sweep: Callable[..., SweepSpec],
) -> None:
    taught = small_sweep().trial.recovery.model_copy(update={"loss": LossSpec(alpha=1, gamma=1)})
    sweep = small_sweep(
        trial=TrialSpec(recovery=taught),
        choices={"terms": ("ce+l2",), "recovery.teacher.form": ("hidden", "top_k")},
    )
    with pytest.raises(BadInputError, match=r"no trial can have .*form=top_k here"):
        check_sweep(sweep)
