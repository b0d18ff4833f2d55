"""Counts what a plan cannot without torch: vision tower, projector, activations of students.

`python -m trainables.efficiency.costing` reads a JSON list of questions (`unpruned.Question`) and
answers with one `unpruned.Counted` each. No weights are read or made.
"""

import copy
import json
import sys
from typing import Any

import torch
import transformers

from trainables.efficiency.measure import count_parts, unpruned_parts
from trainables.efficiency.memory import decoder_bytes, tower_bytes
from trainables.efficiency.meta import on_meta
from trainables.models.families.adapter import VLMAdapter
from trainables.models.families.registry import adapter_for
from trainables.models.resized import resize
from trainables.models.unpruned import Counted, Question, Widths


def answer(question: Question) -> Counted:
    """The counts of one model, by passes on the meta device."""
    adapter = adapter_for(question.config)
    model = _build(question, adapter, layers=1)
    parts = count_parts(model, adapter)
    towers = (model.get_submodule(path) for path in (adapter.vision_tower, adapter.projector))
    tensors = {id(p): p.numel() for tower in towers for p in tower.parameters()}
    unpruned = unpruned_parts(model, adapter, question.efficiency, question.dtype)
    peak, left = tower_bytes(on_meta(model, "sdpa"), adapter) if question.students else (0, 0)
    tokens = unpruned.image_tokens + unpruned.prompt_tokens
    return Counted(
        unpruned=unpruned,
        vision=parts.vision,
        projector=parts.projector,
        tensors=tuple(tensors.values()),
        activations=tuple(
            max(peak, left + decoder_bytes(_student(question, adapter, kinds), tokens))
            for kinds in question.students
        ),
    )


def _student(question: Question, adapter: VLMAdapter, kinds: Widths) -> Any:
    """A model with one layer of each kind, as the peak is that of the widest one, and one before.

    The first layer's input is the embedded prompt itself, while later ones have theirs besides.
    """
    shape = adapter.language_shape(question.config)
    kinds = (kinds[-1], *kinds)[-shape.num_hidden_layers :]
    model = _build(question, adapter, layers=len(kinds))
    resize(model, adapter.resized(shape, kinds))
    model.set_attn_implementation("sdpa")
    return model


def _build(question: Question, adapter: VLMAdapter, layers: int) -> Any:
    """The model on meta with so many decoder layers, in the type that was asked for."""
    kind = getattr(transformers, adapter.model_class)
    parsed = kind.config_class.from_dict(copy.deepcopy(question.config))
    parsed.get_text_config().num_hidden_layers = layers
    with torch.device("meta"):
        model = kind(parsed)
    return model.to(getattr(torch, question.dtype)).eval()


def main() -> None:
    """Answer the questions on stdin."""
    questions = [Question.model_validate(each) for each in json.load(sys.stdin)]
    json.dump([answer(question).model_dump() for question in questions], sys.stdout)


if __name__ == "__main__":
    main()
