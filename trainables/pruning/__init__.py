"""Structured pruning: importance scores, plans, surgery and export."""
