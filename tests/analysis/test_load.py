"""Loading trials from a ledger: axes, splits, damaged and unfinished trials, light imports."""

import ast
import gc
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.trials import make_dense, make_trial, write_sweep

import analysis.load
from analysis.axes import AXES, check_axis
from analysis.load import load_sweep, load_trials, trial_of
from analysis.points import above_chance, point_of


def test_axes_come_from_the_record_and_scores_from_the_report(tmp_path: Path) -> None:
    folder = write_sweep(
        tmp_path, [make_trial("a", 0.92, report=0.9, latency_ms=30.0), make_trial("b", 0.8)]
    )
    a, b = load_trials(folder)
    assert a.split == "report"
    assert a.axes == {
        "weights_mib": pytest.approx(11.2),
        "memory_mib": pytest.approx(11.95),
        "tflops": 1.0,
        "latency_ms": 30.0,
        "recovery_tflops": 5.0,
        "params": 3_300_000.0,
        "lm_params": 2_800_000.0,
        "ratio": 0.3,
        "kept": 0.7,
        "retention": pytest.approx(0.9),
        "worst_task": None,  # these tasks were not compared with the dense base's
        "retention_se": 0.01,
    }
    assert set(a.axes) == {*AXES, "retention_se"}
    assert (b.split, b.axes["retention"], b.axes["latency_ms"]) == ("search", 0.8, None)
    assert a.retention("search") == (0.92, 0.01)
    assert load_sweep(folder)["question"] == "What does it cost?"


def test_a_trial_without_a_record_is_still_running_and_left_out(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path, [make_trial("a")])
    running = folder / "trials" / "b"
    running.mkdir()
    (running / "spec.json").write_text("{}")
    (running / ".record.json.7.part").write_text("{")
    assert [t.trial_id for t in load_trials(folder)] == ["a"]


def test_records_that_were_read_already_are_not_read_again(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path, [make_trial("a", 0.8), make_trial("b", 0.7), make_dense()])
    trials = load_trials(folder)
    (folder / "trials" / "a" / "record.json").write_text("{")
    known = {t.trial_id: t.record for t in trials if t.trial_id == "a"}
    assert load_trials(folder, records=known) == trials
    assert load_trials(folder) == [t for t in trials if t.trial_id != "a"]
    assert gc.isenabled(), "it is paused while records are read, and goes on after an error too"


def test_failed_trial_has_no_score() -> None:
    trial = make_trial("a", status="failed")
    assert trial.split is None
    assert trial.axes["retention"] is None
    assert point_of(trial, "search") is None


def test_a_damaged_record_is_left_out_and_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_sweep(tmp_path, [make_trial("a"), make_dense()])
    (folder / "trials" / "a" / "record.json").write_text('{"trial_id": "a"')
    for _ in range(2):
        assert [trial.trial_id for trial in load_trials(folder)] == ["dense"]
    (told,) = caplog.messages
    assert f"'{folder}/trials/a/record.json' cannot be read (Invalid JSON: " in told


def test_unknown_sweep_lists_those_there_are_and_the_nearest(tmp_path: Path) -> None:
    write_sweep(tmp_path, [make_trial("a")], sweep="quickstart")
    with pytest.raises(ValueError, match=r"quickstart \(did you mean 'quickstart'\?\)"):
        load_trials(tmp_path / "quikstart")


def test_unknown_axis_lists_the_valid_ones_and_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"recovery_tflops.*did you mean 'weights_mib'"):
        check_axis("weight_mib")


def test_dense_base_is_its_own_reference() -> None:
    dense = make_dense(report=1.0)
    assert dense.is_dense
    assert dense.retention("report") == (1.0, 0.0)
    assert (dense.method, dense.label, dense.weights) == ("none", "dense", (0.0, 0.0, 0.0))


def test_labels_name_method_ratio_scope_terms_and_data() -> None:
    loss = {"alpha": 1.0, "beta": 0.5, "gamma": 0.25, "logits": "kl"}
    trial = make_trial("a", ratio=0.45, method="widthwise", loss=loss, data_fraction=0.05)
    assert trial.label == "widthwise 0.45 joint ce+kl+l2 5% data"
    assert make_trial("b", scope="none").label == "layerwise 0.30 no recovery"
    quantized = make_trial("c", ratio=0.0, scope="none")
    spec = quantized.record.spec.model_copy(update={"quantization": "nf4"})
    record = quantized.record.model_copy(update={"spec": spec})
    assert trial_of(record).label == "unpruned no recovery nf4"
    factors = {"pruning.units": "neurons", "recovery.weight_decay": 0.0, "pruning.size.params": 9}
    invented = trial.record.model_copy(update={"factors": factors})  # what is usual is not named
    assert trial_of(invented).label == f"{trial.label} units=neurons params=9"


def test_above_chance_by_hand() -> None:
    trial = make_trial("a", 0.75)  # average 72 of 96 where chance is 24: (72 - 24) / (96 - 24)
    evaluation = trial.evaluation("search")
    assert evaluation is not None
    assert above_chance(evaluation) == pytest.approx(2 / 3)


def test_interval_of_a_point_by_hand() -> None:
    point = point_of(make_trial("a", 0.9, se=0.02), "search")
    assert point is not None
    assert point.retention_low == pytest.approx(0.9 - 0.0392)
    assert point.retention_high == pytest.approx(0.9 + 0.0392)


def test_reading_commands_import_nothing_heavy() -> None:
    heavy = "{'torch', 'ray', 'mlflow', 'pandas', 'matplotlib', 'plotly', 'moocore', 'numpy'}"
    code = (
        "import sys, analysis.output.frontier_files, analysis.tables, analysis.recommend;"
        "import analysis.draw.frontier_figure;"
        f"found = {heavy} & set(sys.modules); assert not found, found"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_analysis_reads_records_and_specs_only() -> None:
    """It must run on a laptop from a copied ledger: nothing of the trainables but their values."""
    root = Path(analysis.load.__file__).parent
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                top, _, rest = node.module.partition(".")
                assert top not in ("sweeps", "search_spaces"), path
                low = ("common", "records", "specs")
                assert top != "trainables" or rest.split(".")[0] in low, path
