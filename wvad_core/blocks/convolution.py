"""Convolutions that keep the length of a sequence, and of grids. Channels come last, (..., T, C)."""
from __future__ import annotations

import numpy as np

from .linear import linear
from .tensors import Array, affine, xavier_bound


def conv1d(x: Array, weight: Array, bias: Array | None = None, dilation: int = 1) -> Array:
    """Convolution over time that keeps the length: y_t = b + sum_k W_k x_(t + (k - K // 2) * dilation), zeros outside.

    x (..., T, I), weight (O, I, K) with K odd, bias (O,) -> (..., T, O).
    """
    steps, taps = x.shape[-2], weight.shape[-1]
    by_tap = np.ascontiguousarray(np.moveaxis(weight, -1, 0))  # NumPy multiplies strided matrices without BLAS
    y = linear(x, by_tap[taps // 2], bias)
    for k in range(taps):
        shift = (k - taps // 2) * dilation
        if 0 < abs(shift) < steps:
            target, source = shifted(steps, shift)
            y[..., target, :] += linear(x[..., source, :], by_tap[k])
    return y


def causal_conv1d(x: Array, weight: Array, bias: Array) -> Array:
    """Convolution over time that sees no later snippet: y_t = b + sum_k W_k x_(t - (K - 1) + k), zeros before the first.

    x (..., T, I), weight (O, I, K), bias (O,) -> (..., T, O).
    """
    steps, taps = x.shape[-2], weight.shape[-1]
    by_tap = np.ascontiguousarray(np.moveaxis(weight, -1, 0))
    y = linear(x, by_tap[-1], bias)
    for back in range(1, min(taps, steps)):
        y[..., back:, :] += linear(x[..., :-back, :], by_tap[taps - 1 - back])
    return y


def conv2d(x: Array, weight: Array, bias: Array | None = None, padding: int = 0) -> Array:
    """Convolution of a grid with `padding` rows and columns of zeros around it, y_rc = b + sum_ij W_ij x_(r + i, c + j).

    x (..., R, C, I), weight (O, I, K, K), bias (O,) -> (..., R', C', O), R' = R + 2 padding - K + 1.
    """
    around = [(0, 0)] * (x.ndim - 3) + [(padding, padding)] * 2 + [(0, 0)]
    x, kernel = np.pad(x, around), weight.shape[-1]
    rows, columns = (size - kernel + 1 for size in x.shape[-3:-1])
    by_tap = np.ascontiguousarray(np.moveaxis(weight, (-2, -1), (0, 1)))
    y = 0 if bias is None else bias
    for i, j in np.ndindex(kernel, kernel):
        y = y + linear(x[..., i:i + rows, j:j + columns, :], by_tap[i, j])
    return y


def shifted(steps: int, shift: int) -> tuple[slice, slice]:
    """The positions t, and t + shift, for which both lie within 0 .. steps - 1."""
    return slice(max(0, -shift), steps - max(0, shift)), slice(max(0, shift), steps - max(0, -shift))


def conv1d_parameters(inputs: int, outputs: int, kernel: int, bias: bool = True, xavier: bool = False) -> dict:
    """PyTorch's default start, uniform within 1 / sqrt(kernel inputs); or Xavier-uniform weights and a zero bias."""
    return affine((outputs, inputs, kernel), bias, xavier_bound((outputs, inputs, kernel)) if xavier else None)


def conv2d_parameters(inputs: int, outputs: int, kernel: int) -> dict:
    return affine((outputs, inputs, kernel, kernel), True)
