"""The table of truth as an objective: a surrogate between its entries, with its own noise."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweeps.engine.search.fixed_points import resolve_point
from sweeps.engine.simulate.features import AT, CONTINUOUS, Leaf, Rows, leaves, row_of
from sweeps.engine.simulate.objective import Curves, Values
from sweeps.engine.simulate.surrogate import process
from sweeps.engine.spec import SweepSpec
from sweeps.engine.spec.loading import load_sweep

SWEEP = "search_table"
PARQUET = Path(__file__).with_name(f"{SWEEP}.parquet")
META = b"prunesweep"
RUNGS = ("1_9", "1_3", "1")  # ends of the columns' names
POINTS = 64  # of the continuous factors at which the best of a leaf is looked for
COLUMNS = ("method", "ratio", "scope", "terms", "log2_logits", "log2_hidden", "data_fraction",
           "lr_scale", "lora_rank")  # fmt: skip
TERMS = [AT[name] for name in ("ce", "kl", "reverse_kl", "l2", "other_term")]
Kernels = Mapping[str, Sequence[float]]  # quantity -> log hyperparameters of its Gaussian process
ByMethod = dict[float, Callable[[Values], Values]]  # widthwise -> ratios [n] -> [n, values]
Cells = dict[tuple[float, float], NDArray[np.intp]]  # (widthwise, ratio) -> places of its entries


class Table:
    """Answers from measured trials.

    Retention is standardised within its method and ratio; a Gaussian process (Matern 5/2, one
    length per factor) over all of them smooths it, another one the logarithm of the TFLOPs and a
    third that of the seconds. Between two ratios the scale is interpolated. Without recovery the
    mean of the method and ratio counts. The noise of a trial's scores has the covariance over the
    rungs that the pairs of seeds of its method and ratio have.

    Args:
        entries: columns of the table, as the parquet file holds them.
        kernels: `kernels` of an earlier table of the same entries; what is missing is fitted anew.

    Attributes:
        rows: the entries as numbers.
        trained: which of them recovered.
        targets: of those, what the processes are fitted to, at each rung.
        pairs: differences of retention between two seeds of a setting, by (widthwise, ratio).
    """

    name = "table"

    def __init__(self, entries: Mapping[str, Sequence[Any]], kernels: Kernels) -> None:
        self.sweep = load_sweep(SWEEP)
        self.rows = np.array([self._row(entries, i) for i in range(len(entries["method"]))])
        self._retention, tflops, seconds = (
            np.array([entries[f"{name}_{rung}"] for rung in RUNGS], dtype=float).T
            for name in ("retention", "recovery_tflops", "device_seconds")
        )
        self.trained = self.rows[:, AT["recovers"]] > 0
        self._cells = _cells(self.rows)
        self.pairs = self._differences()
        self.about = f"measured on {len(self.rows)} trials of the embedded model (`{SWEEP}`)"
        weights = np.array(entries["weights_mib"], dtype=float)
        self._scales = self._by_method(self._scale_of)
        self._weights = self._by_method(lambda places: weights[places].mean(keepdims=True))
        bare = seconds[~self.trained] if (~self.trained).any() else seconds.min(axis=0)
        self._untrained_seconds = float(np.median(bare))
        inputs = self.rows[self.trained]
        scale = self._at(inputs, self._scales)
        self.targets: dict[str, Values] = {
            "retention": (self._retention[self.trained] - scale[:, :1]) / scale[:, 1:2],
            "recovery_tflops": np.log(tflops[self.trained]),
            "device_seconds": np.log(seconds[self.trained]),
        }
        self._models = {
            name: process(kernels.get(name)).fit(inputs, targets)
            for name, targets in self.targets.items()
        }

    @classmethod
    def read(cls, path: Path) -> Table:
        """The table of a parquet file.

        Raises:
            ValueError: there is no such file.
        """
        import pyarrow.parquet as pq

        if not path.exists():
            raise ValueError(
                f"{path} does not exist; `prunesweep run {SWEEP}` and then "
                f"`python docs/scripts/{SWEEP}.py` make it, or take --objective analytic"
            )
        found = pq.read_table(path)
        kernels = json.loads((found.schema.metadata or {})[META])["kernels"]
        return cls(found.to_pydict(), kernels)

    @classmethod
    def shipped(cls) -> Table:
        """The one that comes with the package."""
        return cls.read(PARQUET)

    @property
    def kernels(self) -> dict[str, list[float]]:
        """Log hyperparameters of the fitted processes."""
        return {name: model.kernel_.theta.tolist() for name, model in self._models.items()}

    def check(self, sweep: SweepSpec) -> None:
        """Raise `ValueError` for a sweep over another space, or beyond the table's levels."""
        if sweep.space != self.sweep.space:
            raise ValueError(
                f"the table holds trials of the space {self.sweep.space!r}, and sweep "
                f"{sweep.name!r} searches {sweep.space!r}; take --objective analytic"
            )
        trained = self.rows[self.trained]
        joint = trained[trained[:, AT["joint"]] > 0]
        terms = {tuple(row[TERMS]) for row in trained}
        drawn: dict[int, tuple[float, float]] = {}
        for leaf in leaves(self.sweep, self.sweep.cells[0]):
            drawn |= leaf.free
        for cell in sweep.cells:
            for leaf in leaves(sweep, cell):
                row, spec = np.array(leaf.row), leaf.spec
                of, recovery = spec.pruning, spec.recovery
                asked = [
                    ("method", "widthwise", self.rows, of.method),
                    ("ratio", "ratio", self.rows[self.rows[:, 0] == row[0]], of.ratio),
                ]
                if row[AT["recovers"]]:
                    share = recovery.data_fraction
                    asked += [("data_fraction", "log2_data_fraction", trained, share)]
                    if tuple(row[TERMS]) not in terms:
                        raise ValueError(_beyond("terms", recovery.loss.terms))
                for factor, column in CONTINUOUS.items():
                    low, high = leaf.free.get(column, (0.0, 0.0))
                    least, most = drawn[column]
                    if low < least or high > most:
                        ends = [low, high] if factor in AT else [2**low, 2**high]
                        raise ValueError(_beyond(factor, ends))
                if row[AT["joint"]]:
                    asked += [("lora_rank", "log2_lora_rank", joint, recovery.lora_rank)]
                for factor, name, entries, value in asked:
                    held = entries[:, AT[name]]
                    if not held.min() - 1e-9 <= row[AT[name]] <= held.max() + 1e-9:
                        raise ValueError(_beyond(factor, value))

    def curves(self, rows: Rows) -> Curves:
        """What the settings come to by the surrogate, noise-free."""
        trained = rows[:, AT["recovers"]] > 0
        retention = np.repeat(self._at(rows, self._scales)[:, 2:], len(RUNGS), axis=1)
        tflops = np.zeros_like(retention)
        seconds = np.full_like(retention, self._untrained_seconds)
        if trained.any():
            asked = rows[trained]
            found = {name: model.predict(asked) for name, model in self._models.items()}
            retention[trained] = self.in_points(asked, found["retention"])
            tflops[trained] = np.exp(found["recovery_tflops"])
            seconds[trained] = np.exp(found["device_seconds"])
        return Curves(retention, *(np.maximum.accumulate(v, axis=1) for v in (tflops, seconds)))

    def noise(self, row: Sequence[float], rng: np.random.Generator) -> Values:
        """What the scores are off by: Gaussian, with the covariance of the pairs of seeds."""
        cells = list(self._cells)
        ratios = [abs(ratio - row[1]) + 10 * abs(wide - row[0]) for wide, ratio in cells]
        pairs = self.pairs.get(cells[int(np.argmin(ratios))])
        if pairs is None:
            pairs = np.concatenate([*self.pairs.values(), np.zeros((1, len(RUNGS)))])
        return np.asarray(rng.standard_normal(len(pairs)) @ pairs / np.sqrt(2 * len(pairs)))

    def spread(self, leaf: Leaf) -> Rows:
        """Points of a Sobol sequence over the continuous factors of the leaf."""
        if not leaf.free:
            return np.array([leaf.row])
        from scipy.stats import qmc

        unit = qmc.Sobol(len(leaf.free), rng=0).random(POINTS)
        rows = np.tile(leaf.row, (POINTS, 1))
        for place, (column, (low, high)) in enumerate(leaf.free.items()):
            rows[:, column] = low + (high - low) * unit[:, place]
        return rows

    def weights_mib(self, row: Sequence[float], dense: float) -> float:
        """Weight memory of the student as the table has it."""
        return float(self._at(np.array([row]), self._weights)[0, 0])

    def _row(self, entries: Mapping[str, Sequence[Any]], i: int) -> tuple[float, ...]:
        point = {name: entries[name][i] for name in COLUMNS if entries[name][i] is not None}
        return row_of(resolve_point(self.sweep, point)[2], self.sweep.base_trial)

    def _scale_of(self, places: NDArray[np.intp]) -> Values:
        """Mean and spread of the retention at the end, and what it is without recovery."""
        trained = places[self.trained[places]]
        ends = self._retention[trained, -1]
        without = self._retention[places[~self.trained[places]], -1]
        least = without.mean() if len(without) else self._retention[trained].min()
        return np.array([ends.mean(), max(float(ends.std()), 1e-3), least])

    def _by_method(self, of: Callable[[NDArray[np.intp]], Values]) -> ByMethod:
        """A quantity of the entries of a cell, by method as a function of the ratio."""
        return {
            wide: _by_ratio((ratio, of(p)) for (w, ratio), p in self._cells.items() if w == wide)
            for wide in {wide for wide, _ in self._cells}
        }

    def _differences(self) -> dict[tuple[float, float], Values]:
        found: dict[tuple[float, float], list[Values]] = {}
        first: dict[tuple[float, ...], int] = {}
        for i, row in enumerate(self.rows):
            if self.trained[i] and (j := first.setdefault(tuple(row), i)) != i:
                cell = (float(row[0]), float(row[1]))
                found.setdefault(cell, []).append(self._retention[i] - self._retention[j])
        return {cell: np.array(pairs) for cell, pairs in found.items()}

    def in_points(self, rows: Rows, standardised: Values) -> Values:
        """Standardised retention as a fraction of the dense average."""
        mean, spread, _ = self._at(rows, self._scales).T[..., None]
        return np.asarray(standardised * spread + mean)

    @staticmethod
    def _at(rows: Rows, by_method: ByMethod) -> Values:
        """A quantity of method and ratio for each row."""
        found = {wide: of(rows[:, AT["ratio"]]) for wide, of in by_method.items()}
        width = next(iter(found.values())).shape[1]
        values = np.full((len(rows), width), np.nan)
        for wide, of_method in found.items():
            of = rows[:, AT["widthwise"]] == wide
            values[of] = of_method[of]
        return values


def _cells(rows: Rows) -> Cells:
    names = [(float(row[0]), float(row[1])) for row in rows]
    return {
        name: np.array([i for i, other in enumerate(names) if other == name])
        for name in sorted(set(names))
    }


def _by_ratio(known: Iterable[tuple[float, Values]]) -> Callable[[Values], Values]:
    """A function of ratios [n] -> [n, values], linear between the known ones."""
    ratios, values = zip(*sorted(known, key=lambda pair: pair[0]), strict=True)
    stacked = np.array(values)
    return lambda asked: np.column_stack(
        [np.interp(asked, ratios, stacked[:, i]) for i in range(stacked.shape[1])]
    )


def _beyond(factor: str, value: object) -> str:
    where = "strata" if factor in ("method", "ratio") else "choices"
    where = "ranges" if factor in CONTINUOUS else where
    return (
        f"{factor}={value} lies beyond what the table holds; take levels within it with --set "
        f"{where}.{factor}=[...], or --objective analytic"
    )
