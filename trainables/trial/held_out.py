"""What a student makes of conversations that its recovery does not train on."""

import json
from typing import NamedTuple

import numpy as np
import torch
from transformers import PreTrainedModel

from trainables.common.files import write_json
from trainables.models.collation import move
from trainables.pruning.planning.planner import PrunePlan
from trainables.records.clusters import summed_error
from trainables.recovery.data.conversations import HELD_OUT, LEAST_HELD_OUT
from trainables.recovery.loss.coverage import coverage
from trainables.recovery.loss.objective import RecoveryObjective
from trainables.recovery.loss.targets import Targets
from trainables.specs import LossSpec
from trainables.trial.inputs import Inputs
from trainables.trial.keys import computes, sees


class HeldOut(NamedTuple):
    """Cross-entropy of C conversations: the sum over the answer tokens of each, in nats, and those.

    Of cross-entropy, whatever the recovery's own loss is.
    """

    losses: tuple[float, ...]
    tokens: tuple[int, ...]

    @property
    def mean(self) -> float:
        """Over all answer tokens."""
        return sum(self.losses) / sum(self.tokens)


def held_out(inputs: Inputs, student: PreTrainedModel) -> HeldOut | None:
    """What a student makes of them.

    The conversations are the last ones of the order whose first ones are trained on, so that the
    trials of a sweep have the same ones. None where a recovery leaves fewer than 8 of them.
    """
    indices = _held_out(inputs)
    return None if len(indices) < LEAST_HELD_OUT else _cross_entropy(inputs, student, indices)


def held_out_before(inputs: Inputs, plan: PrunePlan, student: PreTrainedModel) -> HeldOut | None:
    """`held_out` of a pruned student that is not trained yet, computed once for its plan."""
    indices = _held_out(inputs)
    if len(indices) < LEAST_HELD_OUT:
        return None
    key = {**computes(inputs.dense), "plan": plan.digest, "samples": sees(inputs, indices)}
    entry, _ = inputs.store.get_or_create(
        "held-out-losses",
        key,
        lambda new: write_json(
            new / "losses.json", _cross_entropy(inputs, student, indices)._asdict()
        ),
    )
    found = json.loads((entry / "losses.json").read_text(encoding="utf-8"))
    return HeldOut(tuple(found["losses"]), tuple(found["tokens"]))


def paired_losses(before: HeldOut | None, after: HeldOut | None) -> dict[str, float]:
    """The fields of a `RecoveryReport` on both, paired by conversation; empty without them."""
    if before is None or after is None:
        return {}
    tokens = np.array(after.tokens)
    risen = np.array(after.losses) - np.array(before.losses)
    moved = (risen - tokens * risen.sum() / tokens.sum()) / tokens.sum()
    return {
        "held_out_before": before.mean,
        "held_out_after": after.mean,
        "held_out_se": summed_error(moved),
    }


def _held_out(inputs: Inputs) -> np.ndarray:
    """Indices of the conversations, int64; those that cannot be encoded are passed over."""
    fraction, seed = inputs.spec.recovery.data_fraction, inputs.spec.seeds.data
    trained = len(inputs.data.subset(fraction, seed))
    found: list[int] = []
    for index in reversed(inputs.data.subset(1.0, seed)[trained:]):
        if len(found) == HELD_OUT:
            break
        if inputs.encoder.fault(int(index)) is None:
            found.append(int(index))
    return np.array(found, dtype=np.int64)


def _cross_entropy(inputs: Inputs, student: PreTrainedModel, indices: np.ndarray) -> HeldOut:
    encoder, weight = inputs.encoder, next(student.parameters())
    objective = RecoveryObjective(student, LossSpec(), (), inputs.dense.adapter).eval()
    losses, tokens = list[float](), list[int]()
    with torch.no_grad():
        for index in map(int, indices):  # one by one, for the loss of each
            own = coverage([encoder.tokens(index)], LossSpec(), objective.image_token_id)
            batch = move(encoder.batch([index]), weight.device, weight.dtype)
            mean = objective(batch, own, Targets(), None, ())["ce"]
            losses.append(float(mean) * own.answer)
            tokens.append(own.answer)
    return HeldOut(tuple(losses), tuple(tokens))
