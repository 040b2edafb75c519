"""The blocks of `wvad_core.blocks.context_attention` in MindSpore."""
from __future__ import annotations

import numpy as np

import mindspore as ms
from mindspore import Tensor, nn, ops

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
        batch, steps, _ = x.shape
        q, k, v = self._maps(x)
        if steps == 1:  # both maps are 1; and MindSpore 2.10, once it differentiated such a softmax, errs on all others
            return v
        term = self.position(_squares(steps))
        items, rows = max(1, CONTEXT_BLOCK // steps**2), max(1, min(steps, CONTEXT_BLOCK // steps))
        blocks = []
        for i in range(0, batch, items):
            parts = []
            for j in range(0, steps, rows):
                parts.append(self._seen(q[i:i + items, j:j + rows], k[i:i + items], v[i:i + items], term, j))
            blocks.append(ops.cat(parts, 1))
        return ops.cat(blocks, 0)

    def _maps(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, scaled, k and v, (B, T, E) each."""
        weights = ops.cat((self.q.weight, self.k.weight, self.v.weight))
        together = linear(x, weights, ops.cat((self.q.bias, self.k.bias, self.v.bias)))
        width = self.q.weight.shape[0]
        return together[..., :width] * width**-0.5, together[..., width:2 * width], together[..., 2 * width:]

    def _seen(self, q: Tensor, k: Tensor, v: Tensor, term: Tensor, start: int) -> Tensor:
        """The contexts of some queries, (B, R, E), of which `start` is the first. k, v (B, T, E), term (2 T - 1,)."""
        items, rows, _ = q.shape
        steps = k.shape[1]
        logits = self.similarity(q, k).reshape(items, rows * steps)
        terms = _shifted(term[steps - start - rows:2 * steps - 1 - start], rows)
        logits = self.add(logits, terms).reshape(items, rows, steps)
        low, high = max(0, start - self.before), min(steps, start + rows + self.after)
        beyond = _beyond(start, rows, low, high, self.before, self.after)
        near = self.add(logits[:, :, low:high].reshape(items, -1), beyond).reshape(items, rows, high - low)
        local = v[:, low:high] if high - low == 1 else self.sum(self.softmax(near), v[:, low:high])
        share = ops.sigmoid(self.alpha)
        return share * self.sum(self.softmax(logits), v) + (1 - share) * local


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
def _beyond(start: int, rows: int, low: int, high: int, before: int, after: int) -> Tensor:
    """What is added to the logits of keys outside the window, (R * keys,)."""
    apart = np.arange(low, high) - np.arange(start, start + rows)[:, None]
    return Tensor(np.where((apart < -before) | (apart > after), FAR, 0).reshape(-1).astype(np.float32))


def power_norm(y: Tensor) -> Tensor:
    """r = sign(y) sqrt|y|, divided by its L2 norm over time; the derivative of r at y = 0 is 0. (B, T, E)."""
    r = ops.sign(y) * ops.sqrt(ops.where(y == 0, 1.0, ops.abs(y)))
    squares = ops.square(r).sum(1, keepdims=True)
    return r / ops.maximum(ops.sqrt(ops.where(squares == 0, 1.0, squares)), 1e-12)
