"""What a loss mixture asks of the teacher, and which of its states face the student's. Torch-free.

Hidden states are counted like this: state j of a decoder of L layers is the residual stream after
j layers for j < L (j = 0: the embeddings), and state L is taken after the final norm.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from trainables.specs import Covered, LossSpec


@dataclass(frozen=True)
class TeacherNeeds:
    """What is asked of the teacher; nothing beyond it is computed or cached.

    Attributes:
        states: the teacher's states for the hidden term, one per state of the student, oldest
            first; () without that term.
        hidden_tokens: tokens that the hidden term covers.
        logits: whether the logits term needs the final state (or the top k).
        logits_tokens: positions that the logits term covers.
        temperature: of the logits term.
    """

    states: tuple[int, ...]
    hidden_tokens: Covered
    logits: bool
    logits_tokens: Covered
    temperature: float


def student_states(loss: LossSpec, layers: int) -> tuple[int, ...]:
    """The student's last k states (see the module) of `layers` layers, oldest first.

    Raises:
        ValueError: the student has fewer layers than the loss compares states.
    """
    if loss.hidden_layers > layers:
        raise ValueError(
            f"loss.hidden_layers={loss.hidden_layers}, but the student has only {layers} layers; "
            "lower it"
        )
    return tuple(range(layers - loss.hidden_layers + 1, layers + 1))


def teacher_states(loss: LossSpec, kept: Sequence[int], layers: int) -> tuple[int, ...]:
    """The teacher's state that each of the student's last k is compared with, by the layer map.

    `kept` are the dense indices of the student's layers, rising; `layers` counts the teacher's.

    Returns:
        Rising state numbers; the last is always `layers`, the state after the final norm.

    Raises:
        ValueError: student or teacher have fewer layers than the loss compares states, or the
            teacher has not the layers that the student kept.
    """
    own = student_states(loss, len(kept))
    if len(own) > layers or (loss.layer_map == "kept" and kept[-1] >= layers):
        raise ValueError(
            f"loss.hidden_layers={loss.hidden_layers} with layer_map={loss.layer_map!r} needs more "
            f"layers than the teacher's {layers}; use layer_map='uniform', or fewer states"
        )
    if loss.layer_map == "last":
        return tuple(range(layers - len(own) + 1, layers + 1))
    if loss.layer_map == "kept":
        return (*(kept[state - 1] + 1 for state in own[:-1]), layers)
    return (*(round(state * layers / len(kept)) for state in own[:-1]), layers)


def needs_width_map(loss: LossSpec, student: int, teacher: int) -> bool:
    """Whether states of these hidden sizes are compared through a trained map.

    Raises:
        ValueError: the sizes differ, the hidden term is active, and the loss asks for no map.
    """
    if not loss.gamma or student == teacher:
        return False
    if not loss.width_map:
        raise ValueError(
            f"the student's hidden size is {student} and the teacher's {teacher}, so their hidden "
            "states cannot be compared; set loss.width_map=true or gamma=0"
        )
    return True
