"""One trial: everything above, its seeds and its workers."""

from __future__ import annotations

from pydantic import Field, model_validator

from trainables.specs.base import Frozen, Quantization, digest
from trainables.specs.evaluation import EfficiencySpec, EvaluationSpec
from trainables.specs.model_and_data import DataSpec, ModelSpec
from trainables.specs.pruning import PruningSpec
from trainables.specs.recovery import RecoverySpec


class Seeds(Frozen):
    """Seeds of the three sources of chance, shared by all trials of a sweep (they are paired).

    Attributes:
        calibration: which samples importance is scored on.
        data: the order of the data: what a fraction of it holds, and how it is trained on.
        train: initial LoRA weights and dropout.
    """

    calibration: int = 0
    data: int = 0
    train: int = 0

    def shifted(self, by: int) -> Seeds:
        """All three moved by `by`: another draw of everything that chance decides."""
        return Seeds(calibration=self.calibration + by, data=self.data + by, train=self.train + by)


class TrialSpec(Frozen):
    """One trial: prune -> recover -> evaluate -> measure.

    Attributes:
        model: the dense model.
        baseline: the model that retention is measured against; None is `model` itself. It differs
            for a smaller native model that enters a sweep as a reference point.
        data: conversations for calibration and recovery.
        pruning: method and ratio.
        recovery: what is trained, on what, how long.
        evaluation: tasks and sample limits.
        quantization: of the recovered student's language model, before it is scored and measured:
            `llm_int8` and `nf4` by bitsandbytes, `int8_weight_only` by torchao. Sizes that
            pruning aims at are those before it.
        efficiency: what FLOPs and latency are measured for.
        seeds: the three sources of chance.
        workers: data-parallel workers of the recovery.
        isolate: give the trial a process of its own even with one worker; much slower to start.
        rungs: fractions of the recovery budget after which the student is scored.
    """

    model: ModelSpec = ModelSpec()
    baseline: ModelSpec | None = None
    data: DataSpec = DataSpec()
    pruning: PruningSpec = PruningSpec()
    recovery: RecoverySpec = RecoverySpec()
    evaluation: EvaluationSpec = EvaluationSpec()
    quantization: Quantization = "none"
    efficiency: EfficiencySpec = EfficiencySpec()
    seeds: Seeds = Seeds()
    workers: int = Field(1, ge=1)
    isolate: bool = False
    rungs: tuple[float, ...] = ()

    @property
    def configuration(self) -> str:
        """Digest of everything but the seeds (and the rungs): runs that share it are repeats.

        Where the benchmarks' copies lie is no part of it, nor who answers: copies may move between
        a run and its repeats.
        """
        apart = {"seeds": True, "rungs": True, "recovery": True}
        given = self.model_dump(
            mode="json", exclude={**apart, "evaluation": {"data_folder", "sharded"}}
        )
        return digest({**given, "recovery": self.recovery.canonical()})

    @property
    def grouped(self) -> bool:
        """Whether the trial runs in a Train worker group rather than in the warm slot itself."""
        return self.workers > 1 or self.isolate

    def with_copies_in(self, data_folder: str | None) -> TrialSpec:
        """The same trial with the benchmarks' copies in another folder; None leaves it as it is."""
        if data_folder is None:
            return self
        evaluation = self.evaluation.model_copy(update={"data_folder": data_folder})
        return self.model_copy(update={"evaluation": evaluation})

    @model_validator(mode="after")
    def _rungs_rise(self) -> TrialSpec:
        if any(not 0 < r < 1 for r in self.rungs) or list(self.rungs) != sorted(set(self.rungs)):
            raise ValueError(
                f"rungs={self.rungs}, but rungs are rising fractions of the recovery budget, "
                "each strictly between 0 and 1, e.g. (0.25, 0.5)"
            )
        return self
