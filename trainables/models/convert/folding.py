"""Folds the bias of an output head into weights that have none, exactly.

`LlavaForConditionalGeneration` has a head without a bias, Phi-2 has one with. Let z be the input of
the final LayerNorm, x its normalised value, g and c its gain and shift, so that the head reads
h = g * x + c. x sums to 0 for every z, hence <1/g, g * x> = 0, and with a new shift c' = c + d

    s = <1/g, h'> = sum((c + d) / g)        is the same number for every token, and
    W' = W + (b - W d) (1/g)^T / s          gives W' h' = W h' + b - W d = W h + b.

Any d with s far from 0 will do. d = t * g moves the normalised state by t in every channel and
makes s = n * t + sum(c / g); of a few t the one is taken whose W' costs least when it is rounded:
rounding adds an error of about eps^2 / 3 * sum_j W'_ij^2 h'_j^2 (variance, per token and row i),
and E[h'_j^2] = g_j^2 + c'_j^2. The shift is rounded to the stored type *before* W' is computed, so
that its rounding costs nothing.
"""

import torch

_SHIFTS = (0.125, 0.25, 0.5, 1.0, 2.0)
_SAMPLED_ROWS = 512
_ROWS_AT_ONCE = 4096  # of float64


def fold_bias(
    weight: torch.Tensor,
    bias: torch.Tensor,
    gain: torch.Tensor,
    shift: torch.Tensor,
    dtype: torch.dtype,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The head and the shift of the final LayerNorm that together replace a bias.

    Args:
        weight: W of the head [vocab, hidden].
        bias: b of the head [vocab].
        gain: g of the final LayerNorm [hidden].
        shift: c of the final LayerNorm [hidden].
        dtype: the type that the result will be stored in.

    Returns:
        W', float32 [vocab, hidden], and c', float32 [hidden], representable in `dtype`.

    Raises:
        ValueError: if a gain is 0 in `dtype`: that channel says nothing of x.
    """
    stored = gain.to(dtype).double()
    zeros = int((stored == 0).sum())
    if zeros:
        raise ValueError(
            f"{zeros} gains of the final LayerNorm are 0, so the head's bias cannot be folded into "
            "its weights; set them to a small number in the source, or set the bias to 0"
        )
    old = shift.double()

    def folded(rows: slice, new: torch.Tensor) -> torch.Tensor:
        part = weight[rows].double()
        rest = bias[rows].double() - part @ (new - old)
        return part + torch.outer(rest, (1 / stored) / (new / stored).sum())

    def cost(new: torch.Tensor) -> float:
        return rounding_noise(folded(sample, new), stored, new)

    sample = slice(None, None, max(1, len(weight) // _SAMPLED_ROWS))
    shifts = [(old + sign * t * stored).to(dtype).double() for t in _SHIFTS for sign in (1, -1)]
    new = min(shifts, key=cost)
    result = torch.empty(weight.shape, dtype=torch.float32)
    for start in range(0, len(weight), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        result[rows] = folded(rows, new).float()
    return result, new.float()


def rounding_noise(weight: torch.Tensor, gain: torch.Tensor, shift: torch.Tensor) -> float:
    """Mean over rows of sum_j W_ij^2 E[h_j^2]; rounding W adds a variance in proportion to it."""
    return float((weight.square() @ (gain.square() + shift.square())).mean())
