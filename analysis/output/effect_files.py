"""Effects of a sweep's factors as files: which analysis a sweep gets, its texts and its pictures.

`effects.json` holds the whole outcome, `effects.csv` its main table, `effects.md` what to read,
`effects.png` the pictures (for loss coefficients the ternary plot is one of them). All of them are
derived from the records and can be written again at any time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.effects.effect_texts import Report, effects_markdown
from analysis.effects.factor_effects import factor_report
from analysis.effects.mixtures import MixtureReport, mixture_report
from analysis.effects.setting_effects import sensitivity_report
from analysis.load import Trial, load_sweep, load_trials
from analysis.tables import csv_text
from trainables.common.files import replace_file, write_json, writing

ANALYSES: dict[str, Callable[[Sequence[Trial]], Report]] = {  # by search space; else by factors
    "loss_coefficients": mixture_report,
    "sensitivity": sensitivity_report,
}


@dataclass(frozen=True)
class EffectFiles:
    """The outcome, its text, and where its files lie."""

    report: Report
    text: str
    json: Path
    csv: Path
    markdown: Path
    png: Path

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files."""
        return self.json, self.csv, self.markdown, self.png


def has_effects(folder: Path) -> bool:
    """Whether there is an analysis for the sweep's space of its own, which each run writes."""
    return load_sweep(folder).get("space") in ANALYSES


def find_effects(folder: Path, trials: Sequence[Trial] | None = None) -> Report:
    """The effects of the factors of the sweep in `folder`.

    Args:
        folder: the sweep's folder in the ledger.
        trials: of the sweep, if they have been read already.
    """
    found = ANALYSES.get(load_sweep(folder).get("space", ""), factor_report)
    return found(load_trials(folder) if trials is None else trials)


def write_effects(folder: Path, report: Report | None = None) -> EffectFiles:
    """Write the effects of the sweep in `folder` as files beside its frontier.

    Args:
        folder: the sweep's folder in the ledger.
        report: its effects, if they have been found already.

    Raises:
        ValueError: a folder that cannot be written.
    """
    from analysis.draw.effect_figure import effect_figures, effects_png

    report = report or find_effects(folder)
    text = effects_markdown(report)
    places = (folder / f"effects.{end}" for end in ("json", "csv", "md", "png"))
    files = EffectFiles(report, text, *places)
    figures = effect_figures(report)
    with writing("the effects", folder):
        replace_file(files.png, effects_png(report, figures))
        replace_file(files.markdown, text.encode())
        replace_file(files.csv, effects_csv(report).encode())
        write_json(files.json, report)
    return files


def effects_csv(report: Report) -> str:
    """The main table as CSV: every configuration, or every setting's or factor's effect."""
    if isinstance(report, MixtureReport):
        rows = _mixture_rows(report)
    else:
        rows = [
            e.model_dump(exclude={"effect"}) | e.effect.model_dump(exclude={"name"})
            for e in report.effects
        ]
    return csv_text(rows, list(rows[0])) if rows else ""


def _mixture_rows(report: MixtureReport) -> list[dict[str, Any]]:
    """Every configuration; the columns of the report split are empty where it was not repeated."""
    repeated = {m.point.trial_id: m for m in report.confirmed}
    names = ("seeds", "retention", "corrected", "low", "high", "behind", "margin", "tied")
    return [
        point.model_dump()
        | {f"report_{n}": getattr(repeated.get(point.trial_id), n, None) for n in names}
        for point in report.points
    ]
