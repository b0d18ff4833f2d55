"""The pruning methods, one row each: what they take away, and so which scores they plan from."""

from dataclasses import dataclass

from trainables.common.names import unknown
from trainables.specs import Method


@dataclass(frozen=True)
class PruningMethod:
    """What a method does; everything in this folder asks the row and never the name.

    Attributes:
        describes: what happens, in a few words.
        layers: whole layers go, the least important ones by `block` scores.
        width: KV groups and neurons of the layers that stay go, by `heads` and `neurons` scores.
    """

    describes: str
    layers: bool = False
    width: bool = False

    @property
    def arrays(self) -> tuple[str, ...]:
        """The arrays of `ImportanceScores` that a plan is made from."""
        return ("block",) * self.layers + ("heads", "neurons") * self.width


METHODS: dict[Method, PruningMethod] = {
    "layerwise": PruningMethod("whole layers go", layers=True),
    "widthwise": PruningMethod("heads and neurons of every layer go", width=True),
    "hybrid": PruningMethod("layers go first, then heads and neurons", layers=True, width=True),
}


def method_named(name: Method) -> PruningMethod:
    """The row of a method.

    Raises:
        ValueError: there is none of that name; lists the known ones.
    """
    if name not in METHODS:
        raise ValueError(unknown("pruning method", name, METHODS))
    return METHODS[name]
