"""`prunesweep init`: a sweep file that runs as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.command_line import invoke as prunesweep
from PIL import Image

from sweeps.engine.plan.preflight import check_data
from sweeps.engine.spec.loading import load_sweep
from trainables.evaluation.catalog import embedded_tasks
from trainables.models.families.registry import TINY_FOLDER

pytestmark = pytest.mark.skipif(
    not (TINY_FOLDER / "model.safetensors").exists(), reason="the embedded weights are not built"
)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of 300 conversations about one picture, which lies elsewhere."""
    monkeypatch.chdir(tmp_path)
    Path("pictures").mkdir()
    Image.new("RGB", (32, 32)).save("pictures/one.png")
    turns = [{"from": "human", "value": "<image>\nWhich?"}, {"from": "gpt", "value": "This."}]
    samples = [{"id": f"{i}", "image": "one.png", "conversations": turns} for i in range(300)]
    Path("mix.json").write_text(json.dumps(samples))
    return tmp_path


def test_it_plans_as_it_is(data: Path) -> None:
    model = str(TINY_FOLDER)
    prunesweep(
        "init", "mine.py", "--model", model, "--data", "mix.json", "--image-root", "pictures",
        "--eval", "tiny_counting", "--max", "weights_mib=3",
    )  # fmt: skip
    sweep = load_sweep("mine.py")
    assert sweep.name == "mine"
    assert (sweep.trial.model.path, sweep.trial.model.dtype) == (model, "bfloat16")
    assert sweep.trial.data.conversations == str(data / "mix.json")
    assert sweep.trial.evaluation.tasks == ("tiny_counting",)
    assert sweep.strata == {"method": ("layerwise", "widthwise"), "weights_mib": (3.0,)}
    assert sweep.choices["data_fraction"] == (0.5, 1.0)  # at least 100 conversations
    assert len(sweep.designed) == 6
    found = check_data(sweep)
    assert found is not None
    assert len(found.conversations) == 300
    plan = json.loads(prunesweep("plan", "mine.py", "--json").stdout)
    assert plan["total"] == 1 + 6 + 8
    assert all(row["weights_mib"] <= 3 for row in plan["sizes"])


def test_smol_is_asked_its_own_questions(data: Path) -> None:
    prunesweep("init", "small.py", "--model", "smol")
    assert load_sweep("small.py").trial.evaluation.tasks == embedded_tasks("smol")


def test_without_a_size_it_maps_ratios(data: Path) -> None:
    prunesweep("init", "maps.py")
    sweep = load_sweep("maps.py")
    assert sweep.strata["ratio"] == (0.15, 0.3, 0.45, 0.6)
    assert sweep.trial.data.conversations is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--max", "weights_mib=9000"), "keeps --max weights_mib=9000 as it is"),
        (("--max", "weights_mib=0.1"), "weights_mib"),
        (("--max", "params=-1"), "leaves nothing"),
        (("--max", "latency_ms=5"), "one of params, weights_mib"),
        (("--max", "weights_mib"), "is no limit"),
        (("--data", "absent.json"), "absent.json"),
        (("--model", "absent"), "neither a known model nor a folder"),
        (("--eval", "tiny_countin"), "tiny_counting"),
    ],
)
def test_what_cannot_run_is_not_written(data: Path, words: tuple[str, ...], message: str) -> None:
    done = prunesweep("init", "mine.py", *words, code=2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not Path("mine.py").exists()


def test_nothing_is_overwritten(data: Path) -> None:
    Path("mine.py").write_text("my own")
    done = prunesweep("init", "mine.py", code=2)
    assert "mine.py exists already" in done.stderr
    assert Path("mine.py").read_text() == "my own"
    assert "must end in .py" in prunesweep("init", "mine.yaml", code=2).stderr
