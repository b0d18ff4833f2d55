"""The recipes of a sweep as a report, a table and sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.contrasts import LEVEL
from analysis.findings.recipes import Advice, Place, Recipe, find_places
from analysis.findings.report import design_of
from analysis.findings.students import students
from analysis.load import Trial, load_sweep
from analysis.tables import number
from analysis.text_table import TextTable
from trainables.specs import Frozen

NAMED = 4  # recipes of a place in the table; JSON holds all
STUDY = " (study)"


class RecipeReport(Frozen):
    """Which recipe wins where.

    Attributes:
        sweep: whose trials were read.
        places: by size, then by share of the data.
        notes: what limits the answer, in sentences.
    """

    sweep: str
    places: tuple[Place, ...]
    notes: tuple[str, ...] = ()

    @property
    def answered(self) -> bool:
        """Whether any place has a recipe."""
        return any(place.recipes for place in self.places)


def find_recipes(
    folder: Path, trials: Sequence[Trial], advice: Advice, within: Sequence[Trial] | None = None
) -> RecipeReport:
    """The recipes of the sweep in `folder`.

    Args:
        folder: in the ledger.
        trials: of the sweep.
        advice: the study's recipe for a ratio, with or without data.
        within: those of the trials that may be chosen; None takes all.
    """
    sweep, found = load_sweep(folder), students(trials)
    may = trials if within is None else within
    places = find_places(may, design_of([sweep], found), advice)
    notes = tuple(_notes(sweep, trials, may, places))
    return RecipeReport(sweep=folder.name, places=tuple(places), notes=notes)


def recipe_table(report: RecipeReport) -> TextTable:
    """A row for each recipe that is not beaten, by size and share of the data."""
    rows: list[list[str]] = []
    for place, most in _merged(report.places):
        least = f"{100 * place.data_fraction:g}-" if most is not place else ""
        head = [place.size, f"{least}{share(most)}"]
        if not place.recipes:
            words = {"guessing": "nothing is better than guessing"}
            rows.append([*head, words.get(place.word, "not tried"), "-", "-", "-"])
        for index, recipe in enumerate(place.recipes[:NAMED]):
            rows.append([*(head if not index else ["", ""]), *_row(place, recipe)])
        if more := place.recipes[NAMED:]:
            rows.append(["", "", f"and {len(more)} more", "", "", ""])
    header = ("size", "data", "recipe", "keeps, %", "behind the best", "recovery TFLOPs")
    title = f"Recipes of {report.sweep}, by size and the data that may be used at most"
    return TextTable(header, rows, " ".join(report.notes), title, first=header[:4])


def _merged(places: Sequence[Place]) -> list[tuple[Place, Place]]:
    """The first and the last of neighbours of one size where more data changes nothing."""
    merged: list[tuple[Place, Place]] = []
    for place in places:
        first = merged[-1][0] if merged else None
        if first and (first.size, first.recipes, first.word) == (
            place.size,
            place.recipes,
            place.word,
        ):
            merged[-1] = first, place
        else:
            merged.append((place, place))
    return merged


def share(place: Place) -> str:
    """The most data of a place."""
    return f"{100 * place.data_fraction:g}%" if place.data_fraction else "none"


def certainty(place: Place) -> str:
    """In a word or two, what is known of the first recipe of a place."""
    others = len(place.recipes) - 1
    if others > 0:
        return f"or {others} other{'s' if others > 1 else ''}"
    return {"certain": "certain", "alone": "alone tried"}.get(place.word, "")


def _row(place: Place, recipe: Recipe) -> list[str]:
    less = 0 < recipe.data_fraction < place.data_fraction
    data = f" {100 * recipe.data_fraction:g}% data" if less else ""
    behind = {"certain": "best, certain", "alone": "alone tried"}.get(place.word, "best")
    if recipe.ahead is not None:
        behind = f"{recipe.ahead:.1f}"
        if recipe.low is not None and recipe.high is not None:
            behind += f" [{recipe.low:.1f}, {recipe.high:.1f}]"
    return [
        recipe.label + data + (STUDY if recipe.study else ""),
        f"{recipe.retention:.1f}",
        behind,
        number(recipe.recovery_tflops),
    ]


def _notes(
    sweep: Mapping[str, Any], every: Sequence[Trial], may: Sequence[Trial], places: Sequence[Place]
) -> Iterator[str]:
    completed = [t for t in every if t.record.status == "completed" and not t.is_reference]
    if not any(place.recipes for place in places):
        yield _why_nothing(completed, may, places)
        return
    splits = sorted({place.split for place in places if place.split})
    yield (
        f"Recipes of a place cannot be told apart, the cheapest recovery first: {LEVEL:.0%} "
        "intervals, in brackets, hold for all pairs of all sizes together; paired, clustered by "
        f"image, on the {' or '.join(splits)} split."
    )
    told = [place for place in places if place.recipes]
    beaten = [p for p in told if p.advised == "beaten"]
    tried = [p for p in told if p.advised != "not tried"]
    if tried:
        where = ", ".join(f"{p.size} ({share(p)})" for p in beaten)
        yield (
            f"The study's decision flow (study) was tried at {len(tried)} places and is beaten at "
            f"{len(beaten)}" + (f": {where}." if where else ".")
        )
    methods = sorted({r.method for p in told for r in (*p.recipes, *p.beaten)})
    if len(methods) == 1:
        yield f"Only {methods[0]} was tried, so nothing is said of methods."
    if any(t.record.kept == "untrained" for t in completed):
        yield "Where training made the student worse it counts as it was pruned, without recovery."
    designed = len(sweep.get("designed", ())) * sweep.get("replicates", 1)
    if waiting := designed - sum(t.record.origin == "designed" for t in every):
        if waiting > 0:
            yield f"{waiting} designed trials have not ended yet, so this may change."


def _why_nothing(completed: Sequence[Trial], may: Sequence[Trial], places: Sequence[Place]) -> str:
    if not completed:
        return "No trial has ended yet, so there is no recipe to recommend."
    if len(may) < len(completed) and not any(t in may for t in completed):
        return f"None of {len(completed)} trials keeps every limit, so no recipe does."
    if any(place.word == "guessing" for place in places):
        return "No student is better than guessing, so there is no recipe to recommend."
    return (
        "No trial has a retention, because the dense base was not scored, so recipes cannot be "
        "compared; `prunesweep run` of the sweep scores it."
    )
