"""Tables of truth for tests: what the analytic objective gives, noise included, as columns."""

from __future__ import annotations

from typing import Any

import numpy as np

from sweeps.engine.search.fixed_points import resolve_point
from sweeps.engine.simulate.features import row_of
from sweeps.engine.simulate.objective import Analytic
from sweeps.engine.simulate.table import COLUMNS, RUNGS
from sweeps.engine.spec.loading import load_sweep


def analytic_table(cells: int = 2, each: int = 40, pairs: int = 20) -> dict[str, list[Any]]:
    """`each` random settings of the first cells of `search_table`, `pairs` of them with two seeds.

    The last settings of a cell are not recovered.
    """
    from optuna import create_study
    from optuna.samplers import RandomSampler

    sweep, objective = load_sweep("search_table"), Analytic()
    rng, study = np.random.default_rng(0), create_study(sampler=RandomSampler(0))
    lines: list[dict[str, Any]] = []
    for cell in sweep.cells[:cells]:
        drawn = []
        while len(drawn) < each - 1:
            trial = study.ask({})
            sweep.search_space.build(trial, cell, sweep.base_trial)
            if trial.params["scope"] != "none":
                drawn.append(trial.params)
        for i, params in enumerate([*drawn, {"scope": "none"}]):
            spec = resolve_point(sweep, {**cell, **params})[2]
            row = row_of(spec, sweep.base_trial)
            curves = objective.curves(np.array([row]))
            for seed in (0, 1) if i < pairs else (0,):
                line = dict.fromkeys(COLUMNS) | {**cell, **params, "seeds": seed}
                noisy = curves.retention[0] + objective.noise(row, rng)
                stages = zip(noisy, curves.tflops[0], curves.seconds[0], strict=True)
                for rung, (retention, tflops, seconds) in zip(RUNGS, stages, strict=True):
                    line |= {f"retention_{rung}": retention, f"recovery_tflops_{rung}": tflops}
                    line |= {f"device_seconds_{rung}": seconds}
                lines.append(line | {"weights_mib": 10 * (1 - cell["ratio"])})
    return {name: [line[name] for line in lines] for name in lines[0]}
