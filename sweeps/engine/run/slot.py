"""The Tune trainable: a slot that does one job and is then reused for the next."""

from typing import Any


def slot(config: dict[str, Any]) -> None:
    """Do `config["job"]` and report how it ended (runs in the trial process, never the driver)."""
    from ray import tune

    from trainables.trial.launch import run_job

    tune.report(run_job(config["job"], tune.report))
