"""What a simulated trial comes to: the protocol of objectives, and one whose optimum is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sweeps.engine.simulate.features import AT, Leaf, Rows
from sweeps.engine.spec import SweepSpec

FRACTIONS = (1 / 9, 1 / 3, 1.0)  # of the recovery's budget at which objectives are defined
Values = NDArray[np.float64]  # [trials, len(FRACTIONS)]


@dataclass(frozen=True)
class Curves:
    """Trials at a ninth, a third and the whole of their budget, each [trials, 3]."""

    retention: Values
    tflops: Values
    seconds: Values

    def at(self, fractions: Sequence[float]) -> "Curves":
        """The same at other fractions: retention over the logarithm, cost and time as they grow.

        Between two fractions it is linear; below the first one costs go on in the same line.
        """
        given, wanted = np.array(FRACTIONS), np.array(fractions)
        logs, targets = np.log(given), np.log(np.clip(wanted, given[0], 1.0))
        return Curves(
            np.array([np.interp(targets, logs, row) for row in self.retention]),
            *(
                np.array([np.interp(wanted, given, row) for row in rows])
                for rows in (self.tflops, self.seconds)
            ),
        )


class Objective(Protocol):
    """Answers what settings come to, without noise, and what noise a trial's scores carry.

    Attributes:
        name: on the command line.
        about: one sentence on what its numbers are.
    """

    name: str
    about: str

    def check(self, sweep: SweepSpec) -> None:
        """Raise `ValueError` for a sweep whose settings it knows nothing of."""

    def curves(self, rows: Rows) -> Curves:
        """What the settings come to, noise-free."""

    def noise(self, row: Sequence[float], rng: np.random.Generator) -> Values:
        """What a trial's three scores are off by, [3]."""

    def spread(self, leaf: Leaf) -> Rows:
        """Settings of a leaf among which its best ones are."""

    def weights_mib(self, row: Sequence[float], dense: float) -> float:
        """Weight memory of the student, where `dense` is that of what pruning leaves (MiB)."""


class Analytic:
    """A smooth objective whose per-cell fronts are known: closed forms with one peak each.

    retention(f) = r0 + (1 - r0) q f^p, with r0 without recovery (falling with the ratio), q the
    product of what scope and rank, loss mixture, data and learning rate are worth, each in [0, 1],
    and f the fraction of the budget. The best rate falls as the ratio grows, the best weight of a
    distillation term is 2 (logits) and 1/2 (hidden states) times that of the first term. A low rate
    shows late (p is larger), so scores at rungs mislead a little. Cost is proportional to the data,
    larger with a teacher and with `joint`. Factors of other spaces have no effect.
    """

    name = "analytic"
    about = "closed forms, not measured: retention, TFLOPs and seconds are made up"
    NOISE = 0.006  # standard deviation of a score at the end; sqrt(2) times as much at rungs
    PEAKS = ((AT["log2_logits"], 1.0), (AT["log2_hidden"], -1.0))

    def check(self, sweep: SweepSpec) -> None:
        """It answers for every sweep."""

    def curves(self, rows: Rows) -> Curves:
        """What the settings come to, noise-free."""
        x = {name: rows[:, column] for name, column in AT.items()}
        wide, ratio, trained = x["widthwise"], x["ratio"], x["recovers"]
        lost = np.minimum((1.5 - 0.3 * wide) * ratio**1.5, 0.95)
        scope = np.where(x["joint"] > 0, 1 - 0.6 / np.sqrt(2.0 ** x["log2_lora_rank"]), 0.45)
        bonus, beside = np.zeros(len(rows)), x["ce"] > 0
        for term, layers, more in (
            ("reverse_kl", 0.12, -0.06),
            ("kl", 0.05, 0),
            ("l2", 0.06, 0.08),
        ):
            column, peak = self.PEAKS[term == "l2"]
            off = np.where(beside, rows[:, column] - peak, 0.0)
            bonus += x[term] * (layers + more * wide) * np.exp(-(off**2) / 18)
        mixture = np.where(beside, 0.80, 0.66) + bonus
        data = 2.0 ** x["log2_data_fraction"]
        off = x["log2_lr_scale"] - self._best_rate(ratio)
        quality = scope * mixture * data / (data + 0.03) * np.exp(-(off**2) / 3)
        power = np.clip(0.3 * 2 ** (-off / 2), 0.1, 1.0)
        share = np.array(FRACTIONS)[None, :]
        kept = 1 - 0.9 * ratio
        teacher = 1 + 0.5 * np.minimum(x["kl"] + x["reverse_kl"] + x["l2"], 1)
        tflops = 100 * data * kept * teacher * np.where(x["joint"] > 0, 1.0, 0.7) * trained
        retention = (1 - lost)[:, None] + (lost * quality * trained)[:, None] * share ** power[
            :, None
        ]
        cost = tflops[:, None] * share
        scoring = 5.0 * np.arange(1, len(FRACTIONS) + 1)[None, :]
        return Curves(retention, cost, 15 + scoring + 20 * cost)

    def noise(self, row: Sequence[float], rng: np.random.Generator) -> Values:
        """Independent at each rung and at the end."""
        return self.NOISE * np.array([2**0.5, 2**0.5, 1.0]) * rng.standard_normal(3)

    def spread(self, leaf: Leaf) -> Rows:
        """The best setting of the leaf: its continuous factors at their peaks, or the nearest."""
        best = np.array([leaf.row])
        peaks = (*self.PEAKS, (AT["log2_lr_scale"], self._best_rate(leaf.spec.pruning.ratio)))
        for column, peak in peaks:
            if column in leaf.free:
                best[:, column] = np.clip(peak, *leaf.free[column])
        return best

    def weights_mib(self, row: Sequence[float], dense: float) -> float:
        """That of the language model alone."""
        return dense

    @staticmethod
    def _best_rate(ratio: float | Values) -> float | Values:
        return 0.5 - ratio
