"""What a processor is asked to show of its speed, and what it shows. Torch-free."""

from typing import Any

from trainables.specs import Frozen


class SpeedQuestion(Frozen):
    """Which model's layers, on micro-batches of so many samples of so many tokens."""

    config: dict[str, Any]
    samples: int
    tokens: int


class Speed(Frozen):
    """TFLOP/s of matrix products, as `models.work` counts them, on one CPU core.

    Attributes:
        forward: of a forward pass.
        training: of a forward pass and a backward pass through frozen weights.
        answering: of one new token each for a batch of `ANSWERED` questions.
    """

    forward: float
    training: float
    answering: float


ANSWERED = 32  # `EvaluationSpec.batch_size` by default
