"""The blocks of `wvad_core.blocks.context_attention` in MindSpore."""
from __future__ import annotations

import numpy as np

import mindspore as ms
from mindspore import Tensor, nn, ops
from wvad_core.blocks.attention import window_block

from .linear import Linear, linear
from .parameters import zeros

CONTEXT_BLOCK = 1 << 21  # attention weights held at a time
FAR = -1e30


class Position(nn.Cell):
    """exp(-|w d^2 - b|) of the squares of distances, d^2 (...)."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.b = zeros(1), zeros(1)

    def construct(self, squares: Tensor) -> Tensor:
        return ops.exp(-ops.abs(self.w * squares - self.b))


class ContextAttention(nn.Cell):
    """The context y of x, before `out`. x (B, T, C) -> (B, T, E)."""

    def __init__(self, channels: int, width: int, window: int):
        super().__init__()
        self.q, self.k, self.v = Linear(channels, width), Linear(channels, width), Linear(channels, width)
        self.out, self.position, self.alpha = Linear(width, channels), Position(), zeros()
        self.before, self.after = window // 2, window - window // 2 - 1
        self.similarity, self.softmax, self.sum = ops.BatchMatMul(transpose_b=True), ops.Softmax(-1), ops.BatchMatMul()
        self.add = ops.BiasAdd()

    def construct(self, x: Tensor) -> Tensor:
        q, k, v = self._maps(x)
        if x.shape[1] == 1:  # both maps are 1; and MindSpore 2.10, once it differentiated such a softmax, errs on all others
            return v
        share = ops.sigmoid(self.alpha)
        return share * self._everywhere(q, k, v) + (1 - share) * self._nearby(q, k, v)

    def _maps(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, scaled, k and v, (B, T, E) each."""
        weights = ops.cat((self.q.weight, self.k.weight, self.v.weight))
        together = linear(x, weights, ops.cat((self.q.bias, self.k.bias, self.v.bias)))
        width = self.q.weight.shape[0]
        return together[..., :width] * width**-0.5, together[..., width:2 * width], together[..., 2 * width:]

    def _everywhere(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """G v, for a block of queries at a time."""
        batch, steps, _ = q.shape
        term = self.position(_squares(steps))
        items, rows = max(1, CONTEXT_BLOCK // steps**2), max(1, min(steps, CONTEXT_BLOCK // steps))
        blocks = []
        for i in range(0, batch, items):
            parts = []
            for j in range(0, steps, rows):
                logits = self.similarity(q[i:i + items, j:j + rows], k[i:i + items])
                count, own, _ = logits.shape
                terms = _shifted(term[steps - j - own:2 * steps - 1 - j], own)
                logits = self.add(logits.reshape(count, own * steps), terms).reshape(count, own, steps)
                parts.append(self.sum(self.softmax(logits), v[i:i + items]))
            blocks.append(ops.cat(parts, 1))
        return ops.cat(blocks, 0)

    def _nearby(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """N v, for blocks of queries, each of which meets its own keys and the nearest ones on either side."""
        batch, steps, width = q.shape
        if self.before + self.after == 0:
            return v
        size = window_block(max(self.before, self.after))
        keys, blocks = size + self.before + self.after, -(-steps // size)
        squares, beyond, places = _blocks(steps, size, self.before, self.after)
        term = ops.tile(self.position(squares).reshape(-1), (blocks,)) + beyond
        padding = ops.zeros((batch, self.before, width), q.dtype)
        behind = ops.zeros((batch, self.after + blocks * size - steps, width), q.dtype)
        q = ops.cat((q, behind), 1)[:, :blocks * size].reshape(batch * blocks, size, width)
        k = ops.gather(ops.cat((padding, k, behind), 1), places, 1).reshape(batch * blocks, keys, width)
        v = ops.gather(ops.cat((padding, v, behind), 1), places, 1).reshape(batch * blocks, keys, width)
        logits = self.add(self.similarity(q, k).reshape(batch, blocks * size * keys), term)
        weights = self.softmax(logits.reshape(batch * blocks, size, keys))
        return self.sum(weights, v).reshape(batch, blocks * size, width)[:, :steps]


def _shifted(values: Tensor, rows: int) -> Tensor:
    """Rows of values (R - 1 + T,), each one place before the last: row r is values[R - 1 - r:][:T]. (R T,).

    Repeated with one value more, and read in rows of the old length, they move on by one a row.
    """
    count = values.shape[0]
    repeated = ops.tile(ops.cat((values, values[:1])), (rows,))
    return repeated[:rows * count].reshape(rows, count)[:, rows - 1:].reshape(-1)


@ms.constexpr
def _squares(steps: int) -> Tensor:
    """(j - i)^2 for j - i = -(T - 1) .. T - 1."""
    return Tensor((np.arange(1 - steps, steps) ** 2).astype(np.float32))


@ms.constexpr
def _blocks(steps: int, size: int, before: int, after: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of blocks of queries and the keys that each meets: the squares of their distances (size, keys), what is added to the
    logits of keys outside the window or the video (blocks * size * keys,), and where keys lie behind `before` zeros."""
    count, keys = -(-steps // size), size + before + after
    apart = np.arange(keys) - before - np.arange(size)[:, None]
    places = size * np.arange(count)[:, None] + np.arange(keys)
    there = (places >= before) & (places < before + steps)
    allowed = (apart >= -before) & (apart <= after) & there[:, None]
    squares, beyond = (apart**2).astype(np.float32), np.where(allowed, 0, FAR).astype(np.float32)
    return Tensor(squares), Tensor(beyond.reshape(-1)), Tensor(places.reshape(-1).astype(np.int32))


def power_norm(y: Tensor) -> Tensor:
    """r = sign(y) sqrt|y|, divided by its L2 norm over time; the derivative of r at y = 0 is 0. (B, T, E)."""
    r = ops.sign(y) * ops.sqrt(ops.where(y == 0, 1.0, ops.abs(y)))
    squares = ops.square(r).sum(1, keepdims=True)
    return r / ops.maximum(ops.sqrt(ops.where(squares == 0, 1.0, squares)), 1e-12)
