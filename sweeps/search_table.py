"""What comes out of the `frontier` space, setting by setting: the table that searches are tried on.

Command: `prunesweep run search_table`
Cost: 621 trials; about two hours on two CPU cores, no GPU, no download.
Outcome: not run to its end yet.

Every configuration is drawn at random, so the table favours no sampler; its trials run to their
end and keep their score at a ninth and a third of their budget, so it favours no stopping rule.
"""

import itertools
import random

from search_spaces.factors import METHODS, SCOPES, TERMS
from sweeps.engine.spec import RungSpec, SweepSpec
from sweeps.quickstart import RATIOS
from sweeps.quickstart import sweep as quickstart

DATA_FRACTIONS, LORA_RANKS = (0.05, 0.02, 0.1, 0.2), (16, 4, 64)
REPEATED = 8  # configurations of a cell that run with two sets of seeds, and so show the noise


def _drawn(method: str, ratio: float, draw: random.Random) -> dict[str, object]:
    """A point of the cell that recovers; scales and log ratios uniform as the space has them."""
    point: dict[str, object] = {
        "method": method,
        "ratio": ratio,
        "scope": draw.choice(SCOPES[:2]),
        "terms": draw.choice(TERMS),
        "data_fraction": draw.choice(DATA_FRACTIONS),
        "lr_scale": 4.0 ** draw.uniform(-1.0, 1.0),
    }
    _, *more = str(point["terms"]).split("+")
    point |= {
        "log2_hidden" if term == "l2" else "log2_logits": draw.uniform(-4, 4) for term in more
    }
    return point | ({"lora_rank": draw.choice(LORA_RANKS)} if point["scope"] == "joint" else {})


_draw, CELLS = random.Random(0), tuple(itertools.product(METHODS, RATIOS))
FINER = quickstart.trial.evaluation.model_copy(update={"search_limit": 400, "rung_limit": 200})
sweep = SweepSpec(
    name="search_table",
    question="What comes out of every setting of the frontier space, at each rung and at its end?",
    trial=quickstart.trial.model_copy(update={"evaluation": FINER}),
    space="frontier",
    strata={"method": METHODS, "ratio": RATIOS},
    choices={"data_fraction": DATA_FRACTIONS, "lora_rank": LORA_RANKS},
    designed=tuple(_drawn(*cell, _draw) for cell in CELLS for _ in range(REPEATED)),
    replicates=2,
    priors=False,
    samples=492,
    sampler="random",  # none is chosen by what the others showed
    rungs=RungSpec(fractions=(1 / 9, 1 / 3), stop=False),
    report_candidates=1,
    gallery=0,
)
