"""What is alive in this process: models, engines, optimizers, tensors."""

from __future__ import annotations

import gc
from collections import Counter

import torch
from torch import nn


def alive() -> Counter[str]:
    """How many of each there are once the garbage is collected.

    Modules count in all, and whole models and DeepSpeed engines once more by the name of their
    class; so do optimizers, DeepSpeed's among them.
    """
    from deepspeed import DeepSpeedEngine
    from deepspeed.runtime.base_optimizer import DeepSpeedOptimizer
    from transformers import PreTrainedModel

    gc.collect()
    groups = {"modules": nn.Module, "tensors": torch.Tensor}
    named = (PreTrainedModel, DeepSpeedEngine, torch.optim.Optimizer, DeepSpeedOptimizer)
    counts = Counter[str]()
    for kind, number in Counter(map(type, gc.get_objects())).items():
        names = [name for name, of in groups.items() if issubclass(kind, of)]
        names += [kind.__name__] if issubclass(kind, named) else []
        counts.update(dict.fromkeys(names, number))
    return counts
