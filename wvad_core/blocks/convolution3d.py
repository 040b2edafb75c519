"""Convolutions of clips, and pools over them. Channels come last, (N, F, H, W, C): clips, frames, rows, columns, channels.

Kernels, strides and padding are in the order frames, height, width; padding is (before, after) of each.
"""
from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .normalisation import folded
from .tensors import Array, Scope, affine

Sizes = tuple[int, int, int]
Padding = Sequence[tuple[int, int]]
BLOCK = 2**20
"""Numbers of what outputs see that are laid out at once: 4 MB of float32, which a processor's caches hold."""
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
    It is a product of matrices: what outputs see of x, laid out in rows, and weights.
    """
    x = padded(x, padding)
    taps = cache(lambda turn: taps_of(weight, turn).astype(x.dtype, copy=False).T)
    y = np.empty((len(x), *outputs(x.shape[1:4], weight.shape[2:], stride), len(weight)), x.dtype)
    for block, rows, turn in rows_of(x, weight.shape[2:], stride):
        np.matmul(rows, taps(turn), out=y[block].reshape(-1, len(weight)))
    if bias is not None:
        y += bias.astype(x.dtype)
    return y


def taps_of(weight: Array, turn: int = 0) -> Array:
    """A weight (O, I, KF, KH, KW) as it multiplies rows whose first frame comes at the place `turn`: (O, KF KH KW I)."""
    weight = np.roll(weight, turn, axis=2) if turn else weight
    return np.ascontiguousarray(weight.reshape(*weight.shape[:2], -1).swapaxes(1, 2)).reshape(len(weight), -1)


def outputs(sizes: Sequence[int], kernel: Sequence[int], stride: Sizes) -> tuple[int, ...]:
    """(F', H', W') of what is padded already to (F, H, W)."""
    return tuple((n - k) // s + 1 for n, k, s in zip(sizes, kernel, stride))


Rows = Iterator[tuple[tuple[slice, ...], Array, int]]


def rows_of(x: Array, kernel: Sequence[int], stride: Sizes) -> Rows:
    """What outputs see of x, padded already, for some frames of a clip at once, or for some rows of a frame.

    Yields (clip, frames and rows of the output, which are together in memory; what these see, (R, KF KH KW C); the place of
    its first frame, which the others follow, round and round). All are laid out in the same memory, one after another,
    while it is in the processor's cache.
    """
    if math.prod(kernel) == math.prod(stride) == 1:
        yield (slice(None),), x.reshape(-1, x.shape[-1]), 0
        return
    _, height, width = outputs(x.shape[1:4], kernel, stride)
    line = width * math.prod(kernel) * x.shape[-1]
    if kernel[0] > 1 and height * line > BLOCK:
        yield from _rows_in_turn(x, kernel, stride, max(1, BLOCK // line))
    else:
        yield from _rows_of_frames(x, kernel, stride, line)


def _rows_of_frames(x: Array, kernel: Sequence[int], stride: Sizes, line: int) -> Rows:
    """As many frames as there is room for, or as many rows of one."""
    seen = sliding_window_view(x, tuple(kernel), axis=(1, 2, 3))[:, ::stride[0], ::stride[1], ::stride[2]]
    seen = np.moveaxis(seen, 4, -1)  # (N, F', H', W', KF, KH, KW, C)
    clips, frames, height = seen.shape[:3]
    many, high = max(1, min(frames, BLOCK // (line * height))), max(1, min(height, BLOCK // line))
    memory = np.empty((many, high, *seen.shape[3:]), x.dtype)
    for n, f, h in product(range(clips), range(0, frames, many), range(0, height, high)):
        block = slice(n, n + 1), slice(f, f + many), slice(h, h + high)
        part = seen[block][0]
        rows = memory[:part.shape[0], :part.shape[1]]
        np.copyto(rows, part)
        yield block, rows.reshape(-1, math.prod(seen.shape[4:])), 0


def _rows_in_turn(x: Array, kernel: Sequence[int], stride: Sizes, high: int) -> Rows:
    """So many rows of all frames, one after another: what of a frame's input is laid out already stays where it is."""
    seen = sliding_window_view(x, tuple(kernel[1:]), axis=(2, 3))[:, :, ::stride[1], ::stride[2]]
    seen = np.moveaxis(seen, 4, -1)  # (N, F, H', W', KH, KW, C)
    frames, length = (seen.shape[1] - kernel[0]) // stride[0] + 1, kernel[0]
    memory = np.empty((high, seen.shape[3], length, *seen.shape[4:]), x.dtype)
    for n, h in product(range(len(seen)), range(0, seen.shape[2], high)):
        rows, done = memory[:min(high, seen.shape[2] - h)], 0
        for f in range(frames):
            for frame in range(max(done, f * stride[0]), f * stride[0] + length):
                np.copyto(rows[:, :, frame % length], seen[n, frame, h:h + high])
            done = f * stride[0] + length
            block = slice(n, n + 1), slice(f, f + 1), slice(h, h + high)
            yield block, rows.reshape(-1, math.prod(memory.shape[2:])), f * stride[0] % length


def conv3d_norm(x: Array, convolution: Scope, norm: Scope, eps: float, stride: Sizes = (1, 1, 1),
                padding: Padding = NONE) -> Array:
    """A convolution and the BatchNorm behind it, in evaluation: folded into one."""
    return conv3d(x, *folded(convolution, norm, eps, x.dtype), stride, padding)


def padded(x: Array, padding: Padding, value: float = 0) -> Array:
    """x with `value` around its frames, rows and columns."""
    return np.pad(x, [(0, 0), *padding, (0, 0)], constant_values=value) if any(map(any, padding)) else x


def max_pool3d(x: Array, kernel: Sizes, stride: Sizes, padding: Padding = NONE) -> Array:
    """The largest value of each window, (N, F, H, W, C) -> (N, F', H', W', C); padding never is one.

    Where x is not negative, as behind a ReLU, that is also padding with zeros. Axis by axis, one clip after another.
    """
    sizes = [size + sum(ends) for size, ends in zip(x.shape[1:4], padding)]
    y = np.empty((len(x), *outputs(sizes, kernel, stride), x.shape[4]), x.dtype)
    for clip, largest in zip(x, y):
        for axis in range(3):
            clip = _largest(clip, axis, kernel[axis], stride[axis], padding[axis][0], y.shape[1 + axis])
        largest[...] = clip
    return y


def _largest(x: Array, axis: int, size: int, step: int, before: int, count: int) -> Array:
    """The largest value of each of `count` windows along an axis, of which the first begins `before` x."""
    if size == 1 and not before and count == x.shape[axis]:
        return x
    largest = np.full((*x.shape[:axis], count, *x.shape[axis + 1:]), -np.inf, x.dtype)
    x, windows = np.moveaxis(x, axis, 0), np.moveaxis(largest, axis, 0)
    for start in range(-before, size - before):  # what the i-th window sees at start + i step
        first = max(0, -(start // step))
        seen = x[start + first * step::step][:max(0, count - first)]
        np.maximum(windows[first:first + len(seen)], seen, out=windows[first:first + len(seen)])
    return largest


def mean_pool3d(x: Array, kernel: Sizes) -> Array:
    """The mean of every window, stride 1 and without padding: (N, F, H, W, C) -> (N, F', H', W', C)."""
    return sliding_window_view(x, kernel, axis=(1, 2, 3)).mean((-3, -2, -1))


def conv3d_parameters(inputs: int, outputs: int, kernel: Sizes, bias: bool = False) -> dict:
    return affine((outputs, inputs, *kernel), bias)
