"""Make the table of truth from the ledger of the sweep `search_table`, and its card.

Command: `python docs/scripts/search_table.py [SWEEP_FOLDER [PARQUET]]`, by default of
`runs/search_table`, and the table that ships in `sweeps/engine/simulate/`

Writes the table, with the lengths of the fitted surrogate in its metadata, and its card
`SEARCH_TABLE.md` beside it. A sweep that has not ended gives a part of the table.
"""

from __future__ import annotations

import json
import math
import sys
import warnings
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sweeps.engine.simulate.features import Rows
from sweeps.engine.simulate.objective import Values
from sweeps.engine.simulate.surrogate import process
from sweeps.engine.simulate.table import COLUMNS, META, PARQUET, RUNGS, SWEEP, Table
from sweeps.engine.spec.ledger import Ledger, Request
from sweeps.engine.spec.spent import device_seconds
from trainables.records import TrialRecord


def main() -> None:
    """Write the table and its card."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else f"runs/{SWEEP}")
    parquet = Path(sys.argv[2]) if len(sys.argv) > 2 else PARQUET
    ledger = Ledger(folder.parent, folder.name)
    asked, records = ledger.requests(), ledger.records()
    found = [
        (asked[name], record)
        for name, record in records.items()
        if record.origin in ("designed", "sampler") and record.status == "completed"
    ]
    lines = [_line(request, record) for request, record in found]
    columns = {name: [line[name] for line in lines] for name in lines[0]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lengths of factors without effect end at their bound
        table = Table(columns, {})
    about = _about(table, [record for _, record in found])
    arrow = pa.table(columns).replace_schema_metadata(
        {META: json.dumps({"kernels": table.kernels, **about})}
    )
    pq.write_table(arrow, parquet, compression="zstd")
    card = _card(about)
    parquet.with_name("SEARCH_TABLE.md").write_text(card, encoding="utf-8")
    print(card, f"\n{parquet}: {parquet.stat().st_size / 1024:.0f} KiB")


def _line(request: Request, record: TrialRecord) -> dict[str, Any]:
    """One entry: factors, seeds, and what came out at the rungs and at the end."""
    point = {**request.cell, **request.params}
    assert record.recovery is not None
    assert record.evaluation is not None
    assert record.efficiency is not None
    end = (record.evaluation.retention, record.recovery.tflops, device_seconds(record))
    stages = [(r.retention, r.recovery_tflops, r.device_seconds) for r in record.rungs]
    stages = [*stages, end] if stages else [end] * len(RUNGS)  # no recovery has no rungs
    line: dict[str, Any] = {name: point.get(name) for name in COLUMNS}
    line["seeds"] = record.seeds.train
    for place, name in enumerate(("retention", "recovery_tflops", "device_seconds")):
        line |= {f"{name}_{rung}": stages[i][place] for i, rung in enumerate(RUNGS)}
    return line | {"weights_mib": record.efficiency.weights_mib}


def _held_out(table: Table) -> tuple[Rows, dict[str, Values]]:
    """(rows, predictions of each quantity) of entries that no process was fitted to, five folds.

    All seeds of a setting are held out together; the lengths are those of the whole fit.
    """
    from sklearn.model_selection import GroupKFold

    inputs = table.rows[table.trained]
    _, groups = np.unique(inputs, axis=0, return_inverse=True)
    found = {name: np.empty_like(targets) for name, targets in table.targets.items()}
    folds = GroupKFold(5, shuffle=True, random_state=0)
    for train, test in folds.split(inputs, groups=groups):
        for name, targets in table.targets.items():
            model = process(table.kernels[name]).fit(inputs[train], targets[train])
            found[name][test] = model.predict(inputs[test])
    return inputs, found


def _about(table: Table, records: list[TrialRecord]) -> dict[str, Any]:
    """How the table was made, and how far it can be trusted."""
    from scipy.stats import spearmanr

    rows, predicted = _held_out(table)
    off = table.in_points(rows, predicted["retention"]) - table.in_points(
        rows, table.targets["retention"]
    )
    costs = {
        name: float(np.median(np.abs(np.expm1(predicted[name] - table.targets[name])[:, -1])))
        for name in ("recovery_tflops", "device_seconds")
    }
    noise = {cell: float(np.sqrt(np.mean(d[:, -1] ** 2) / 2)) for cell, d in table.pairs.items()}
    cells = []
    for wide, ratio in sorted({(row[0], row[1]) for row in rows}):
        of = (rows[:, 0] == wide) & (rows[:, 1] == ratio)
        truth = table.in_points(rows[of], table.targets["retention"][of])[:, -1]
        guess = truth + off[of, -1]
        cells.append(
            {
                "method": "widthwise" if wide else "layerwise",
                "ratio": float(ratio),
                "trials": int(of.sum()),
                "spread": float(truth.std()),
                "error": float(np.sqrt(np.mean(off[of, -1] ** 2))),
                "rank": float(spearmanr(truth, guess).statistic) if of.sum() > 2 else math.nan,
                "noise": noise.get((float(wide), float(ratio)), math.nan),
            }
        )
    began = min(r.provenance.started for r in records if r.provenance.started)
    ended = max(r.provenance.finished for r in records if r.provenance.finished)
    took = datetime.fromisoformat(ended) - datetime.fromisoformat(began)
    device = records[0].cost.device if records[0].cost else ""
    sweep = table.sweep
    packages = records[0].provenance.packages
    return {
        "trials": len(records),
        "of": sweep.samples + len(sweep.designed) * sweep.replicates,
        "hours": took.total_seconds() / 3600,
        "device_hours": sum(map(device_seconds, records)) / 3600,
        "device": device,
        "commit": records[0].provenance.git_commit,
        "packages": {name: packages[name] for name in ("torch", "transformers", "peft")},
        "date": ended[:10],
        "cells": cells,
        "error": [float(np.sqrt(np.mean(off[:, i] ** 2))) for i in range(len(RUNGS))],
        "costs": costs,
    }


def _card(about: dict[str, Any]) -> str:
    """The card as Markdown."""
    part = "" if about["trials"] >= about["of"] else (
        f"\n**A part: {about['trials']} of {about['of']} trials.** The rest had not run yet.\n"
    )  # fmt: skip
    packages = ", ".join(f"{name} {version}" for name, version in about["packages"].items())
    rows = "\n".join(
        f"| {c['method']} | {c['ratio']:.2f} | {c['trials']} | {100 * c['spread']:.2f} | "
        f"{100 * c['noise']:.2f} | {100 * c['error']:.2f} | {c['rank']:.2f} |"
        for c in about["cells"]
    )
    first, second, last = (f"{100 * e:.2f}" for e in about["error"])
    costs = {name: f"{100 * value:.1f} %" for name, value in about["costs"].items()}
    return f"""# Table of truth

What comes out of the `frontier` space of the embedded model, setting by setting, so that search
methods can be compared in seconds. `prunesweep simulate SWEEP` reads it.
{part}
- Made by `prunesweep run {SWEEP}` and `python docs/scripts/{SWEEP}.py`, {about["date"]}:
  {about["trials"]} trials, {about["device_hours"]:.1f} device-hours ({about["device"]}) within
  {about["hours"]:.1f} hours; commit {(about["commit"] or "unknown")[:7]}, {packages}. Seconds were
  measured beside other work on the same machine, so they are larger than on an idle one.
- Settings were drawn at random, and none was stopped. The designed points ran with two sets
  of seeds (`seeds` 0 and 1).
- Columns: the factors of the space (empty where a setting has none), `seeds`; `retention`,
  `recovery_tflops` and `device_seconds` after 1/9, 1/3 and all of the recovery's budget (`_1_9`,
  `_1_3`, `_1`); `weights_mib`. Retention is on the search split, 200 samples per task at rungs and
  400 at the end. A trial without recovery has no rungs: its end stands in all three.

## Noise and the surrogate's error

In points of retention (percent of the dense average), at the end of the budget. `noise`: standard
deviation over seeds, from the pairs. `error`: root mean square over trials that the surrogate was
not fitted to (five folds, seeds of a setting together), their own noise included. `rank`:
Spearman's correlation of predicted and measured.

| method | ratio | trials | spread | noise | error | rank |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
{rows}

Over all cells the error is {first} after 1/9, {second} after 1/3, {last} at the end. TFLOPs are off
by {costs["recovery_tflops"]} (median), seconds by {costs["device_seconds"]}.
"""


if __name__ == "__main__":
    main()
