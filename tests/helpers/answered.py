"""Sweeps whose models answered questions: score tables, the reports that follow, and a ledger."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from analysis.load import Trial, load_trials
from helpers.trials import make_dense, make_trial, write_sweep
from trainables.evaluation.scoring import report
from trainables.records import REPORT_SAMPLES
from trainables.records.score_table import ScoreTable, TaskSamples


def table(**scores: np.ndarray) -> ScoreTable:
    """Two questions per image, the same images in every task."""
    return ScoreTable(
        {
            task: TaskSamples(
                doc_ids=tuple(range(len(s))),
                image_ids=tuple(f"i{place // 2}" for place in range(len(s))),
                scores=np.asarray(s, dtype=float),
                weights=np.ones(len(s)),
                answers=("",) * len(s),
            )
            for task, s in scores.items()
        }
    )


def answered(
    folder: Path, tables: dict[str, ScoreTable], mib: dict[str, float], file: str = REPORT_SAMPLES
) -> list[Trial]:
    """A sweep of trials with these tables and sizes; `dense` is the base of the retentions."""
    split = "report" if file == REPORT_SAMPLES else "search"
    trials = []
    for name, scores in tables.items():
        shown = make_dense(report=1.0) if name == "dense" else make_trial(
            name, 0.5, report=0.5, weights_mib=mib[name]
        )  # fmt: skip
        evaluation = report(split, scores, None if name == "dense" else tables["dense"])
        if split == "search":
            record = shown.record.model_copy(update={"evaluation": evaluation})
            trials.append(Trial(record, None, shown.axes, "search"))
        else:
            closing = shown.report
            assert closing is not None
            closed = closing.model_copy(update={"evaluation": evaluation})
            trials.append(Trial(shown.record, closed, shown.axes, "report"))
    write_sweep(folder, trials)
    for name, scores in tables.items():
        scores.save(folder / "demo" / "trials" / name / file)
    return load_trials(folder / "demo")


def random_tables(rng: np.random.Generator) -> dict[str, ScoreTable]:
    """`near` differs from `best` on few questions, `far` on many; all err where `dense` does."""
    hard = rng.random(600) < 0.15
    lost = {"dense": 0.0, "best": 0.02, "near": 0.025, "far": 0.2}
    return {
        name: table(
            **{
                task: 100.0 * ~(np.roll(hard, 7 * k) | (rng.random(600) < share))
                for k, task in enumerate(("a", "b"))
            }
        )
        for name, share in lost.items()
    }
