"""What a plan has to know of a model and cannot compute without torch; itself torch-free."""

from __future__ import annotations

from typing import Any

from trainables.pruning.planning.sizes import Outside
from trainables.specs import Frozen

Widths = tuple[tuple[int, int], ...]


class Question(Frozen):
    """What `python -m trainables.efficiency.costing` is asked about one model.

    Attributes:
        config: its `config.json`.
        students: for every student, the (KV groups, neurons) that its layers have, each once.
    """

    config: dict[str, Any]
    students: tuple[Widths, ...]


class Counted(Frozen):
    """The answer.

    Attributes:
        outside: vision tower and projector, at two bytes per weight.
        vision: parameters of the vision tower.
        projector: of the projector.
        tensors: elements of their parameters, in the order of the modules.
        activations: for every student, bytes at the peak of the prefill, two per element.
    """

    outside: Outside
    vision: int
    projector: int
    tensors: tuple[int, ...]
    activations: tuple[int, ...]
