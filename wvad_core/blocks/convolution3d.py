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
BLOCK = 2**23
"""Numbers of what the outputs see of a clip that are laid out at once."""
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
    It is a product of matrices: what each output sees, laid out in rows, some frames at a time, and the weights.
    """
    seen = windows(padded(x, padding), weight.shape[2:], stride)
    matrix = np.ascontiguousarray(weight.transpose(2, 3, 4, 1, 0).reshape(-1, len(weight)), x.dtype)
    y = np.empty((*seen.shape[:4], len(weight)), x.dtype)
    for block in blocks(seen):
        y[block] = (seen[block].reshape(-1, len(matrix)) @ matrix).reshape(y[block].shape)
    return y if bias is None else y + bias.astype(x.dtype)


def conv3d_norm(x: Array, convolution: Scope, norm: Scope, eps: float, stride: Sizes = (1, 1, 1),
                padding: Padding = NONE) -> Array:
    """A convolution and the BatchNorm behind it, in evaluation: folded into one."""
    return conv3d(x, *folded(convolution, norm, eps, x.dtype), stride, padding)


def windows(x: Array, kernel: Sequence[int], stride: Sizes) -> Array:
    """What each output sees, (N, F', H', W', KF, KH, KW, C): a view."""
    seen = sliding_window_view(x, tuple(kernel), axis=(1, 2, 3))[:, ::stride[0], ::stride[1], ::stride[2]]
    return np.moveaxis(seen, 4, -1)


def blocks(seen: Array) -> Iterator[tuple[slice, slice]]:
    """Clips and frames of what outputs see that have at most BLOCK numbers, or are one frame."""
    clips, frames = seen.shape[:2]
    frame = math.prod(seen.shape[2:])
    step, frame_step = max(1, BLOCK // (frame * frames)), max(1, min(BLOCK // frame, frames))
    for n in range(0, clips, step):
        for f in range(0, frames, frame_step):
            yield slice(n, n + step), slice(f, f + frame_step)


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
