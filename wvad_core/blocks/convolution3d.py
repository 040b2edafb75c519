"""Convolutions of clips, and pools over them. Channels come last, (N, F, H, W, C): clips, frames, rows, columns, channels.

Kernels, strides and padding are in the order frames, height, width; padding is (before, after) of each.
"""
from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .normalisation import folded
from .tensors import Array, Scope, affine

Sizes = tuple[int, int, int]
Padding = Sequence[tuple[int, int]]
BLOCK = 2**21
"""Numbers of what outputs see of frames that are laid out at once."""
NONE = ((0, 0),) * 3


def symmetric(*padding: int) -> tuple[tuple[int, int], ...]:
    """As much before as after each axis."""
    return tuple((size, size) for size in padding)


def same_padding(sizes: Sequence[int], kernel: Sizes, stride: Sizes = (1, 1, 1)) -> tuple[tuple[int, int], ...]:
    """TensorFlow's "same": ceil(n / s) outputs on every axis, of which the smaller half of the padding comes before.

    sizes: (F, H, W) of the input. In all p = max((ceil(n / s) - 1) s + k - n, 0), of which p // 2 is before.
    """
    total = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(sizes, kernel, stride)]
    return tuple((p // 2, p - p // 2) for p in total)


def conv3d(x: Array, weight: Array, bias: Array | None = None, stride: Sizes = (1, 1, 1), padding: Padding = NONE) -> Array:
    """y_p = b + sum_k W_k x_(stride p + k), zeros outside (cross-correlation, as in PyTorch).

    x (N, F, H, W, I), weight (O, I, KF, KH, KW), bias (O,) -> (N, F', H', W', O), F' = (F + padding - KF) // stride + 1.
    For each frame of the kernel it is a product of matrices: what outputs see of a frame, laid out in rows, and weights.
    """
    x, kernel = padded(x, padding), weight.shape[2:]
    taps = np.ascontiguousarray(weight.transpose(2, 3, 4, 1, 0), x.dtype).reshape(kernel[0], -1, len(weight))
    y = np.empty((len(x), *outputs(x.shape[1:4], kernel, stride), len(weight)), x.dtype)
    for block, seen in rows_of(x, kernel, stride):
        product = seen[0] @ taps[0]
        for rows, tap in zip(seen[1:], taps[1:]):
            product += rows @ tap
        y[block] = product.reshape(y[block].shape)
    if bias is not None:
        y += bias.astype(x.dtype)
    return y


def outputs(sizes: Sequence[int], kernel: Sequence[int], stride: Sizes) -> tuple[int, ...]:
    """(F', H', W') of what is padded already to (F, H, W)."""
    return tuple((n - k) // s + 1 for n, k, s in zip(sizes, kernel, stride))


def rows_of(x: Array, kernel: Sequence[int], stride: Sizes) -> Iterator[tuple[tuple[slice, slice], list[Array]]]:
    """What outputs see of x, padded already, some frames of a clip at a time.

    Yields (clip and frames of the output, the rows that it sees of each of the kernel's frames, (R, KH KW C) each, with R =
    frames H' W'). A frame is laid out once for all outputs of a block that see it; where the kernel is 1 x 1, it is as it is.
    """
    seen = sliding_window_view(x, tuple(kernel[1:]), axis=(2, 3))[:, :, ::stride[1], ::stride[2]]
    seen = np.moveaxis(seen, 4, -1)  # (N, F, H', W', KH, KW, C)
    size, step, taps = math.prod(seen.shape[4:]), stride[0], kernel[0]
    frames, _, _ = outputs(x.shape[1:4], kernel, stride)
    most = max(1, (BLOCK // math.prod(seen.shape[2:]) - taps) // step + 1)
    for n in range(len(x)):
        for first in range(0, frames, most):
            count = min(most, frames - first)
            part = seen[n, first * step:(first + count - 1) * step + taps]
            rows = np.ascontiguousarray(part).reshape(len(part), -1, size)
            together = count if step == 1 else 1  # rows of frames that are apart would be laid out once more
            for i in range(0, count, together):
                yield ((slice(n, n + 1), slice(first + i, first + i + together)),
                       [rows[i * step + k:i * step + k + together].reshape(-1, size) for k in range(taps)])


def conv3d_norm(x: Array, convolution: Scope, norm: Scope, eps: float, stride: Sizes = (1, 1, 1),
                padding: Padding = NONE) -> Array:
    """A convolution and the BatchNorm behind it, in evaluation: folded into one."""
    return conv3d(x, *folded(convolution, norm, eps, x.dtype), stride, padding)


def padded(x: Array, padding: Padding, value: float = 0) -> Array:
    """x with `value` around its frames, rows and columns."""
    return np.pad(x, [(0, 0), *padding, (0, 0)], constant_values=value) if any(map(any, padding)) else x


def max_pool3d(x: Array, kernel: Sizes, stride: Sizes, padding: Padding = NONE) -> Array:
    """The largest value of each window, (N, F, H, W, C) -> (N, F', H', W', C); padding never is one.

    Where x is not negative, as behind a ReLU, that is also padding with zeros. Axis by axis.
    """
    x = padded(x, padding, -np.inf)
    for axis, size, step in zip((1, 2, 3), kernel, stride):
        x = np.moveaxis(x, axis, 0)
        last = len(x) - size + 1
        pooled = x[0:last:step]
        for start in range(1, size):
            pooled = np.maximum(pooled, x[start:start + last:step])
        x = np.moveaxis(pooled, 0, axis)
    return np.ascontiguousarray(x)


def mean_pool3d(x: Array, kernel: Sizes) -> Array:
    """The mean of every window, stride 1 and without padding: (N, F, H, W, C) -> (N, F', H', W', C)."""
    return sliding_window_view(x, kernel, axis=(1, 2, 3)).mean((-3, -2, -1))


def conv3d_parameters(inputs: int, outputs: int, kernel: Sizes, bias: bool = False) -> dict:
    return affine((outputs, inputs, *kernel), bias)
