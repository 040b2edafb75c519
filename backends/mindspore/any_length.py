"""Forms of this backend's layers for a graph that takes videos of any length.

The layers prepare what depends on the length with NumPy, and work in blocks: a graph of one length holds the result.
A graph for all lengths computes it, and takes everything at once. `for_any_length` gives a network these forms.
"""
from __future__ import annotations

import math

import numpy as np

import mindspore as ms
from mindspore import Tensor, ops
from wvad_core.blocks.attention import DECAY, rotary_frequencies
from wvad_core.blocks.crops import one_crop_each

from .blocks.attention import DECAY_BLOCK, DecayAttention, PositionEmbedding, SoftmaxAttention, WindowedAttention
from .blocks.context_attention import ContextAttention
from .blocks.convolution import Conv1d, Conv2d
from .blocks.head_axes import Heads, Merged
from .blocks.magnitude import MagnitudeNetwork
from .network import VideoNetwork


class AnyConv1d(Conv1d):
    def construct(self, x: Tensor) -> Tensor:
        batch, steps, inputs = x.shape
        if self.kernel > 1:
            ends = ops.zeros((batch, self.pad, inputs), x.dtype)
            places = ops.arange(steps).reshape(-1, 1) + self.dilation * ops.arange(self.kernel)
            x = ops.gather(ops.cat((ends, x, ends), 1), places.reshape(-1), 1)  # (B, T * K, I)
        weight = self.weight.transpose(0, 2, 1).reshape(self.weight.shape[0], -1)
        y = self.product(x.reshape(-1, weight.shape[1]), weight)
        if self.bias is not None:
            y = self.add(y, self.bias)
        return y.reshape(batch, steps, weight.shape[0])


class AnySoftmaxAttention(SoftmaxAttention):
    def construct(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return self.sum(self.softmax(self.similarity(q * q.shape[-1]**-0.5, k)), v)


class AnyDecayAttention(DecayAttention):
    """Blocks of outputs by their own and the two neighbouring blocks of inputs, as ever; the sums beforehand."""

    def construct(self, t: Tensor) -> Tensor:
        batch, steps, channels = t.shape
        blocks = (steps + DECAY_BLOCK - 1) // DECAY_BLOCK
        j = ops.arange(steps).astype(ms.float32)
        sums = (1 + DECAY - ops.pow(DECAY, j + 1) - ops.pow(DECAY, steps - j)) / (1 - DECAY)
        front = ops.zeros((batch, DECAY_BLOCK, channels), t.dtype)
        back = ops.zeros((batch, (blocks + 1) * DECAY_BLOCK - steps, channels), t.dtype)
        places = DECAY_BLOCK * ops.arange(blocks).reshape(-1, 1) + ops.arange(3 * DECAY_BLOCK)
        windows = ops.gather(ops.cat((front, t / sums.reshape(-1, 1), back), 1), places.reshape(-1), 1)
        windows = windows.reshape(batch * blocks, 3 * DECAY_BLOCK, channels)
        out = self.product(ops.tile(_decays(), (batch * blocks, 1, 1)), windows)
        return out.reshape(batch, blocks * DECAY_BLOCK, channels)[:, :steps]


@ms.constexpr
def _decays() -> Tensor:
    """exp(-|i - j| / e) of a block of outputs and three of inputs, (1, 64, 3 * 64)."""
    size = DECAY_BLOCK
    apart = size + np.arange(size)[:, None] - np.arange(3 * size)
    return Tensor(np.exp(-np.abs(apart) / math.e).astype(np.float32)[None])


class AnyWindowedAttention(WindowedAttention):
    def construct(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        groups, steps, width = q.shape
        window, size = self.window, self.size
        blocks = (steps + size - 1) // size
        q = self.in_blocks(self.rotated(q * width**-0.5, window), 0)
        k, v = self.in_blocks(self.rotated(k, 0), window), self.in_blocks(v, window)
        i, j = ops.arange(size).reshape(-1, 1), ops.arange(size + 2 * window).reshape(1, -1) - window
        there = j + size * ops.arange(blocks).reshape(-1, 1, 1)
        allowed = ops.logical_and(ops.abs(i - j) <= window, there >= 0)
        allowed = ops.logical_and(allowed, there < (steps + window - 1) // window * window)
        logits = self.similarity(q, k).reshape(groups, blocks, size, size + 2 * window)
        weights = self.softmax(logits + (allowed.astype(ms.float32) - 1) * 1e30)
        out = self.sum(weights.reshape(groups * blocks, size, size + 2 * window), v)
        return out.reshape(groups, blocks * size, width)[:, :steps]

    def in_blocks(self, x: Tensor, more: int) -> Tensor:
        groups, steps, width = x.shape
        blocks = (steps + self.size - 1) // self.size
        back = ops.zeros((groups, more + blocks * self.size - steps, width), x.dtype)
        padded = ops.cat((ops.zeros((groups, more, width), x.dtype), x, back), 1) if more else ops.cat((x, back), 1)
        places = self.size * ops.arange(blocks).reshape(-1, 1) + ops.arange(self.size + 2 * more)
        return ops.gather(padded, places.reshape(-1), 1).reshape(groups * blocks, self.size + 2 * more, width)

    def rotated(self, x: Tensor, ahead: int) -> Tensor:
        groups, steps, width = x.shape
        frequencies, swap = _rotation(width)
        angles = (ops.arange(steps) + ahead).astype(ms.float64).reshape(-1, 1) * frequencies
        swapped = self.product(x.reshape(-1, width), swap).reshape(groups, steps, width)
        return x * ops.cos(angles).astype(x.dtype) + swapped * ops.sin(angles).astype(x.dtype)


@ms.constexpr
def _rotation(width: int) -> tuple[Tensor, Tensor]:
    """Each dimension's frequency, (E,) float64; and what makes (-second half, first half) of (first, second)."""
    swap = np.kron([[0, 1], [-1, 0]], np.eye(width // 2))
    return Tensor(np.tile(rotary_frequencies(width), 2)), Tensor(swap.astype(np.float32))


class AnyContextAttention(ContextAttention):
    def construct(self, x: Tensor) -> Tensor:
        q, k, v = self._maps(x)
        places = ops.arange(x.shape[1]).astype(ms.float32)
        apart = places.reshape(1, -1) - places.reshape(-1, 1)
        logits = self.similarity(q, k) + self.position(ops.square(apart))
        near = ops.logical_and(apart >= -self.before, apart <= self.after).astype(ms.float32)
        share = ops.sigmoid(self.alpha)
        return self.sum(share * self.softmax(logits) + (1 - share) * self.softmax(logits + (near - 1) * 1e30), v)


class AnyPositionEmbedding(PositionEmbedding):
    def construct(self, x: Tensor) -> Tensor:
        return x + self.weight[:x.shape[1]]


class AnyHeads(Heads):
    def construct(self, y: Tensor) -> tuple[Tensor, ...]:
        batch, steps, _ = y.shape
        apart = y.reshape(batch, steps, self.parts, self.heads, self.head_dim).transpose(2, 0, 3, 1, 4)
        parts = []
        for i in range(self.parts):
            parts.append(apart[i].reshape(batch * self.heads, steps, self.head_dim))
        return tuple(parts)


class AnyMerged(Merged):
    def construct(self, *parts: Tensor) -> Tensor:
        groups, steps, _ = parts[0].shape
        beside = ops.cat(parts, -1) if len(parts) > 1 else parts[0]
        width = len(parts) * self.head_dim
        beside = beside.reshape(groups // self.heads, self.heads, steps, width).transpose(0, 2, 1, 3)
        return beside.reshape(groups // self.heads, steps, self.heads * width)


class AnyMagnitudeNetwork(MagnitudeNetwork):
    def construct(self, features: Tensor) -> Tensor:
        items, crops = one_crop_each(self.clips(features))
        return self.item_scores(items).reshape(-1, crops, items.shape[1]).mean(1)


FORMS = {Conv1d: AnyConv1d, SoftmaxAttention: AnySoftmaxAttention, DecayAttention: AnyDecayAttention,
         WindowedAttention: AnyWindowedAttention, PositionEmbedding: AnyPositionEmbedding,
         ContextAttention: AnyContextAttention, Heads: AnyHeads, Merged: AnyMerged, MagnitudeNetwork: AnyMagnitudeNetwork}


def for_any_length(network: VideoNetwork) -> VideoNetwork:
    """A copy of the network, in evaluation mode, whose cells have these forms."""
    weights = {name: parameter.asnumpy() for name, parameter in network.parameters_and_names()}
    copy = type(network)(network.config, weights=weights)
    copy.any_length = True
    for _, cell in copy.cells_and_names():
        if isinstance(cell, Conv2d):
            cell.native = False  # the graph is for other processors too
        for kind, form in FORMS.items():
            if isinstance(cell, kind):
                cell.__class__ = type(form.__name__, (form, type(cell)), {})  # a network's own class has methods of its own
    return copy.set_train(False)
