"""Length, cost and course of the recovery training."""

from pydantic import Field

from trainables.specs import Frozen, Scope


class RecoverySpeed(Frozen):
    """How fast the training steps of the last attempt were, over all workers.

    `teacher_share` is the share of the seconds that the teacher took in the steps (0 to 1). `mfu`
    is model FLOPs utilisation: what was computed, recomputation not counted, over the devices'
    peak; None where the peak is not known.
    """

    seconds: float
    tokens_per_second: float
    samples_per_second: float
    teacher_share: float
    mfu: float | None = None


class RecoveryReport(Frozen):
    """Length, cost and course of the recovery training.

    `tflops` is nominal (teacher included, nothing cached), so it does not depend on the machine.
    `first_terms`, `last_terms`: each loss term (by `LossSpec.terms`), unweighted, at the first step
    and averaged over the last tenth. `first_grad_norms`: of each weighted term, step 0.
    `skipped_steps` counts those whose loss was not finite or spiked. `teacher`: none, online or
    cached.
    `micro_batch_halved`: memory ran out once, and the training was repeated with half the tokens
    per forward pass.
    `curves` is a path relative to the trial's folder (JSON lines, one per step).
    `trained_by` names the trial (`sweep/id`) whose recovery this is, where this one did not train:
    everything else here is as it was there.
    """

    scope: Scope
    steps: int = 0
    epochs: float = 0.0
    tokens: int = 0
    samples: int = 0
    tflops: float = 0.0
    trained_params: int = 0
    learning_rate: float | None = None
    loss_terms: str = ""
    weights: tuple[float, float, float] = (0.0, 0.0, 0.0)
    weights_normalised: tuple[float, float, float] = (0.0, 0.0, 0.0)
    first_terms: dict[str, float] = Field(default_factory=dict)
    last_terms: dict[str, float] = Field(default_factory=dict)
    first_grad_norms: dict[str, float] = Field(default_factory=dict)
    clipped_fraction: float = 0.0
    skipped_steps: int = 0
    teacher: str = "none"
    gradient_checkpointing: bool = False
    micro_batch_halved: bool = False
    speed: RecoverySpeed | None = None
    data_digest: str | None = None
    resumed_at_step: int | None = None
    curves: str | None = None
    trained_by: str | None = None
