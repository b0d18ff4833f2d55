"""A ledger that an earlier version wrote goes on, and answers what it answered."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
from helpers.command_line import invoke
from helpers.ledgers import LEDGER_V1, UNTRAINED, old_quickstart
from transformers import AutoModelForImageTextToText

from sweeps.engine.cli.sweeping import run_here
from sweeps.engine.spec.ledger import Ledger
from sweeps.engine.spec.loading import load_sweep

LATER = {"factors", "kept_untrained", "params", "worst_task"}
# Latencies of one architecture are pooled, and intervals allow for the choice among the models.
QUOTED = {
    *("latency_ms", "latency_lower_ms", "latency_upper_ms", "standing"),
    *("retention_corrected", "retention_low", "retention_high"),
}


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    storage = tmp_path_factory.mktemp("runs")
    old_quickstart(storage)
    return storage


def test_nothing_is_run_again_and_the_frontier_is_the_same(storage: Path) -> None:
    records = {p: p.read_bytes() for p in storage.glob("quickstart/trials/*/*.json")}
    assert "0 jobs in this run" in invoke("run", "quickstart", "--storage", storage).stdout
    assert {p: p.read_bytes() for p in records} == records, "what was written stays"
    folders = (storage / "quickstart", LEDGER_V1)
    rows, old_rows = (
        list(csv.DictReader((folder / "frontier.csv").open(encoding="utf-8"))) for folder in folders
    )
    assert _as_then(rows, old_rows) == _as_then(old_rows, old_rows)
    now, then = (json.loads((folder / "frontier.json").read_text()) for folder in folders)
    assert now.pop("pictures") > then.pop("pictures"), "they are drawn anew"
    assert now.pop("guessing") == []
    assert then.pop("answers"), "they were on the frontier's own page"
    assert _as_then(now, then) == _as_then(then, then)


def _as_then(now: Any, then: Any) -> Any:
    """What was measured of a point: not how it is quoted, nor axes that came later."""
    if isinstance(now, list):
        return [_as_then(new, old) for new, old in zip(now, then, strict=True)]
    if not isinstance(now, dict):
        return now
    left_out = (QUOTED | LATER) if "trial_id" in then else set()
    return {key: _as_then(value, then[key]) for key, value in now.items() if key not in left_out}


def test_records_that_vanish_while_the_sweep_runs_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody removes a trial's folder; what this process remembers of it does not count."""
    folder = old_quickstart(tmp_path) / "trials" / UNTRAINED

    def remove(ledger: Ledger) -> None:
        assert UNTRAINED in ledger.records()
        shutil.rmtree(folder)

    with pytest.raises(typer.Exit) as ended:
        run_here(load_sweep("quickstart", []), tmp_path, None, None, remove)
    assert ended.value.exit_code == 1
    assert f"Lost: {UNTRAINED}. Their records were there" in capsys.readouterr().err


def test_the_recommendation_is_the_same(storage: Path) -> None:
    limits = ("--max", "weights_mib=6", "--min", "retention=0.8")
    asked = ("recommend", "quickstart", *limits, "--storage", storage)
    found = json.loads(invoke(*asked, "--json").stdout)
    text = json.dumps(found)
    assert "013-layerwise-30-joint-ce" in text
    line = invoke(*asked).stdout
    assert line.startswith(
        "013-layerwise-30-joint-ce (layerwise 0.30 joint ce 5% data), 5.52 MiB, 33.1% removed, "
        "retention 97.7 [96.7, 99.0] % on the report split"
    )


def test_a_trial_is_exported(storage: Path, tmp_path: Path) -> None:
    invoke("export", f"quickstart/{UNTRAINED}", "--to", tmp_path / "student", "--storage", storage)
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "student")
    record = json.loads((LEDGER_V1 / "trials" / UNTRAINED / "record.json").read_text())
    assert model.config.get_text_config().num_hidden_layers == record["pruning"]["layers"]
