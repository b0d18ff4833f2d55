"""Findings in words: one sentence for each claim, with its numbers."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.contrasts import LEVEL
from analysis.findings.answers import Answer, Finding
from analysis.findings.questions import Wanted
from analysis.findings.report import FindingsReport
from analysis.text_table import Listing

STYLES = {"holds": "green", "does not hold": "red", "cannot say": "yellow"}
NAMED = 4  # of the missing trials; the file with them and the JSON hold all


def findings_listing(report: FindingsReport) -> Listing:
    """A row for each claim: the word, and the sentence."""
    whose = f"{report.sweeps[0]}, as printed" if report.printed else ", ".join(report.sweeps)
    return Listing(
        [(f.word, sentence(f, report.printed)) for f in report.findings],
        title=f"The study's findings: {whose}",
        styles=STYLES,
    )


def sentence(finding: Finding, printed: bool = False) -> str:
    """The claim, what was found, and what is missing where that is why it is undecided."""
    unknown = "not printed" if printed else "not tried"
    by_label: dict[str, list[str]] = {}
    for answer in finding.answers:
        by_label.setdefault(answer.label, []).append(_number(answer, unknown))
    said = [f"{label} {', '.join(some)}" for label, some in by_label.items()]
    nothing = all(answer.estimate is None for answer in finding.answers)
    text = f"{finding.text}: {unknown if nothing else '; '.join(said)}."
    missing = [want.label for want in missing_trials([finding])]
    if missing and not printed:
        more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        text += f" Missing: {', '.join(missing[:NAMED])}{more}."
    if not printed and any(a.estimate is not None and a.low is None for a in finding.answers):
        text += " Scores without standard errors decide nothing."
    if finding.word == "cannot say" and (wide := wide_answers([finding])):
        times = [answer.more for answer in wide if answer.more is not None]
        if len(times) < len(wide):
            text += " More questions alone would not decide."
        else:
            text += f" It takes {_times(max(times))} times the questions, if the numbers stay."
    return text


def missing_trials(findings: Sequence[Finding]) -> list[Wanted]:
    """The trials for lack of which claims are undecided, each once."""
    wanted = (
        want for f in findings if f.word == "cannot say" for a in f.answers for want in a.wanted
    )
    return list(dict.fromkeys(wanted))


def wide_answers(findings: Sequence[Finding]) -> list[Answer]:
    """Comparisons with nothing missing whose intervals are too wide to decide their claims."""
    return [
        answer
        for finding in findings
        if finding.word == "cannot say"
        for answer in finding.answers
        if answer.word == "cannot say" and not answer.wanted and answer.low is not None
    ]


def note(report: FindingsReport) -> str:
    """What the numbers are, and what the words rest on."""
    points = "Numbers are points of retention (the dense model is 100)"
    if report.printed:
        return (
            f"{points} as the study prints them, on its own benchmarks. There are no samples of "
            "them, so there are no intervals: the words say what the numbers say, not what can be "
            "told apart."
        )
    seeds = (
        "over questions and, where there are repeats, seeds"
        if report.repeated
        else "over the choice of questions, not over seeds (nothing was repeated with others)"
    )
    return (
        f"{points}, in brackets their {LEVEL:.0%} intervals, which hold for all {report.questions} "
        f"comparisons together (Bonferroni): paired, clustered by image, {seeds}. What "
        "decides a claim, margins included, is the same for every sweep (docs/study.md)."
    )


def _number(answer: Answer, unknown: str) -> str:
    places = ", ".join(answer.places)
    if answer.estimate is None:
        return f"{unknown} at {places}"
    single = " - " not in answer.label
    value = f"{answer.estimate:.1f}" if single else f"{answer.estimate:+.1f}"
    if answer.low is not None and answer.high is not None:
        value += f" ({answer.low:.1f} to {answer.high:.1f})"
    return f"{value} at {places}" if len(answer.places) == 1 else f"{value} over {places}"


def _times(more: float) -> str:
    """Two digits of it; beyond a hundred the number means little."""
    return "over a hundred" if more > 100 else f"{more:.2g}"
