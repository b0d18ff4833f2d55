"""Sums by image and the standard errors that follow.

Questions about one image are not independent, so errors are clustered by image. Every
figure here is a smooth function of weighted means; its error is the linearised (delta) one: sum the
influences of the samples of a cluster, U_g, over all tasks that show the image, and take
sqrt(G / (G - 1) * sum_g U_g^2) over the G clusters.
    task score:  u_i = w_i (s_i - a_t) / sum w
    average:     u_i / T
    retention R = A / D over the same samples of the dense model:  (u_i - R v_i) / (T D)
Notation as in `score_table.py`.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# A score in 0..100 cannot have a larger standard deviation: the error of a single cluster, whose
# spread is unknown. (Captions' scores can, but of one caption nothing is known anyway.)
LARGEST_DEVIATION = 50.0


def image_sums(images: Sequence[str], values: Floats) -> tuple[list[str], Floats]:
    """The G images by name, and `values` [..., N] summed over the samples of each: [..., G]."""
    found, cluster = np.unique(np.array(images), return_inverse=True)
    return found.tolist(), cluster_sums(cluster, values, len(found))


def cluster_sums(cluster: NDArray[np.intp], values: Floats, count: int) -> Floats:
    """`values` [..., N] summed by cluster, a number below `count` [N]: [..., count]."""
    rows = values.reshape(-1, values.shape[-1])
    sums: Floats = np.stack([np.bincount(cluster, weights=w, minlength=count) for w in rows])
    return sums.reshape(*values.shape[:-1], count)


def clustered_error(images: Sequence[str], influences: Floats) -> float:
    """`summed_error` of the sums by image; of a single image `LARGEST_DEVIATION`."""
    _, sums = image_sums(images, influences)
    return LARGEST_DEVIATION if len(sums) < 2 else summed_error(sums)


def summed_error(sums: Floats) -> float:
    """sqrt(G / (G - 1) * sum_g U_g^2) of the sums of influences of G > 1 clusters: [G]."""
    return float(np.sqrt(len(sums) / (len(sums) - 1) * np.sum(sums**2)))


def difference_variances(sums: Floats, others: Floats | None = None) -> Floats:
    """Variances of the differences of M models that answered the same questions: [M, M].

    G / (G - 1) * sum_g (U_g - V_g)^2 with U_g and V_g two models' `sums` [M, G] of influences;
    infinite where there is a single cluster. With `others` [K, G] against those models: [M, K].
    """
    count = sums.shape[1]
    if others is None:  # its diagonal is then exactly 0
        products = sums @ sums.T
        own = theirs = np.diag(products)
    else:
        products = sums @ others.T
        own, theirs = (np.einsum("mg,mg->m", values, values) for values in (sums, others))
    squares: Floats = np.maximum(own[:, None] + theirs[None, :] - 2 * products, 0.0)
    return squares * (count / (count - 1) if count > 1 else np.inf)
