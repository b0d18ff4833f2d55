"""What was removed from the language model."""

from trainables.specs import Frozen, Method, SizeTarget


class PruningReport(Frozen):
    """What was removed from the language model.

    `layers`, `kv_groups` and `neurons` are what is kept: the number of decoder layers, and the
    heads' KV groups and MLP neurons per layer. `size` is the size that was asked for instead of a
    ratio, `size_achieved` what the student has of it, in the same unit.
    """

    method: Method
    target_ratio: float
    ratio: float
    plan_digest: str
    layers: int
    kv_groups: tuple[int, ...]
    neurons: tuple[int, ...]
    lm_params_dense: int
    lm_params: int
    size: SizeTarget | None = None
    size_achieved: float | None = None
