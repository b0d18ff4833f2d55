"""What MLflow says of a whole sweep: its settings as params, and a note with the frontier."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from analysis.bases import FREE, differing
from analysis.frontier import Frontier
from analysis.load import Trial
from analysis.tables import frontier_table
from sweeps.engine.spec import SweepSpec

# Said whatever they are, since they tell one sweep from another.
IDENTIFYING = (
    "space", "samples", "sampler", "seed",
    "trial.model.path", "trial.model.dtype", "trial.data.conversations", "trial.evaluation.tasks",
)  # fmt: skip
# The note has the question; machines, and how the work is done there, decide no trial.
UNSAID = frozenset({"name", "question", *(f"trial.{name}" for name in FREE)})
PARAM_CHARACTERS = 500  # of a value; MLflow takes 6,000, but a table of them can no longer be read
NOTE_CHARACTERS = 7900  # MLflow cuts a run's note at 8,000, in the middle of a table's row

NOTE = """\
**{question}**

{counts}

{table}

The artifacts of the sweep's parent run hold the whole report, `report.html`, and the frontier \
as `.png`, `.csv`.
`answers_table.json` shows a handful of questions with their pictures and what each model answered.

Charts of the trials are in the experiment's *Views*: {views}.
"""


def sweep_params(settings: Mapping[str, Any]) -> dict[str, str]:
    """The settings that are not the defaults, and `IDENTIFYING` ones, by dotted name.

    Args:
        settings: of a sweep, as plain data (`sweep.json`), or only some of them.
    """
    usual = SweepSpec(name="usual", question="").model_dump(mode="json")
    own = {**usual, **settings}
    found = {name: _at(own, name) for name in IDENTIFYING}
    for name, _, value in differing(usual, own):
        if name not in UNSAID and not name.startswith("resources."):
            found[name] = value
    return {re.sub(r"[^\w\-. :/]", "_", name): _text(value) for name, value in found.items()}


def _at(settings: Any, name: str) -> Any:
    for part in name.split("."):
        settings = settings.get(part) if isinstance(settings, Mapping) else None
    return settings


def _text(value: Any) -> str:
    if value is None:
        return "none"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= PARAM_CHARACTERS else text[: PARAM_CHARACTERS - 2] + " …"


def counts(trials: Sequence[Trial]) -> dict[str, int]:
    """How many trials of the sweep's own ended how, and how many unpruned models stand beside."""
    own: list[str] = [t.record.status for t in trials if not t.is_reference]
    ended = {status: own.count(status) for status in ("completed", "early_stopped", "failed")}
    return ended | {"references": len(trials) - len(own)}


def sweep_note(
    question: str, trials: Sequence[Trial], frontier: Frontier, views: Mapping[str, str], more: str
) -> str:
    """Markdown: the question, how many trials there are, the frontier, and where to look.

    Args:
        question: of the sweep.
        trials: of the sweep.
        frontier: of these.
        views: addresses of the saved views, by their names.
        more: what the note ends with, as far as it fits.
    """
    number = counts(trials)
    said = (
        f"{number['completed']} completed, {number['early_stopped']} early-stopped, "
        f"{number['failed']} failed."
    )
    dense = sum(t.is_dense for t in trials)
    beside = ["the dense base"] * dense
    if others := number["references"] - dense:
        beside.append(f"{others} other unpruned model{'s' * (others > 1)}")
    if beside:
        said += f" Beside them: {' and '.join(beside)}."
    if repeats := sum(t.is_confirmation for t in trials):
        said += f" {repeats} of them repeat{'s' * (repeats == 1)} another with other seeds."
    links = ", ".join(f"[{name}]({link})" for name, link in views.items())
    table = frontier_table(frontier).markdown().strip()
    note = NOTE.format(question=question, counts=said, table=table, views=links)
    return shortened(note + (f"\n{more}" if more else ""), NOTE_CHARACTERS)


def shortened(text: str, most: int) -> str:
    """The text, or as many of its first lines as `most` characters hold, which is said."""
    if len(text) <= most:
        return text
    end = "\n\n(The rest is in the artifacts.)"
    return text[: most - len(end)].rpartition("\n")[0] + end
