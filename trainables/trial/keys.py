"""What a result depends on, said once; every key of the store is made of it.

`computes` is a model as it computes, `reads` how it turns text and pictures into numbers, `shows`
its pictures alone, `answers` all of that, and `sees` the samples that it is shown. An ingredient
that is added to one of them is in all keys at once, and entries under the old ones are missed.
Nothing else of a folder is in any key: not where it lies, nor its times.
"""

import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from trainables.common.contents import code_digest
from trainables.common.provenance import versions
from trainables.models.dense import DenseModel
from trainables.specs import digest
from trainables.trial.inputs import Inputs

Key = dict[str, Any]
COMPUTING = ("torch", "transformers")
READING = ("transformers", "tokenizers", "jinja2", "torchvision", "pillow")


def computes(model: DenseModel) -> Key:
    """The network: weights, config, and with which type, on which device, by which libraries."""
    return {
        **_parts(model, ("weights", "config", "code")),
        "dtype": str(model.model.dtype),  # the CPU's is another one than the spec's
        "device": model.model.device.type,
        "versions": {**versions(*COMPUTING), "own code": code_digest()},
    }


def reads(model: DenseModel) -> Key:
    """Processor, tokenizer and chat template."""
    return {
        **_parts(model, ("config", "code", "processor", "tokenizer", "template")),
        "versions": versions(*READING),
    }


def shows(model: DenseModel) -> Key:
    """What it makes of a picture; the token ids of a sample say the rest of `reads`."""
    used = json.loads(model.processor.image_processor.to_json_string())
    return {**_parts(model, ("code",)), "processor": digest(used), "versions": versions(*READING)}


def answers(model: DenseModel) -> Key:
    """All that its greedy answers to a question depend on, where they end included."""
    return {**computes(model), "reads": reads(model), **_parts(model, ("generation",))}


def sees(inputs: Inputs, indices: np.ndarray) -> Key:
    """Samples in their order, as the dense model's processor encodes them.

    It takes reading the pictures that they show, on the machine that is to use the entry. The
    driver makes no keys, so that it needs no pictures.
    """
    return {
        "reads": reads(inputs.dense),
        "max_tokens": inputs.spec.data.max_tokens,
        "samples": inputs.encoder.content(indices),
    }


def _parts(model: DenseModel, names: Iterable[str]) -> Key:
    return {name: model.contents.get(name) for name in names}
