"""The objectives by name."""

from sweeps.engine.simulate.objective import Analytic, Objective
from trainables.common.names import unknown

OBJECTIVES = ("table", "analytic")


def objective_called(name: str) -> Objective:
    """The objective of that name.

    Raises:
        ValueError: there is none; the message lists the names.
    """
    if name == "table":
        from sweeps.engine.simulate.table import Table  # brings scikit-learn

        return Table.shipped()
    if name == "analytic":
        return Analytic()
    raise ValueError(unknown("objective", name, OBJECTIVES))
