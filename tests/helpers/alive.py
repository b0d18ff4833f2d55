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
    kinds = [type(thing) for thing in gc.get_objects()]
    groups = {"modules": nn.Module, "tensors": torch.Tensor}
    counts = Counter({name: sum(issubclass(k, of) for k in kinds) for name, of in groups.items()})
    named = (PreTrainedModel, DeepSpeedEngine, torch.optim.Optimizer, DeepSpeedOptimizer)
    return counts + Counter(kind.__name__ for kind in kinds if issubclass(kind, named))
