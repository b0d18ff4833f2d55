"""The findings of sweeps, and of the study's printed numbers, by the same code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.bases import check_together
from analysis.findings.answers import Finding, findings, seed_noise
from analysis.findings.claims import CLAIMS
from analysis.findings.printed import printed_students
from analysis.findings.questions import METHODS, Design, questions
from analysis.findings.students import Student, students
from analysis.load import Trial, load_sweep
from trainables.specs import Frozen


class FindingsReport(Frozen):
    """Which of the study's claims hold.

    Attributes:
        sweeps: whose trials were read, or the model whose printed numbers were.
        questions: comparisons that share the error of 5 %.
        repeated: whether the intervals hold the noise of seeds; else that of questions alone.
        printed: whether these are the study's numbers, which have no samples and so no intervals.
    """

    sweeps: tuple[str, ...]
    findings: tuple[Finding, ...]
    questions: int
    repeated: bool
    printed: bool = False


def find_findings(folders: Sequence[Path], trials: Sequence[Sequence[Trial]]) -> FindingsReport:
    """The findings of sweeps of one model, their trials taken together.

    Args:
        folders: of the sweeps, in the ledger.
        trials: of each of them.

    Raises:
        ValueError: sweeps of several models, or scored on other tasks; or no trial has a retention,
            because the dense base was not scored.
    """
    sweeps = [load_sweep(folder) for folder in folders]
    check_together(folders, sweeps)
    every = [trial for some in trials for trial in some]
    found = students(every)
    if not found and any(t.record.status == "completed" and not t.is_reference for t in every):
        raise ValueError(
            f"no trial of {folders[0].name} has a retention, because the dense base was not "
            f"scored; `prunesweep run` of the sweep scores it"
        )
    return _report([folder.name for folder in folders], found, design_of(sweeps, found))


def printed_findings(model: str) -> FindingsReport:
    """The same of the study's printed numbers of a model.

    Raises:
        ValueError: the study has no such model.
    """
    found = printed_students(model)
    return _report([model], found, design_of([], found), printed=True)


def _report(
    names: Sequence[str], found: Sequence[Student], design: Design, printed: bool = False
) -> FindingsReport:
    asked = questions(CLAIMS, design, found)
    return FindingsReport(
        sweeps=tuple(names),
        findings=tuple(findings(asked)),
        questions=len(asked),
        repeated=bool(seed_noise(asked)),
        printed=printed,
    )


def design_of(sweeps: Sequence[Mapping[str, Any]], found: Sequence[Student]) -> Design:
    """Methods and sizes that the sweeps were to try, and those that they did try."""
    methods, sizes = {s.method for s in found}, {s.size: s.ratio for s in found}
    for sweep in sweeps:
        strata, pruning = sweep.get("strata", {}), sweep.get("trial", {}).get("pruning", {})
        methods |= set(strata.get("method", [pruning.get("method", METHODS[0])]))
        ratios = strata.get("ratio", [pruning.get("ratio", 0.0)])
        sizes |= {f"{ratio:.2f}": ratio for ratio in ratios if ratio}
    return Design(tuple(m for m in METHODS if m in methods) or METHODS[:2], sizes)
