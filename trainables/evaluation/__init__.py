"""Scores of a model by lmms-eval, and what the model costs: size, FLOPs, latency."""

from trainables.evaluation.catalog import TaskInfo, available_tasks, check_tasks

__all__ = ["TaskInfo", "available_tasks", "check_tasks"]
