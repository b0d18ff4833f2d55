"""The Gaussian process that answers between the entries of a table."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sweeps.engine.simulate.features import AT


def process(theta: Sequence[float] | None) -> Any:
    """A Gaussian process with these hyperparameters; None leaves them to be fitted."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    kernel = ConstantKernel(1.0, (1e-3, 1e4)) * Matern(
        np.full(len(AT), 2.0), (0.05, 1e3), nu=2.5
    ) + WhiteKernel(0.1, (1e-6, 10.0))
    if theta is None:
        return GaussianProcessRegressor(kernel, normalize_y=True)
    kernel = kernel.clone_with_theta(np.array(theta))
    return GaussianProcessRegressor(kernel, normalize_y=True, optimizer=None)
