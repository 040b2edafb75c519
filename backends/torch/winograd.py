"""Convolutions of three taps by minimal filtering, F(4, 3), on the CPU (Lavin and Gray 2016, arXiv:1509.09308).

Four neighbouring outputs take 6 products of matrices instead of 12:

    y = A^T [(G w) * (B^T x)],   x 6 inputs, y 4 outputs, w 3 taps

where * multiplies the j-th of six transformed inputs by the j-th of six transformed kernels. B^T and A^T hold small
integers and cost a few additions. Its rounding error is some 1e-6 relative to the output, where the direct sum has 2e-7.
"""
from __future__ import annotations

import torch
from torch import Tensor

ROWS = 1024       # of a product at a time: the transformed inputs of a block are 6 times as many
CHANNELS = 128    # of input and output from which it pays
TILES = 4         # of four outputs each, from which it pays

G = torch.tensor([[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6],
                  [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]], dtype=torch.float64)


def pays(x: Tensor, weight: Tensor, dilation: int) -> bool:
    """Whether a convolution of x (B, T, I) by weight (O, I, K) is one of these and large enough: float32, no gradient."""
    if x.dtype != torch.float32 or torch.is_autocast_enabled(x.device.type) or torch.is_grad_enabled():
        return False
    if weight.is_inference():  # PyTorch does not say when such a one has changed
        return False
    outputs, inputs, taps = weight.shape
    return taps == 3 and min(inputs, outputs) >= CHANNELS and x.shape[1] >= 4 * TILES * dilation


def transformed(weight: Tensor) -> Tensor:
    """G w: the six kernels of weight (O, I, 3), (6, O, I)."""
    return torch.einsum("jk,oik->joi", G, weight.double()).to(weight.dtype)


def conv1d(x: Tensor, kernels: Tensor, bias: Tensor | None, dilation: int, product) -> Tensor:
    """The convolution of x (B, T, I) that keeps the length, (B, T, O); `product(rows, matrix)` is rows matrix^T.

    With a dilation d the snippets r, r + d, r + 2 d ... are a sequence of their own, for each r < d: x is seen as
    (tiles, inputs of a tile, d, I), a view of the padded sequence. Short videos are taken several at a time.
    """
    (batch, steps, inputs), outputs = x.shape, kernels.shape[1]
    span = 4 * dilation
    tiles = -(-steps // span)
    items, block = max(1, ROWS // (tiles * dilation)), max(1, ROWS // dilation)
    y = x.new_empty(batch, tiles, 4, dilation, outputs)
    padded = x.new_zeros(min(items, batch), tiles * span + 2 * dilation, inputs)
    windows = padded.as_strided((6, len(padded), tiles, dilation, inputs),
                                (dilation * inputs, padded.stride(0), span * inputs, inputs, 1))
    for first in range(0, batch, items):
        some = x[first:first + items]
        padded[:len(some), dilation:dilation + steps] = some
        for start in range(0, tiles, block):
            found = _inputs(windows[:, :len(some), start:start + block])
            products = [product(v, u) for v, u in zip(found, kernels)]
            _outputs(products, bias, y[first:first + items, start:start + block])
    return y.view(batch, tiles * span, outputs)[:, :steps]


def _inputs(d: Tensor) -> Tensor:
    """B^T x: of six inputs (6, ...) the six transformed ones, contiguous."""
    v = d.new_empty(d.shape)
    part = torch.sub(d[3], d[1], alpha=4)
    torch.sub(d[4], d[2], alpha=4, out=v[1])
    torch.sub(v[1], part, out=v[2])
    v[1].add_(part)
    torch.sub(d[3], d[1], out=part)
    torch.sub(d[4], d[2], out=v[3])
    torch.sub(v[3], part, alpha=2, out=v[4])
    v[3].add_(part, alpha=2)
    torch.sub(d[4], d[2], alpha=5, out=v[0]).add_(d[0], alpha=4)
    torch.sub(d[5], d[3], alpha=5, out=v[5]).add_(d[1], alpha=4)
    return v


def _outputs(m: list[Tensor], bias: Tensor | None, y: Tensor) -> None:
    """A^T m + bias: of six products the four outputs, written into y (B, tiles, 4, d, O)."""
    even, odd = m[1] + m[2], m[1] - m[2]
    if bias is not None:
        even += bias
        odd += bias
    even2, odd2 = m[3] + m[4], m[3] - m[4]
    torch.add(m[0], even, out=y[:, :, 0]).add_(even2)
    torch.add(odd, odd2, alpha=2, out=y[:, :, 1])
    torch.add(even, even2, alpha=4, out=y[:, :, 2])
    torch.add(odd, odd2, alpha=8, out=y[:, :, 3]).add_(m[5])
