"""The study's printed numbers, as data."""
