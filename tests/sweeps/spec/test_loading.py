"""Finding sweeps, overriding them, and saying where a sweep file is wrong."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from pydantic import ValidationError

from sweeps.engine.plan.planning import plan_sweep
from sweeps.engine.search.fixed_points import fixed_points
from sweeps.engine.spec import RungSpec
from sweeps.engine.spec.ledger import Ledger
from sweeps.engine.spec.loading import BadInputError, apply_overrides, load_sweep, shipped_sweeps
from trainables.specs import ModelSpec, SizeTarget
from trainables.trial.jobs import TrialJob

GOOD = """
from sweeps.engine.spec import SweepSpec
sweep = SweepSpec(name="mine", question="?", strata={"ratio": (0.3,)})
"""


@pytest.mark.parametrize("name", sorted(shipped_sweeps()))
def test_every_shipped_sweep_plans(name: str, tmp_path: Path) -> None:
    sweep = load_sweep(name)
    assert sweep.name == name
    plan = plan_sweep(sweep, Ledger(tmp_path, name))
    assert plan.total == len(plan.trials) + sweep.samples + plan.confirmed
    assert plan.sizes
    assert len(Path(shipped_sweeps()[name]).read_text().splitlines()) <= 60


def test_a_recovery_preset_is_that_of_the_models_family() -> None:
    preset = "trial.recovery.preset=study"
    grid = load_sweep("published_grid")
    rows = {
        "llava-hf/llava-1.5-7b-hf": (128, 2e-5),
        "BAAI/Bunny-v1_0-3B": (64, 5e-5),
        "OpenGVLab/Mini-InternVL-Chat-4B-V1-5": (16, 4e-5),
    }
    for model, settings in rows.items():
        sweep = apply_overrides(grid, [f"trial.model.path={model}", preset])
        recoveries = [
            spec.recovery for origin, *_, spec in fixed_points(sweep) if origin == "designed"
        ]
        assert {
            (r.lora_rank, r.resolved_learning_rate) for r in recoveries if r.scope == "joint"
        } == {settings}
        taught = [r.loss for r in recoveries if r.loss.beta]
        assert taught
        assert {loss.logits_per for loss in taught} == {"sample"}
        assert {r.preset for r in recoveries} == {None}
    other = apply_overrides(grid, ["trial.model.path=Qwen/Qwen2-VL-2B-Instruct"])
    with pytest.raises(ValueError, match="but the model is a qwen2-vl"):
        _ = other.base_trial


@pytest.mark.parametrize(
    "name", [name for name in sorted(shipped_sweeps()) if "llava_7b" in name or "_frontier" in name]
)
def test_large_models_are_searched_where_the_study_weighs(name: str) -> None:
    """Its KL over all positions, per token: as heavy as a sample is long (576 are of the image)."""
    sweep, found = load_sweep(name), []
    for cell in sweep.cells:
        for point, _ in sweep.search_space.branches(cell, sweep.base_trial):
            found += [d for n, d in point.distributions.items() if n == "log2_logits"]
    assert found
    assert all(d._contains(math.log2(positions)) for d in found for positions in (600, 1000, 2048))


def test_ranges_that_are_none_are_refused() -> None:
    for text, message in (
        ("ranges.log2_logit=[0,1]", "'log2_logits'"),
        ("ranges.log2_logits=[1,0]", "must be rising"),
        ("ranges.lr_scale=[0,1]", "rising, and a scale above 0"),
    ):
        with pytest.raises(BadInputError, match=message):
            load_sweep("quickstart", [text])
    assert load_sweep("quickstart", ["ranges.log2_logits=[-1,10]"]).ranges["log2_logits"] == (
        -1,
        10,
    )


def test_a_job_says_its_recovery(tmp_path: Path) -> None:
    spec = load_sweep("published_grid").trial
    with pytest.raises(ValidationError, match="depend on the model's family"):
        TrialJob(
            trial_id="t", sweep="s", origin="designed", spec=spec, folder=tmp_path, store=tmp_path
        )


def test_a_sweep_file_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(GOOD)
    assert load_sweep(str(path)).name == "mine"


def test_a_sweep_file_finds_its_neighbours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    neighbour = "str(Path(__file__).with_name('mix.json'))"
    Path("near.py").write_text(
        "from pathlib import Path\nfrom sweeps.engine.spec import SweepSpec\n"
        "from trainables.specs import DataSpec, TrialSpec\n"
        f"trial = TrialSpec(data=DataSpec(conversations={neighbour}))\n"
        "sweep = SweepSpec(name='near', question='?', trial=trial)\n"
    )
    assert load_sweep("near.py").trial.data.conversations == str(tmp_path / "mix.json")


def test_overrides_reach_nested_values() -> None:
    sweep = load_sweep(
        "quickstart",
        ["samples=3", "trial.recovery.budget.steps=7", "trial.seeds.train=5", "priors=false",
         "strata.ratio=[0.3]", "trial.recovery.loss.beta=0.5"],
    )  # fmt: skip
    assert sweep.samples == 3
    assert sweep.trial.recovery.budget.steps == 7
    assert sweep.trial.recovery.budget.epochs is None
    assert sweep.trial.seeds.train == 5
    assert not sweep.priors
    assert sweep.strata["ratio"] == (0.3,)
    assert sweep.trial.recovery.loss.beta == 0.5


def test_on_and_off_are_words() -> None:
    sweep = load_sweep(
        "quickstart",
        ["trial.recovery.gradient_checkpointing=on"],
    )
    assert sweep.trial.recovery.gradient_checkpointing == "on"
    sweep = load_sweep("quickstart", ["trial.recovery.gradient_checkpointing=off"])
    assert sweep.trial.recovery.gradient_checkpointing == "off"


def test_overrides_reach_into_what_is_not_set_yet() -> None:
    sweep = load_sweep(
        "quickstart",
        ["trial.pruning.size.weights_mib=6", "trial.recovery.teacher.model.path=tiny",
         "rungs.min_trials=4"],
    )  # fmt: skip
    assert sweep.trial.pruning.size == SizeTarget(weights_mib=6)
    assert sweep.trial.recovery.teacher.model == ModelSpec(path="tiny")
    assert sweep.rungs == RungSpec(min_trials=4)
    load_sweep("quickstart", ["rungs.min_trials=4", "trial.workers=2"])
    with pytest.raises(BadInputError, match=r"Did you mean 'trial.pruning.size.weights_mib'"):
        load_sweep("quickstart", ["trial.pruning.size.weight_mib=6"])


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("quikstart", [], r"Did you mean 'quickstart'\?"),
        ("nowhere.py", [], "does not exist"),
        ("quickstart", ["sample=3"], r"Did you mean 'samples'\?.*Valid: name"),
        ("quickstart", ["trial.evaluation.tasks=gqa"], r"it is a list; write \[gqa\]"),
        ("quickstart", ["trial.recovery.lerning_rate=1"], "trial.recovery.learning_rate"),
        ("quickstart", ["samples"], "no '='"),
        ("quickstart", ["samples=-1"], "samples=-1"),
        ("quickstart", ["samples=many"], "samples='many'"),
        ("quickstart", ["trial.recovery.data_fraction=0"], "trial.recovery.data_fraction=0"),
        ("quickstart", ["space=frontire"], r"Did you mean 'frontier'\?"),
        ("quickstart", ["samples.x=1"], "single value"),
        ("quickstart", ["rungs.margin=-1"], "rungs.margin=-1"),
        (
            "quickstart",
            ["rungs.margin=2", "trial.workers=2", "trial.recovery.zero_stage=3"],
            "zero_stage=3 and workers=2: one worker scores .* take off the rungs",
        ),
        ("quickstart", ["strata.colour=[1]"], "'colour' is not a known categorical factor"),
    ],
)
def test_bad_names_and_values(name: str, overrides: list[str], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        load_sweep(name, overrides)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "x = (\n", r"broken.py, line 4: "),
        ("import nothing_of_that_name\n", r"broken.py, line 1: ModuleNotFoundError"),
        ("sweep = 3\n", "defines no `sweep`"),
        (
            GOOD.replace('"?"', '"?", smples=3'),
            r"broken.py, line 3: 'smples' is no setting .*'samples'",
        ),
        (GOOD.replace("0.3,", ""), "no level"),
    ],
)
def test_a_broken_sweep_file_says_where(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "broken.py"
    path.write_text(text)
    with pytest.raises(BadInputError, match=message):
        load_sweep(str(path))


def test_a_recovery_that_several_trials_share_is_planned_once(tmp_path: Path) -> None:
    sweep = load_sweep("pruning_x_quantization")
    once = tuple(point for point in sweep.designed if point["quantization"] == "none")
    plain = sweep.model_copy(update={"designed": once})
    whole, alone = (plan_sweep(s, Ledger(tmp_path, "x")) for s in (sweep, plain))
    assert (whole.total, alone.total) == (12, 3)
    assert whole.recovery_tflops == pytest.approx(alone.recovery_tflops)


@pytest.mark.parametrize(
    ("changes", "startup"),
    [
        (["samples=1000"], 32),
        (["samples=40"], 20),
        (["samples=0"], 10),
        (["samples=1000", "strata={}"], 10),
        (["startup_samples=3"], 3),
    ],
)
def test_random_draws_come_before_the_sampler_four_a_cell(changes: list[str], startup: int) -> None:
    assert load_sweep("search_table", changes).startup == startup
