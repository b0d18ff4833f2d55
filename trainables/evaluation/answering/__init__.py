"""Greedy answers in batches, as lmms-eval asks for them."""
