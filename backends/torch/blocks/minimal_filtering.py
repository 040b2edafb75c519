"""Convolutions of three taps by minimal filtering, F(4, 3), on the CPU (Lavin and Gray 2016, arXiv:1509.09308).

Four neighbouring outputs take 6 products of matrices instead of 12:

    y = A^T [(G w) * (B^T x)],   x 6 inputs, y 4 outputs, w 3 taps

where * multiplies the j-th of six transformed inputs by the j-th of six transformed kernels. B^T and A^T hold small
integers and cost a few additions. Its rounding error is some 1e-6 relative to the output, where the direct sum has 2e-7.

Gradients take half the products too: that of x is such a convolution of dy, by the kernels turned round, and

    dw = G^T [(A dy) * (B^T x)], summed over all tiles
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .. import routes
from ..kernels import product, weight_product

ROWS = 1024       # of a product at a time: the transformed inputs of a block are 6 times as many
GRADIENT_ROWS = 4096
TILES = 2         # of four outputs each, that an item has at least

G = torch.tensor([[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6],
                  [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]])


def pays(x: Tensor, weight: Tensor, dilation: int) -> bool:
    """Whether a convolution of x (B, T, I) by weight (O, I, K) is one of these and large enough, in float32."""
    if x.dtype != torch.float32 or torch.is_autocast_enabled(x.device.type):
        return False
    (batch, steps, inputs), (outputs, _, taps) = x.shape, weight.shape
    return taps == 3 and steps >= 4 * TILES * dilation and routes.TAKEN.filtering.pays(batch * steps, inputs, outputs)


def transformed(weight: Tensor, reverse: bool = False) -> list[Tensor]:
    """G w: the six kernels (O, I) of weight (O, I, 3); of its taps turned round with `reverse`.

    Made anew in each call: PyTorch does not say when a weight has changed (its version counter misses fused optimisers and
    changes through `.data`), so kept ones could be those of old weights. Apart, since one tensor of them all would be so
    large that its memory comes from the system, and goes back, each time.
    """
    taps = (weight.flip(-1) if reverse else weight).unbind(-1)
    first, middle, last = (tap.clone(memory_format=torch.contiguous_format) for tap in taps)  # never a view, whatever its layout
    sides = torch.add(first, last).mul_(-1 / 6)
    minus, plus = torch.sub(sides, middle, alpha=1 / 6), torch.add(sides, middle, alpha=1 / 6)
    torch.add(first, last, alpha=4, out=sides).mul_(1 / 24)
    return [first.mul_(1 / 4), minus, plus, torch.add(sides, middle, alpha=1 / 12), sides.sub_(middle, alpha=1 / 12), last]


class Convolution(torch.autograd.Function):
    """The convolution of x (B, T, I) by weight (O, I, 3), as `conv1d`, with gradients."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.dilation = dilation
        return conv1d(x, transformed(weight), bias, dilation)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), (of_x, of_weight, of_bias, _) = ctx.saved_tensors, ctx.needs_input_grad
        dx = conv1d(dy, [u.t() for u in transformed(weight, reverse=True)], None, ctx.dilation) if of_x else None
        dw = kernel_gradient(x, dy, ctx.dilation) if of_weight else None
        return dx, dw, dy.sum((0, 1)) if of_bias else None, None


def conv1d(x: Tensor, kernels: Sequence[Tensor], bias: Tensor | None, dilation: int) -> Tensor:
    """The convolution of x (B, T, I) that keeps the length, (B, T, O), by six kernels (O, I).

    With a dilation d the snippets r, r + d, r + 2 d ... are a sequence of their own, for each r < d: x is seen as
    (tiles, inputs of a tile, d, I), a view of the padded sequence. Short videos are taken several at a time.
    """
    (batch, steps, _), outputs = x.shape, len(kernels[0])
    tiles = -(-steps // (4 * dilation))
    y = x.new_empty(batch, tiles, 4, dilation, outputs)
    for items, places, windows in _blocks(x, dilation, ROWS):
        products = [product(v, u) for v, u in zip(_inputs(windows), kernels)]
        _outputs(products, bias, y[items, places])
    return y.view(batch, -1, outputs)[:, :steps]


def kernel_gradient(x: Tensor, dy: Tensor, dilation: int) -> Tensor:
    """The gradient (O, I, 3) of the kernels of x (B, T, I), from that of the output, dy (B, T, O)."""
    (batch, steps, outputs), inputs = dy.shape, x.shape[2]
    missing = -steps % (4 * dilation)
    dy = F.pad(dy, (0, 0, 0, missing)).view(batch, -1, 4, dilation, outputs)
    found = x.new_zeros(6, outputs, inputs)
    for items, places, windows in _blocks(x, dilation, GRADIENT_ROWS):
        m, v = (t.view(6, -1, t.shape[-1]) for t in (_output_gradients(dy[items, places]), _inputs(windows)))
        for j in range(6):
            found[j] += weight_product(m[j], v[j])
    return torch.einsum("jk,joi->oik", G, found)


def _blocks(x: Tensor, dilation: int, rows: int) -> Iterator[tuple[slice, slice, Tensor]]:
    """Some videos and some of their tiles, of about so many rows together, and their six inputs (6, B', tiles', d, I)."""
    batch, steps, inputs = x.shape
    span = 4 * dilation
    tiles = -(-steps // span)
    items, block = max(1, rows // (tiles * dilation)), max(1, rows // dilation)
    padded = x.new_zeros(min(items, batch), tiles * span + 2 * dilation, inputs)
    windows = padded.as_strided((6, len(padded), tiles, dilation, inputs),
                                (dilation * inputs, padded.stride(0), span * inputs, inputs, 1))
    for first in range(0, batch, items):
        some = x[first:first + items]
        padded[:len(some), dilation:dilation + steps] = some
        for start in range(0, tiles, block):
            yield slice(first, first + items), slice(start, start + block), windows[:, :len(some), start:start + block]


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


def _output_gradients(dy: Tensor) -> Tensor:
    """A dy: of four outputs (B, tiles, 4, d, O) the six products, (6, B, tiles, d, O), contiguous."""
    a, b, c, d = dy.unbind(2)
    m = dy.new_empty(6, *a.shape)
    m[0], m[5] = a, d
    even, odd = a + c, b + d
    torch.add(even, odd, out=m[1])
    torch.sub(even, odd, out=m[2])
    torch.add(a, c, alpha=4, out=even)
    torch.add(b, d, alpha=4, out=odd)
    torch.add(even, odd, alpha=2, out=m[3])
    torch.sub(even, odd, alpha=2, out=m[4])
    return m


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
