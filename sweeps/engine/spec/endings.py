"""Why a search ended before all of its samples, as a run leaves word of it beside its trials."""

from pathlib import Path

from sweeps.engine.spec.ledger import Ledger
from sweeps.engine.spec.used_up import used_up_lines
from trainables.common.files import read_if_sound
from trainables.specs import Frozen


class OverBudget(Frozen):
    """Why the budget ended the search: one sentence."""

    why: str


def over_budget_path(ledger: Ledger) -> Path:
    """Where a run leaves word; no file means that no budget ended the search."""
    return ledger.folder / "over_budget.json"


def over_budget_lines(ledger: Ledger) -> list[str]:
    """What the last run left word of."""
    found = read_if_sound(over_budget_path(ledger), OverBudget)
    return [found.why] if found else []


def ended_lines(samples: int, ledger: Ledger) -> list[str]:
    """All that a user should know of it, who asked for this many samples."""
    return used_up_lines(samples, ledger) + over_budget_lines(ledger)
