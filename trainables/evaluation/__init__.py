"""Scores of a model by lmms-eval: its tasks, batched answers, scores per sample."""
