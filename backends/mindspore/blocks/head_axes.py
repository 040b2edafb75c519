"""Heads of attention as an axis of the batch, and back."""
from __future__ import annotations

import math

import numpy as np

import mindspore as ms
from mindspore import Tensor, nn, ops


class Rows(nn.Cell):
    """Rows of x (R, E) in another order, and its gradient: x[order], where back is the inverse of the order.

    MindSpore gathers rows several times as fast as it copies a transposed tensor.
    """

    def construct(self, x: Tensor, order: Tensor, back: Tensor) -> Tensor:
        return ops.gather(x, order, 0)

    def bprop(self, x: Tensor, order: Tensor, back: Tensor, out: Tensor, dout: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return ops.gather(dout, back, 0), ops.zeros_like(order), ops.zeros_like(back)


class Heads(nn.Cell):
    """y (B, T, P H E), of P parts, as the heads of each part, P tensors (B H, T, E)."""

    def __init__(self, parts: int, heads: int, head_dim: int):
        super().__init__()
        self.parts, self.heads, self.head_dim, self.rows = parts, heads, head_dim, Rows()
        self.split = ops.Split(0, parts)

    def construct(self, y: Tensor) -> tuple[Tensor, ...]:
        batch, steps, _ = y.shape
        order, back = _head_rows(batch, steps, self.parts, self.heads)
        apart = self.rows(y.reshape(-1, self.head_dim), order, back)
        return self.split(apart.reshape(self.parts * batch * self.heads, steps, self.head_dim))


@ms.constexpr
def _head_rows(batch: int, steps: int, parts: int, heads: int) -> tuple[Tensor, Tensor]:
    """Which rows (B, T, P, H) come one after another in (P, B, H, T), and the inverse."""
    return _order((batch, steps, parts, heads), (2, 0, 3, 1))


class Merged(nn.Cell):
    """Parts, one or several of heads (B H, T, E), beside each other in every head: (B, T, H P E)."""

    def __init__(self, heads: int, head_dim: int):
        super().__init__()
        self.heads, self.head_dim, self.rows = heads, head_dim, Rows()

    def construct(self, *parts: Tensor) -> Tensor:
        groups, steps, _ = parts[0].shape
        order, back = _merged_rows(groups // self.heads, steps, len(parts), self.heads)
        entries = (ops.cat(parts) if len(parts) > 1 else parts[0]).reshape(-1, self.head_dim)
        return self.rows(entries, order, back).reshape(groups // self.heads, steps, -1)


@ms.constexpr
def _merged_rows(batch: int, steps: int, parts: int, heads: int) -> tuple[Tensor, Tensor]:
    """Which rows (P, B, H, T) come one after another in (B, T, H, P), and the inverse."""
    return _order((parts, batch, heads, steps), (1, 3, 2, 0))


def _order(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """The places in an array of this shape, read along its transposed axes; and the inverse of that order."""
    order = np.arange(math.prod(shape), dtype=np.int32).reshape(shape).transpose(axes).reshape(-1)
    back = np.empty_like(order)
    back[order] = np.arange(len(order), dtype=np.int32)
    return Tensor(order), Tensor(back)
