"""What a plan has to know of a model and cannot compute without torch; itself torch-free."""

from typing import Any

from trainables.specs import Dtype, EfficiencySpec, Frozen


class Unpruned(Frozen):
    """What pruning the language model does not change; only a size target reads it.

    Attributes:
        params: parameters of the vision tower and the projector.
        flops: FLOPs of one image in both.
        image_tokens: tokens that one image takes in the prompt.
        prompt_tokens: text tokens beside them.
        new_tokens: tokens that are generated.
        bytes_per_weight: of the stored type.
        activations: bytes at the peak of the dense model's prefill, in the stored type; no student
            has more. None where no target bounds the memory, as they take a while to count.
    """

    params: int = 0
    flops: float = 0.0
    image_tokens: int = 0
    prompt_tokens: int = EfficiencySpec().prompt_tokens
    new_tokens: int = EfficiencySpec().new_tokens
    bytes_per_weight: int = 4
    activations: int | None = None


Widths = tuple[tuple[int, int], ...]  # (KV groups, neurons) of layers


class Question(Frozen):
    """What `python -m trainables.efficiency.costing` is asked about one model.

    Attributes:
        config: its `config.json`.
        students: for every student, the (KV groups, neurons) that its layers have, each once.
        efficiency: lengths of the prompt and of what is generated.
        dtype: type that the model is stored and computed in.
    """

    config: dict[str, Any]
    students: tuple[Widths, ...]
    efficiency: EfficiencySpec = EfficiencySpec()
    dtype: Dtype = "bfloat16"


class Counted(Frozen):
    """The answer.

    Attributes:
        unpruned: vision tower and projector, in the type and for the lengths that were asked for.
        vision: parameters of the vision tower.
        projector: of the projector.
        tensors: elements of their parameters, in the order of the modules.
        activations: for every student, bytes at the peak of the prefill, in that type.
    """

    unpruned: Unpruned
    vision: int
    projector: int
    tensors: tuple[int, ...]
    activations: tuple[int, ...]
