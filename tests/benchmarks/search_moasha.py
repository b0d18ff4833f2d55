"""The other end of `search_others.Moasha`: a line of JSON for each line, with Syne Tune only."""

from __future__ import annotations

import json
import sys
from datetime import datetime

import numpy as np
from syne_tune.backend.trial_status import Trial
from syne_tune.config_space import choice, loguniform, uniform
from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA

levels, cells, seed = json.loads(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
np.random.seed(seed)  # its config spaces draw from numpy's global state
space = {name: choice(values) for name, values in levels.items()}
space |= {"lr_scale": loguniform(0.25, 4.0)}
space |= {"log2_logits": uniform(-4.0, 4.0), "log2_hidden": uniform(-4.0, 4.0)}
schedulers = [
    MOASHA(space, ["lost", "tflops"], time_attr="ninths", max_t=9, reduction_factor=3,
           random_seed=1000 * seed + i)
    for i in range(cells)
]  # fmt: skip
trials: dict[int, Trial] = {}
for line in sys.stdin:
    word, number, *values = json.loads(line)
    scheduler = schedulers[number % cells]
    answer: object = None
    if word == "ask":
        answer = scheduler.suggest().config
        trials[number] = Trial(number, answer, datetime.now())
        scheduler.on_trial_add(trials[number])
    else:
        result = dict(zip(("ninths", "lost", "tflops"), values, strict=True))
        if word == "result":
            answer = scheduler.on_trial_result(trials[number], result) != "STOP"
        else:
            scheduler.on_trial_complete(trials[number], result)
    print(json.dumps(answer), flush=True)
