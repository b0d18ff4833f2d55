"""The searches that `search.py` compares with: Optuna and Ray as they come, and Syne Tune's MOASHA.

Each proposes trials one by one (`ask`), is told how they stand at a rung (`reached`, which answers
whether they go on) and what came out (`tell`).
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import optuna

from sweeps.engine.spec import SweepSpec

CELL = "cell"
optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
MOASHA_SIDE = Path(__file__).with_name("search_moasha.py")


class PerCell:
    """One Optuna study for each cell, the cells in turn."""

    def __init__(self, sweep: SweepSpec, seed: int, sampler: str) -> None:
        self._sweep = sweep
        self._studies = [
            optuna.create_study(
                directions=["maximize", "minimize"], sampler=_sampler(sampler, 1000 * seed + i)
            )
            for i in range(len(sweep.cells))
        ]
        self._asked: dict[int, Any] = {}

    def ask(self, number: int) -> tuple[int, dict[str, Any]]:
        """(place of the cell, searched factors)."""
        place = number % len(self._studies)
        trial = self._studies[place].ask()
        self._sweep.search_space.build(trial, self._sweep.cells[place], self._sweep.base_trial)
        self._asked[number] = trial
        return place, dict(trial.params)

    def reached(self, number: int, rung: int, retention: float, tflops: float) -> bool:
        """It has no rungs."""
        return True

    def tell(self, number: int, retention: float, tflops: float) -> None:
        """What came out."""
        place = number % len(self._studies)
        self._studies[place].tell(self._asked.pop(number), [retention, tflops])


class Stock:
    """Ray Tune's `OptunaSearch` over everything, the cell being one more factor."""

    def __init__(self, sweep: SweepSpec, seed: int) -> None:
        from ray.tune.search.optuna import OptunaSearch

        logging.getLogger("ray.tune").setLevel(logging.ERROR)
        self._sweep = sweep
        self._search = OptunaSearch(
            space=self._space, metric=["retention", "tflops"], mode=["max", "min"], seed=seed
        )

    def _space(self, trial: Any) -> None:
        cell = self._sweep.cells[trial.suggest_categorical(CELL, range(len(self._sweep.cells)))]
        self._sweep.search_space.build(trial, cell, self._sweep.base_trial)

    def ask(self, number: int) -> tuple[int, dict[str, Any]]:
        """(place of the cell, searched factors)."""
        params = self._search.suggest(str(number))
        return params.pop(CELL), params

    def reached(self, number: int, rung: int, retention: float, tflops: float) -> bool:
        """It is told the end only."""
        return True

    def tell(self, number: int, retention: float, tflops: float) -> None:
        """What came out."""
        result = {"retention": retention, "tflops": tflops}
        self._search.on_trial_complete(str(number), result=result)


class Moasha:
    """Syne Tune's MOASHA, one scheduler for each cell, in a Python that has it."""

    def __init__(self, sweep: SweepSpec, seed: int, python: str) -> None:
        space = {
            name: list(levels)
            for name, levels in (("scope", ["joint", "projector", "none"]), *sweep.choices.items())
        }
        from search_spaces.factors import TERMS

        self._cells = len(sweep.cells)
        self._other = subprocess.Popen(
            [python, str(MOASHA_SIDE), json.dumps({**space, "terms": TERMS}), str(self._cells),
             str(seed)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def _say(self, *words: Any) -> Any:
        assert self._other.stdin
        assert self._other.stdout
        print(json.dumps(words), file=self._other.stdin, flush=True)
        return json.loads(self._other.stdout.readline())

    def ask(self, number: int) -> tuple[int, dict[str, Any]]:
        """(place of the cell, factors, some of which the point may not have)."""
        return number % self._cells, self._say("ask", number)

    def reached(self, number: int, rung: int, retention: float, tflops: float) -> bool:
        """Whether the trial goes on."""
        return bool(self._say("result", number, 3**rung, -retention, tflops))

    def tell(self, number: int, retention: float, tflops: float) -> None:
        """What came out."""
        self._say("complete", number, 9, -retention, tflops)


def syne_python(folder: Path) -> str | None:
    """A Python with Syne Tune in an environment of its own below `folder`; None without one."""
    python = folder / "bin" / "python"
    if not python.exists():
        made = subprocess.run([sys.executable, "-m", "venv", str(folder)], check=False)
        if made.returncode == 0:
            command = [str(python), "-m", "pip", "install", "--quiet", "syne-tune"]
            subprocess.run(command, check=False, capture_output=True)
    probe = subprocess.run(
        [str(python), "-c", "import syne_tune"], check=False, capture_output=True
    )
    return str(python) if probe.returncode == 0 else None


def _sampler(name: str, seed: int) -> Any:
    if name == "nsga2":
        return optuna.samplers.NSGAIISampler(seed=seed)
    return optuna.samplers.TPESampler(
        multivariate=True, group=True, constant_liar=True, seed=seed, n_startup_trials=10
    )
