"""What a sweep is: its spec, how it is found and changed, and its ledger."""

from sweeps.engine.spec.sweep_spec import ConfirmSpec, Resources, RungSpec, SweepSpec

__all__ = ["ConfirmSpec", "Resources", "RungSpec", "SweepSpec"]
