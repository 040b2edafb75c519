"""CLIP-TSA in MindSpore. The formulas are in `wvad_core.methods.clip_tsa`."""
from __future__ import annotations

import numpy as np

import mindspore as ms
from mindspore import Tensor, nn, ops
from mindspore.ops import functional as F
from wvad_core.blocks.crops import one_crop_each
from wvad_core.blocks.magnitude import items_at_a_time, with_crops
from wvad_core.methods import clip_tsa
from wvad_core.methods.clip_tsa import MOST_ATTENDED, Config

from ..blocks.crops import in_blocks
from ..blocks.linear import Linear
from ..blocks.magnitude import MagnitudeNetwork
from ..blocks.random import Noise


class TwoLayers(nn.Cell):
    """linear(relu(linear(x))): the logits of the scorer, and of the projection."""

    def __init__(self, inputs: int, hidden: int, outputs: int):
        super().__init__()
        self.fc1, self.fc2 = Linear(inputs, hidden), Linear(hidden, outputs)

    def construct(self, x: Tensor) -> Tensor:
        return self.fc2(ops.relu(self.fc1(x)))


class Network(MagnitudeNetwork):
    def build_layers(self, config: Config) -> None:
        super().build_layers(config)
        self.attention, self.noise = TwoLayers(config.channels, config.scorer_dim, 1), Noise()
        self.projection = TwoLayers(config.feature_dim, *config.projection_dims) if config.projection else None

    def clips(self, features: Tensor) -> Tensor:
        """The attended features: (B, T, D) or (B, N, T, D) -> (B, N, T, C)."""
        videos, crops, steps, _ = with_crops(features).shape
        x, _ = one_crop_each(features)
        if self.projection is not None:
            x = ops.sigmoid(self.by_items(self.projection, x))
        if not self.config.disable_HA:
            logits = self.by_items(self.attention, x).squeeze(-1)
            shares = self.shares(logits) if self.training else self.shares_in_scoring(logits.reshape(videos, crops, steps))
            x = x * shares.reshape(x.shape[0], steps, 1)
        return x.reshape(videos, crops, steps, -1)

    def by_items(self, layer: nn.Cell, x: Tensor) -> Tensor:
        if self.training or not F.isconstant(x.shape[1]):
            return layer(x)
        return in_blocks(layer, x, 0, items_at_a_time(x.shape[1]))

    def shares(self, logits: Tensor) -> Tensor:
        """Of crops (I, T) in training."""
        config, steps = self.config, logits.shape[1]
        copies = ops.tile(ops.stop_gradient(logits).expand_dims(1), (1, config.num_samples, 1))
        noise = self.noise(copies)
        masks = largest(perturbed(copies, noise, config.sigma), config.attended(steps)).astype(logits.dtype)
        return _mean_of_masks(ops.sigmoid(logits), noise, ops.stop_gradient(masks), config.sigma)

    def shares_in_scoring(self, logits: Tensor) -> Tensor:
        """Of crops (B, N, T)."""
        config, (crops, steps) = self.config, logits.shape[1:]
        if not F.isconstant(steps):
            return _largest_in_graph(logits, config).astype(logits.dtype)
        k = config.attended_in_scoring(crops, steps)
        if not config.noise_samples:
            return largest(logits, k).astype(logits.dtype)
        counts = ops.zeros_like(logits)
        for z in clip_tsa.noise_blocks(config, crops, steps):
            counts += largest(perturbed(logits.expand_dims(1), Tensor(z), config.sigma), k).astype(logits.dtype).sum(1)
        return counts / config.noise_samples


def perturbed(logits: Tensor, noise: Tensor, sigma: float) -> Tensor:
    """What is ranked with noise (I, n, T), or (n, N, T) of crops: of logits (I, 1 or n, T) or (B, 1, N, T)."""
    moved = (noise != 0).astype(noise.dtype).max()
    return moved * ops.sigmoid(logits) + sigma * noise + (1 - moved) * logits


def _mean_of_masks(a: Tensor, noise: Tensor, masks: Tensor, sigma: float) -> Tensor:
    """The mean of masks (I, n, T) over the samples, as a function of a (I, T): (I, T).

    Its gradient is the published one, in which the snippets are the other way round than in the estimator's. It comes from a term
    that is 0: a cell with a `bprop` would take MindSpore minutes to compile.
    """
    nothing = (a - ops.stop_gradient(a)).expand_dims(1)
    along = (masks * nothing).sum(-1, keepdims=True)  # sum_t m[s, t] a_t, of which the gradient is left
    return masks.mean(1) + (noise * along).mean(1) / sigma


def largest(values: Tensor, k: int) -> Tensor:
    """Which of (..., T) are the K largest: of equal ones the first. (..., T) bool."""
    least = ops.topk(values, k)[0][..., k - 1:k]
    return _down_to(values, least, k)


def _down_to(values: Tensor, least: Tensor, k: int | Tensor) -> Tensor:
    """The K largest, of which `least` (..., 1) is the last."""
    above, level = values > least, values == least
    left = k - above.astype(ms.float32).sum(-1, keepdims=True)
    return ops.logical_or(above, ops.logical_and(level, ops.cumsum(level.astype(ms.float32), -1) <= left))


def _largest_in_graph(values: Tensor, config: Config) -> Tensor:
    """The `config.attended_in_scoring` largest of (B, N, T), where a graph leaves the sizes open."""
    crops, steps = (_size(values.shape[axis]) for axis in (1, 2))
    k = ops.minimum(ops.maximum(ops.floor(_double(config.k) * steps), 1), steps)
    bounded = ops.minimum(k, MOST_ATTENDED)
    k = (bounded if config.projection else ops.select(crops == 1, bounded, k)).astype(ms.int32)
    return _down_to(values, ops.gather(ops.sort(values, -1, True)[0], k - 1, -1), k)


def _size(size: int) -> Tensor:
    """Of an axis, as a tensor (1,) float64."""
    return ops.arange(size)[-1:].astype(ms.float64) + 1


@ms.constexpr
def _double(number: float) -> Tensor:
    return Tensor(np.float64(number))
