"""What a sweep is: its spec, how it is found and changed, and its ledger."""

from sweeps.engine.spec.budget_spec import BudgetSpec, PlateauSpec
from sweeps.engine.spec.sweep_spec import ConfirmSpec, Resources, RungSpec, SweepSpec

__all__ = ["BudgetSpec", "ConfirmSpec", "PlateauSpec", "Resources", "RungSpec", "SweepSpec"]
