"""Convolutions of three taps in time by minimal filtering, F(4, 3), on the CPU (Lavin and Gray 2016, arXiv:1509.09308).

Four neighbouring outputs take 6 products of matrices instead of 12:

    y = A^T [(G w) * (B^T x)],   x 6 inputs, y 4 outputs, w 3 taps

where * multiplies the j-th of six transformed inputs by the j-th of six transformed kernels. All three transforms are
products with small matrices, which MindSpore computes faster than additions of slices. G w takes at most about half
the time of a transposed weight, so it is made anew each time; nothing here keeps a weight or hinders a gradient.
Convolutions of clips are filtered over their frames, four neighbouring ones at a time, in evaluation alone.
"""
from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

import mindspore as ms
from mindspore import Tensor, ops
from wvad_core.blocks.convolution3d import BLOCK, Sizes

CHANNELS = 128    # of input and output from which it pays
TILES = 4         # of four outputs each, from which it pays
CLIP_CHANNELS = 16  # of input and output, from which it pays in clips

G = Tensor(np.array([[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6],
                     [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]], np.float32))
B = Tensor(np.array([[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
                     [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]], np.float32))
A = Tensor(np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], np.float32))

_product, _product_of_rows, _products = ops.MatMul(), ops.MatMul(transpose_b=True), ops.BatchMatMul(transpose_b=True)


def pays(x: Tensor, weight: Tensor, dilation: int) -> bool:
    """Whether a convolution of x (B, T, I) by weight (O, I, K) is one of these and large enough, in float32."""
    outputs, inputs, taps = weight.shape
    large = min(inputs, outputs) >= CHANNELS and x.shape[1] >= 4 * TILES * dilation
    return taps == 3 and large and x.dtype == ms.float32


def conv1d(x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """The convolution of x (B, T, I) that keeps the length, by weight (O, I, 3): (B * T, O)."""
    (batch, steps, inputs), outputs = x.shape, weight.shape[0]
    rows = ops.cat((x.reshape(-1, inputs), ops.zeros((1, inputs), x.dtype)))
    tiles = ops.gather(rows, _inputs(batch, steps, dilation), 0)                     # (6 R, I)
    v = _product(B, tiles.reshape(6, -1)).reshape(6, -1, inputs)
    u = _product_of_rows(G, weight.reshape(-1, 3)).reshape(6, outputs, inputs)
    y = _product(A, _products(v, u).reshape(6, -1)).reshape(-1, outputs)             # (4 R, O)
    return ops.gather(y, _outputs(batch, steps, dilation), 0)


@ms.constexpr
def _inputs(batch: int, steps: int, dilation: int) -> Tensor:
    """Which of the B T rows, or the one of zeros behind them, are the j-th inputs of all tiles, (6 R,).

    With a dilation d the snippets r, r + d, r + 2 d ... are a sequence of their own, for each r < d: R = B tiles d.
    """
    tiles = -(-steps // (4 * dilation))
    times = (np.arange(6)[:, None, None] - 1 + 4 * np.arange(tiles)[:, None]) * dilation + np.arange(dilation)
    times = times.reshape(6, 1, -1)
    rows = np.where((times >= 0) & (times < steps), times + steps * np.arange(batch)[:, None], batch * steps)
    return Tensor(rows.reshape(-1).astype(np.int32))


@ms.constexpr
def _outputs(batch: int, steps: int, dilation: int) -> Tensor:
    """Where among the 4 R outputs, in the order of `_inputs`, each snippet of each item lies, (B T,)."""
    tiles, times = -(-steps // (4 * dilation)), np.arange(steps)
    tile, place = np.divmod(times, 4 * dilation)
    row = tile * dilation + place % dilation
    output = place // dilation
    rows = (output * batch + np.arange(batch)[:, None]) * tiles * dilation + row
    return Tensor(rows.reshape(-1).astype(np.int32))


def of_clips(weight: np.ndarray, stride: Sizes, frames: int) -> bool:
    """Whether a convolution of clips by weight (O, I, KF, KH, KW), of so many frames of output, is one of these and large enough."""
    return weight.shape[2] == 3 and stride[0] == 1 and frames > 2 and min(weight.shape[:2]) >= CLIP_CHANNELS


def parts(x: np.ndarray, weight: np.ndarray, stride: Sizes, y: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The convolution of clips x (N, F + 2, H, W, I), padded already, as which y (N, F, H', W', O) is to be filled, in parts.

    Yields (the part of y that some outputs are, these outputs).
    """
    outputs, inputs, _, *kernel = weight.shape
    by_frame = np.ascontiguousarray(np.moveaxis(weight, (2, 1), (0, -1))).reshape(3, -1)        # (3, O KH KW I)
    u = _product(G, Tensor.from_numpy(by_frame)).reshape(6, outputs, -1)
    clips, frames, height, width, _ = y.shape
    line = 6 * width * u.shape[2]
    high = max(1, min(height, BLOCK // line))
    memory = np.empty(high * line, np.float32)
    x = np.pad(x, [(0, 0), (0, -frames % 4), *[(0, 0)] * 3]) if frames % 4 else x
    for n, f in product(range(clips), range(0, frames, 4)):
        v = _product(B, Tensor.from_numpy(x[n, f:f + 6].reshape(6, -1))).asnumpy().reshape(6, *x.shape[2:])
        seen = sliding_window_view(v, tuple(kernel), axis=(1, 2))[:, ::stride[1], ::stride[2]]
        seen = np.moveaxis(seen, 3, -1)                                                         # (6, H', W', KH, KW, I)
        for h in range(0, height, high):
            part, target = seen[:, h:h + high], y[n, f:f + 4, h:h + high]
            rows = memory[:part.size].reshape(part.shape)
            np.copyto(rows, part)
            products = _products(Tensor.from_numpy(rows.reshape(6, -1, u.shape[2])), u)
            found = _product(A, products.reshape(6, -1)).asnumpy().reshape(4, -1)
            yield target, found[:len(target)].reshape(target.shape)
