"""Reads records only: frontier, tables, figures, recommendation."""
