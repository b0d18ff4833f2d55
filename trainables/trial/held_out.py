"""What a student makes of conversations that its recovery does not train on."""

import json

import numpy as np
import torch
from transformers import PreTrainedModel

from trainables.common.files import write_json
from trainables.models.collation import move
from trainables.pruning.planning.planner import PrunePlan
from trainables.recovery.loss.coverage import coverage
from trainables.recovery.loss.objective import RecoveryObjective
from trainables.recovery.loss.targets import Targets
from trainables.specs import LossSpec
from trainables.trial.inputs import Inputs
from trainables.trial.keys import computes, sees

MOST = 64  # conversations
LEAST = 8  # fewer say nothing


def held_out_loss(inputs: Inputs, student: PreTrainedModel) -> float | None:
    """Mean cross-entropy of the answer tokens, in nats, whatever the recovery's own loss is.

    The conversations are the last ones of the order whose first ones are trained on, so that the
    trials of a sweep have the same ones. None where a recovery leaves fewer than 8 of them.
    """
    indices = _held_out(inputs)
    return None if len(indices) < LEAST else _cross_entropy(inputs, student, indices)


def loss_before(inputs: Inputs, plan: PrunePlan, student: PreTrainedModel) -> float | None:
    """`held_out_loss` of a pruned student that is not trained yet, computed once for its plan."""
    indices = _held_out(inputs)
    if len(indices) < LEAST:
        return None
    key = {**computes(inputs.dense), "plan": plan.digest, "samples": sees(inputs, indices)}
    entry, _ = inputs.store.get_or_create(
        "held-out-loss",
        key,
        lambda new: write_json(
            new / "loss.json", {"loss": _cross_entropy(inputs, student, indices)}
        ),
    )
    loss: float = json.loads((entry / "loss.json").read_text(encoding="utf-8"))["loss"]
    return loss


def _held_out(inputs: Inputs) -> np.ndarray:
    """Indices of the conversations, int64; those that cannot be encoded are passed over."""
    fraction, seed = inputs.spec.recovery.data_fraction, inputs.spec.seeds.data
    trained = len(inputs.data.subset(fraction, seed))
    found: list[int] = []
    for index in reversed(inputs.data.subset(1.0, seed)[trained:]):
        if len(found) == MOST:
            break
        if inputs.encoder.fault(int(index)) is None:
            found.append(int(index))
    return np.array(found, dtype=np.int64)


def _cross_entropy(inputs: Inputs, student: PreTrainedModel, indices: np.ndarray) -> float:
    encoder, weight = inputs.encoder, next(student.parameters())
    objective = RecoveryObjective(student, LossSpec(), (), inputs.dense.adapter).eval()
    samples = (encoder.tokens(int(i)) for i in indices)
    total = coverage(samples, LossSpec(), objective.image_token_id)
    size, loss = inputs.spec.recovery.micro_batch_size, 0.0
    with torch.no_grad():
        for at in range(0, len(indices), size):
            batch = move(encoder.batch(indices[at : at + size]), weight.device, weight.dtype)
            loss += float(objective(batch, total, Targets(), None, ())["ce"])
    return loss
