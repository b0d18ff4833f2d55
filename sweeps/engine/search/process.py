"""A Gaussian process over the points of a sweep: what an objective comes to, and how sure that is.

Matern 5/2 with one length per column, and noise. The lengths are those that fit the first results
best, and are fitted anew from time to time, as that takes a second; all results are learned from.
"""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np

from sweeps.engine.search.history import Floats

LENGTHS = (0.3, 4.0)  # in ranges of a factor
GROWTH, MOST_FITTED = 1.25, 128  # fitted with so many times the results, up to these


class Process:
    """What is believed of one quantity.

    Args:
        rows: the points [n, columns].
        values: what came out [n].
        fitted: (points, values) that the lengths are fitted to.
        running: points [m, columns] that count as if they came out as expected.
    """

    def __init__(
        self, rows: Floats, values: Floats, fitted: tuple[Floats, Floats], running: Floats
    ) -> None:
        self._kernel = _kernel(*(part.tobytes() for part in fitted), len(fitted[1]))
        self._learn(rows, values)
        if len(running):
            expected, _ = self(running)
            self._learn(np.vstack([rows, running]), np.concatenate([values, expected]))

    def _learn(self, rows: Floats, values: Floats) -> None:
        self._process = _regressor(self._kernel, optimizer=None).fit(rows, values)

    def __call__(self, rows: Floats) -> tuple[Floats, Floats]:
        """(mean, standard error) of the quantity without noise, [n] each."""
        mean, with_noise = self._process.predict(rows, return_std=True)
        noise = self._kernel.k2.noise_level * self._process._y_train_std**2
        return mean, np.sqrt(np.maximum(with_noise**2 - noise, 1e-12))


def results_fitted(count: int, least: int) -> int:
    """With how many of the results the lengths are fitted."""
    fitted = max(least, 2)
    while (more := int(np.ceil(fitted * GROWTH))) <= min(count, MOST_FITTED):
        fitted = more
    return min(fitted, count)


@functools.lru_cache(maxsize=32)
def _kernel(rows: bytes, values: bytes, count: int) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    points = np.frombuffer(rows).reshape(count, -1)
    lengths = np.full(points.shape[1], 1.5)
    kernel = ConstantKernel(1.0, (0.05, 20)) * Matern(lengths, LENGTHS, nu=2.5)
    process = _regressor(kernel + WhiteKernel(0.1, (1e-4, 1.0)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a factor without effect is endless
        return process.fit(points, np.frombuffer(values)).kernel_


def _regressor(kernel: Any, **settings: Any) -> Any:
    from sklearn.gaussian_process import GaussianProcessRegressor

    return GaussianProcessRegressor(kernel, normalize_y=True, **settings)
