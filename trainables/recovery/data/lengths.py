"""How long conversations are, as a model's processor counts: what `plan` asks for. Torch-free."""

from typing import NamedTuple

from trainables.specs import DataSpec, Frozen, ModelSpec

SAMPLED = 1024  # of which the mean is known to about 1 % where lengths differ by a third
SEED = 0  # of the permutation whose first samples they are, that of `Seeds.data` by default


class LengthsQuestion(Frozen):
    """Whose processor counts which conversations; those of the embedded model where none."""

    model: ModelSpec
    data: DataSpec


class Lengths(Frozen):
    """Tokens of the first samples of a permutation, each as it is trained on.

    Attributes:
        all: of each sample, image tokens included.
        text: that are no image tokens.
        before_text: right before one of those, `either` one of the two.
        response: right before a token of an answer.
        images: of each sample.
    """

    all: tuple[int, ...]
    text: tuple[int, ...]
    before_text: tuple[int, ...]
    either: tuple[int, ...]
    response: tuple[int, ...]
    images: tuple[int, ...]

    @property
    def mean(self) -> float:
        """Tokens of a sample."""
        return sum(self.all) / len(self.all)


class Counted(NamedTuple):
    """One sample's row of `Lengths`."""

    all: int
    text: int
    before_text: int
    either: int
    response: int
    images: int
