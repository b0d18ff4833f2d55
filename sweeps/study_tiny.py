"""Every table of the study on the embedded model: what does it look like there?

Command: `make study`, or `prunesweep run study_tiny`, then `prunesweep study table3 study_tiny`
Cost: 68 trials; half an hour on two CPU cores that other work kept busy; no GPU, no download.
Outcome: layers win from 30 % on and wherever nothing is recovered, since this model's were grown by
    copying: the study's advice is beaten at 10 of the 13 places where it was tried. Up to 30 % no
    recovery is told apart from none. L2 alone is best of the losses, by 1.3 points over CE + L2; CE
    alone, the cheapest, is not told apart from it at any one size.

Each point fills a cell of `analysis/published/study_tables.py`, most of them several.
"""

import itertools
from typing import Any

from sweeps.engine.spec import SweepSpec
from sweeps.quickstart import RATIOS
from sweeps.quickstart import sweep as quickstart

METHODS, FRACTIONS = ("layerwise", "widthwise"), (0.05, 0.1, 0.2)
LOSSES = {
    "layerwise": ["ce", "ce+l2", "l2", "reverse_kl", "ce+reverse_kl"],
    "widthwise": ["ce", "ce+l2", "l2"],
}
STATES = "recovery.loss.hidden_layers"

Point = dict[str, Any]
JOINT: Point = {"scope": "joint", "data_fraction": FRACTIONS[0]}
CELLS: list[Point] = [{"method": m, "ratio": r} for r, m in itertools.product(RATIOS, METHODS)]
BEST = [cell for cell in CELLS if (cell["method"] == "layerwise") == (cell["ratio"] < 0.4)]
WIDE = [cell for cell in CELLS if cell["method"] == "widthwise"]
INT8: Point = {"quantization": "llm_int8"}
DENSE: Point = {"method": "layerwise", "ratio": 0.0, "scope": "none"}

GRID: tuple[Point, ...] = (
    *({**cell, "scope": "none"} for cell in CELLS),  # Tables 1, 2 and 7
    *({**cell, **JOINT, "scope": "projector", "terms": "ce"} for cell in CELLS),
    *({**cell, **JOINT, "terms": t} for cell in CELLS for t in LOSSES[cell["method"]]),  # 3, 8, 9
    *({**cell, **JOINT, "terms": "l2", STATES: k} for cell in WIDE for k in (2, 3)),  # 6
    *({**c, **JOINT, "terms": "ce+l2", "data_fraction": f} for c in BEST for f in FRACTIONS[1:]),
    {**DENSE, **INT8},  # 4
    *({**cell, **JOINT, "terms": "ce+l2", **INT8} for cell in BEST[:2]),
)

sweep = SweepSpec(
    name="study_tiny",
    question="What do the study's tables look like on the embedded model?",
    trial=quickstart.trial,
    space="pruning_x_quantization",
    strata={"method": METHODS, "ratio": (0.0, *RATIOS)},
    choices={"data_fraction": FRACTIONS, "lora_rank": (16,), STATES: (1, 2, 3)},
    designed=GRID,
    priors=False,
    report_designed=True,
)
