"""What a run leaves word of beside the trials, for `status` and its own end."""

from sweeps.engine.spec.endings import OverBudget, over_budget_path
from sweeps.engine.spec.ledger import Ledger
from sweeps.engine.spec.used_up import UsedUp, used_up_path
from trainables.common.copies import remove
from trainables.common.files import write_json


class Word:
    """Writes it where it has changed; that an earlier budget ended the search is forgotten."""

    def __init__(self, ledger: Ledger) -> None:
        self._over_budget, self._used_up_path = over_budget_path(ledger), used_up_path(ledger)
        self._used_up: UsedUp | None = None
        remove(self._over_budget)  # it may have been raised

    def over_budget(self, why: str) -> None:
        """The budget ended the search."""
        write_json(self._over_budget, OverBudget(why=why))

    def used_up(self, found: UsedUp | None) -> None:
        """The cells with nothing left to try."""
        if found is None:
            if self._used_up_path.exists():
                remove(self._used_up_path)
        elif found != self._used_up:
            write_json(self._used_up_path, found)
        self._used_up = found
