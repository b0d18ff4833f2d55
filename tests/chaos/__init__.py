"""Sweeps under seeded faults, compared with an undisturbed one: `make chaos`."""
