"""The blocks of `wvad_core.blocks.attention` in MindSpore."""
from __future__ import annotations

import math

import numpy as np

import mindspore as ms
from mindspore import Parameter, Tensor, nn, ops
from wvad_core.blocks.attention import check_positions, decay_sums, rotary_frequencies, window_block

from .head_axes import Heads, Merged
from .linear import Linear
from .normalisation import LayerNorm

DECAY_BLOCK = 64  # exp(-64 / e) is below float32's rounding
ATTENTION_BLOCK = 1 << 22  # attention weights held at a time


class SoftmaxAttention(nn.Cell):
    """softmax(q k^T / sqrt(E)) v for a block of queries at a time. q, k, v (G, T, E) -> (G, T, E).

    causal: the softmax of query i is over the keys j <= i alone.
    """

    def __init__(self, causal: bool = False) -> None:
        super().__init__()
        self.causal, self.add = causal, ops.BiasAdd()
        self.similarity, self.softmax, self.sum = ops.BatchMatMul(transpose_b=True), ops.Softmax(-1), ops.BatchMatMul()

    def construct(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        groups, steps, width = q.shape
        if steps == 1:  # the softmax is 1; and MindSpore 2.10, once it differentiated such a one, errs on all others
            return v
        q = q * width**-0.5
        together, rows = max(1, ATTENTION_BLOCK // (steps * steps)), min(steps, max(1, ATTENTION_BLOCK // steps))
        blocks = []
        for g in range(0, groups, together):
            keys, values = k[g:g + together], v[g:g + together]
            parts = []
            for i in range(0, steps, rows):
                logits = self.similarity(q[g:g + together, i:i + rows], keys)
                if self.causal:
                    logits = self.add(logits.reshape(keys.shape[0], -1), _later_keys(i, logits.shape[1], steps)).reshape(
                        logits.shape)
                parts.append(self.sum(self.softmax(logits), values))
            blocks.append(ops.cat(parts, 1))
        return ops.cat(blocks, 0)


@ms.constexpr
def _later_keys(start: int, rows: int, steps: int) -> Tensor:
    """-1e30 for the keys behind each of so many queries, (rows * T,)."""
    return Tensor(np.where(np.arange(start, start + rows)[:, None] < np.arange(steps), -1e30, 0).reshape(-1).astype(np.float32))


class DecayAttention(nn.Cell):
    """out_i = sum_j exp(-|i - j| / e) / s_j t_j, s_j = sum_i exp(-|i - j| / e). t (B, T, C) -> (B, T, C).

    The weights fall below rounding within a block of 64 snippets, so each block of outputs needs its own and the two
    neighbouring blocks of inputs: O(T).
    """

    def __init__(self) -> None:
        super().__init__()
        self.product = ops.BatchMatMul()

    def construct(self, t: Tensor) -> Tensor:
        batch, steps, channels = t.shape
        weights, places = _decay_blocks(steps)
        blocks = weights.shape[0]
        front = ops.zeros((batch, DECAY_BLOCK, channels), t.dtype)
        back = ops.zeros((batch, (blocks + 1) * DECAY_BLOCK - steps, channels), t.dtype)
        windows = ops.gather(ops.cat((front, t, back), 1), places, 1)  # (B, blocks * 3 * 64, C)
        windows = windows.reshape(batch * blocks, 3 * DECAY_BLOCK, channels)
        out = self.product(ops.tile(weights, (batch, 1, 1)), windows)
        return out.reshape(batch, blocks * DECAY_BLOCK, channels)[:, :steps]


@ms.constexpr
def _decay_blocks(steps: int) -> tuple[Tensor, Tensor]:
    """The weights of each block of outputs (blocks, 64, 3 * 64), and where its inputs lie (blocks * 3 * 64,)."""
    count, size = -(-steps // DECAY_BLOCK), DECAY_BLOCK
    places = size * np.arange(count)[:, None] + np.arange(3 * size)  # in the padded sequence: input j lies at j + size
    near = np.exp(-np.abs(size + np.arange(size)[:, None] - np.arange(3 * size)) / math.e)
    sums = np.pad(decay_sums(steps), (size, (count + 1) * size - steps), constant_values=1)
    return Tensor((near / sums[places][:, None]).astype(np.float32)), Tensor(places.reshape(-1).astype(np.int32))


class WindowedAttention(nn.Cell):
    """softmax over |i - j| <= window, with the published quirks. q, k, v (G, T, E) -> (G, T, E).

    A block of queries at a time, which meets its own keys and `window` more on each side: O(T).
    """

    def __init__(self, window: int):
        super().__init__()
        self.window, self.size = window, window_block(window)
        self.similarity, self.softmax, self.sum = ops.BatchMatMul(transpose_b=True), ops.Softmax(-1), ops.BatchMatMul()
        self.product, self.add = ops.MatMul(), ops.BiasAdd()

    def construct(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        groups, steps, width = q.shape
        blocks, keys = -(-steps // self.size), self.size + 2 * self.window
        q = self.in_blocks(self.rotated(q * width**-0.5, self.window), 0)
        k, v = self.in_blocks(self.rotated(k, 0), self.window), self.in_blocks(v, self.window)
        logits = self.similarity(q, k)  # (G * blocks, size, size + 2 window)
        logits = self.add(logits.reshape(groups, blocks * self.size * keys), _not_allowed(steps, self.window))
        weights = self.softmax(logits.reshape(groups * blocks, self.size, keys))
        return self.sum(weights, v).reshape(groups, blocks * self.size, width)[:, :steps]

    def in_blocks(self, x: Tensor, more: int) -> Tensor:
        """Each block with `more` snippets on either side, zeros outside. (G, T, E) -> (G * blocks, size + 2 more, E)."""
        groups, steps, width = x.shape
        places, behind = _block_places(steps, self.size, more)
        front, back = ops.zeros((groups, more, width), x.dtype), ops.zeros((groups, behind, width), x.dtype)
        padded = ops.cat((front, x, back), 1)
        return ops.gather(padded, places, 1).reshape(-1, self.size + 2 * more, width)

    def rotated(self, x: Tensor, ahead: int) -> Tensor:
        """Rotary positions: dimensions m and m + E / 2 turned by (t + ahead) * 10000^(-2 m / E).

        Tiled factors and a product that swaps the dimensions: six times as fast as broadcasting and joining halves.
        """
        groups, steps, width = x.shape
        cos, sin, swap = _rotation(steps, width, ahead)
        swapped = self.product(x.reshape(-1, width), swap).reshape(x.shape)
        return x * ops.tile(cos, (groups, 1, 1)) + swapped * ops.tile(sin, (groups, 1, 1))


@ms.constexpr
def _block_places(steps: int, size: int, more: int) -> tuple[Tensor, int]:
    """Where the blocks lie in the padded sequence, (blocks * (size + 2 more),), and the padding behind."""
    blocks = -(-steps // size)
    places = size * np.arange(blocks)[:, None] + np.arange(size + 2 * more)
    return Tensor(places.reshape(-1).astype(np.int32)), more + blocks * size - steps


@ms.constexpr
def _rotation(steps: int, width: int, ahead: int) -> tuple[Tensor, Tensor, Tensor]:
    """cos and sin of each dimension's angles, (T, E); and what makes (-second half, first half) of (first, second)."""
    angles = np.multiply.outer(np.arange(steps) + ahead, np.tile(rotary_frequencies(width), 2))
    swap = np.kron([[0, 1], [-1, 0]], np.eye(width // 2))
    return tuple(Tensor(values.astype(np.float32)) for values in (np.cos(angles), np.sin(angles), swap))


@ms.constexpr
def _not_allowed(steps: int, window: int) -> Tensor:
    """-1e30 for keys beyond the window or outside the video filled up to whole windows, (blocks * size * keys,)."""
    size, filled = window_block(window), -(-steps // window) * window
    i, j = np.arange(size)[:, None], np.arange(-window, size + window)
    there = j + size * np.arange(-(-steps // size))[:, None, None]
    allowed = (np.abs(i - j) <= window) & (there >= 0) & (there < filled)
    return Tensor(np.where(allowed, 0, -1e30).reshape(-1).astype(np.float32))


class LocalAttention(nn.Cell):
    """Multi-head attention to the snippets within `window`. x (B, T, C) -> (B, T, C)."""

    def __init__(self, channels: int, heads: int, head_dim: int, window: int):
        super().__init__()
        self.apart, self.merged = Heads(3, heads, head_dim), Merged(heads, head_dim)
        self.norm = LayerNorm(channels)
        self.qkv = Linear(channels, 3 * heads * head_dim, bias=False)
        self.out = Linear(heads * head_dim, channels, bias=False)
        self.near = WindowedAttention(window)

    def construct(self, x: Tensor) -> Tensor:
        q, k, v = self.apart(self.qkv(self.norm(x)))
        return self.out(self.merged(self.near(q, k, v)))


class PositionEmbedding(nn.Cell):
    """x plus a learned vector for each place in the video. x (B, T, C) -> (B, T, C)."""

    def __init__(self, positions: int, channels: int):
        super().__init__()
        self.weight = Parameter(Tensor(np.zeros((positions, channels), np.float32)))
        self.add = ops.BiasAdd()

    def construct(self, x: Tensor) -> Tensor:
        batch, steps, channels = x.shape
        _check_positions(steps, self.weight.shape[0])
        return self.add(x.reshape(batch, steps * channels), self.weight[:steps].reshape(-1)).reshape(x.shape)


@ms.constexpr
def _check_positions(steps: int, positions: int) -> bool:
    check_positions(steps, positions)
    return True
