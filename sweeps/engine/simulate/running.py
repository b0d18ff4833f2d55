"""One simulated trial: when it reaches its rungs and its end, and the records it would write."""

from dataclasses import dataclass

import numpy as np

from search_spaces.factors import Cell
from sweeps.engine import __version__
from sweeps.engine.simulate.features import row_of
from sweeps.engine.simulate.objective import Curves, Objective
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.ledger import Request
from sweeps.engine.spec.unpruned_parts import target_of
from trainables.models.families.shape import LanguageShape
from trainables.records import (
    CostReport,
    EfficiencyReport,
    EvaluationReport,
    Provenance,
    PruningReport,
    RecoveryReport,
    RungResult,
    TaskScore,
    TrialRecord,
)
from trainables.specs import DTYPE_BYTES, MIB, Origin
from trainables.trial.jobs import TrialJob

DENSE_AVERAGE = 90.0  # of the simulated dense base; retention is what counts
TASK = "simulated"


@dataclass(frozen=True)
class Ended:
    """A simulated trial that has ended.

    Attributes:
        cell: the strata's levels that it has; None for a reference.
        fraction: how far it came; 1 unless it was stopped.
        retention: as scored, with noise; None for the dense base.
        scored: what its score would have been at its end.
        truth: the same without noise.
        final_tflops: what its recovery would have cost at its end.
        device_seconds: what it took.
        wall_seconds: when it ended.
        driver_seconds: what the agenda and the halving had really taken by then.
    """

    trial_id: str
    origin: Origin
    cell: Cell | None
    row: tuple[float, ...]
    fraction: float
    retention: float | None
    scored: float
    truth: float
    final_tflops: float
    device_seconds: float
    wall_seconds: float
    driver_seconds: float


class Running:
    """A trial between its start and its end; its whole course is known from the start."""

    def __init__(
        self,
        job: TrialJob,
        request: Request,
        sweep: SweepSpec,
        objective: Objective,
        shape: LanguageShape,
        start: float,
    ) -> None:
        self.job, self._shape, self._start = job, shape, start
        rungs = job.spec.rungs if job.spec.recovery.scope != "none" else ()
        self.fractions = (*rungs, 1.0)
        self.row = row_of(job.spec, sweep.base_trial)
        self._objective = objective
        self._cell = request.cell
        rng = np.random.default_rng((sweep.seed, int(request.first_key, 16)))
        exact = objective.curves(np.array([self.row]))
        noise = np.zeros((1, 3)) if self._dense else objective.noise(self.row, rng)[None, :]
        noisy = Curves(exact.retention + noise, exact.tflops, exact.seconds)
        self._exact, self._seen = exact.at((1.0,)), noisy.at(self.fractions)

    @property
    def _dense(self) -> bool:
        return self.job.origin == "reference"

    def when(self, stage: int) -> float:
        """The second at which the trial reaches a rung, or its end."""
        return self._start + float(self._seen.seconds[0, stage]) / self.job.spec.workers

    def ended(self, stage: int, now: float, driver_seconds: float) -> Ended:
        """What is kept of it."""
        return Ended(
            trial_id=self.job.trial_id,
            origin=self.job.origin,
            cell=None if self._dense else self._cell,
            row=self.row,
            fraction=self.fractions[stage],
            retention=None if self._dense else float(self._seen.retention[0, stage]),
            scored=float(self._seen.retention[0, -1]),
            truth=float(self._exact.retention[0, 0]),
            final_tflops=float(self._exact.tflops[0, 0]),
            device_seconds=float(self._seen.seconds[0, stage]),
            wall_seconds=now,
            driver_seconds=driver_seconds,
        )

    def record(self, stage: int) -> TrialRecord:
        """The record as the trial would write it there."""
        spec, seen = self.job.spec, self._seen
        target = target_of(spec, self._shape)
        tflops, seconds = float(seen.tflops[0, stage]), float(seen.seconds[0, stage])
        weights = target.lm_params * DTYPE_BYTES[spec.model.dtype] / MIB
        loss = spec.recovery.loss
        trained = spec.recovery.scope != "none"
        return self.job.record(
            None,
            Provenance(prunesweep=__version__, host="simulated"),
            pruning=PruningReport(
                method=spec.pruning.method,
                target_ratio=spec.pruning.ratio,
                ratio=target.ratio,
                plan_digest="simulated",
                layers=target.layers,
                kv_groups=tuple(groups for groups, _ in target.widths),
                neurons=tuple(neurons for _, neurons in target.widths),
                lm_params_dense=self._shape.lm_params(),
                lm_params=target.lm_params,
                size=spec.pruning.size,
            ),
            recovery=RecoveryReport(
                scope=spec.recovery.scope,
                tflops=tflops,
                loss_terms=loss.terms if trained else "",
                weights=(loss.alpha, loss.beta, loss.gamma) if trained else (0.0, 0.0, 0.0),
            ),
            evaluation=self._evaluation(float(seen.retention[0, stage])),
            efficiency=EfficiencyReport(
                params=target.lm_params,
                lm_params=target.lm_params,
                weights_mib=self._objective.weights_mib(self.row, weights),
                tflops=2e-12 * target.lm_params * spec.efficiency.prompt_tokens,
            ),
            cost=CostReport(
                device="simulated",
                devices=spec.workers,
                device_seconds={"simulated": seconds},
                wall_seconds=seconds / spec.workers,
            ),
            rungs=tuple(
                RungResult(
                    rung=i,
                    retention=float(seen.retention[0, i]),
                    recovery_tflops=float(seen.tflops[0, i]),
                    device_seconds=float(seen.seconds[0, i]),
                    final_tflops=float(self._exact.tflops[0, 0]),
                )
                for i in range(min(stage + 1, len(self.fractions) - 1))
            ),
        )

    def _evaluation(self, retention: float) -> EvaluationReport:
        average = DENSE_AVERAGE * (1.0 if self._dense else retention)
        return EvaluationReport(
            split="search",
            tasks={TASK: TaskScore(score=average, stderr=0.0, samples=1)},
            average=average,
            average_se=0.0,
            dense_average=None if self._dense else DENSE_AVERAGE,
            retention=None if self._dense else retention,
        )
