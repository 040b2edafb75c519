"""The blocks of `wvad_core.blocks.normalisation` in MindSpore."""
from __future__ import annotations

import numpy as np

from mindspore import Parameter, Tensor, nn, ops
from wvad_core.blocks.normalisation import BATCH_NORM_EPS, BATCH_NORM_MOMENTUM, GROUP_NORM_EPS, LAYER_NORM_EPS, UNIT_EPS

from .. import parallel
from .parameters import zeros


class BatchNorm(nn.Cell):
    """x (..., C), statistics per channel over all other axes; names and counter as in PyTorch."""

    synchronised = True  # in training on several processes: the statistics of all of them, not of each

    def __init__(self, channels: int):
        super().__init__()
        self.weight, self.bias = Parameter(Tensor(np.ones(channels, np.float32))), zeros(channels)
        self.running_mean = Parameter(Tensor(np.zeros(channels, np.float32)), requires_grad=False)
        self.running_var = Parameter(Tensor(np.ones(channels, np.float32)), requires_grad=False)
        self.num_batches_tracked = Parameter(Tensor(np.array(0, np.int64)), requires_grad=False)
        self.add = ops.BiasAdd()

    def construct(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        if not self.training:
            return self.by_running(flat).reshape(x.shape)
        mean = flat.mean(0)
        centred = flat - mean
        variance = (centred * centred).mean(0)
        if parallel.group()[1] > 1:
            return self.shared(flat, mean, variance).reshape(x.shape)
        self.record(mean, variance, flat.shape[0])
        return (centred / ops.sqrt(variance + BATCH_NORM_EPS) * self.weight + self.bias).reshape(x.shape)

    def by_running(self, x: Tensor) -> Tensor:
        """x (R, C) by the running statistics. MindSpore's product with a row is ten times as slow as with many rows."""
        scale = self.weight / ops.sqrt(self.running_var + BATCH_NORM_EPS)
        return self.add(x * ops.tile(scale, (x.shape[0], 1)), self.bias - self.running_mean * scale)

    def shared(self, rows: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """Training with as many rows in every process, of this mean and variance here.

        The running statistics stay the same in all of them: they move towards those of all rows or, not synchronised,
        towards the mean of what each process has.
        """
        every = parallel.everywhere(ops.stack((mean, variance)))
        means, variances, count = every[:, 0], every[:, 1], rows.shape[0]
        middle, within = means.mean(0), variances.mean(0)
        if self.synchronised:
            mean, variance, count = middle, within + ops.square(means - middle).mean(0), count * means.shape[0]
        self.record(middle, variance if self.synchronised else within, count)
        return (rows - mean) / ops.sqrt(variance + BATCH_NORM_EPS) * self.weight + self.bias

    def record(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Move the running statistics towards the batch's, the variance unbiased."""
        unbiased = variance * (count / max(count - 1, 1))
        ops.assign(self.running_mean, self.running_mean + BATCH_NORM_MOMENTUM * (mean - self.running_mean))
        ops.assign(self.running_var, self.running_var + BATCH_NORM_MOMENTUM * (unbiased - self.running_var))
        ops.assign(self.num_batches_tracked, self.num_batches_tracked + 1)


class LayerNorm(nn.Cell):
    def __init__(self, channels: int):
        super().__init__()
        self.weight, self.bias = Parameter(Tensor(np.ones(channels, np.float32))), zeros(channels)
        self.normalise = ops.LayerNorm(-1, -1, LAYER_NORM_EPS)

    def construct(self, x: Tensor) -> Tensor:
        return self.normalise(x, self.weight, self.bias)[0]


class GroupNorm(nn.Cell):
    """x (B, T, C), statistics per item and group of neighbouring channels: means over time, then over the channels."""

    def __init__(self, groups: int, channels: int):
        super().__init__()
        self.weight, self.bias = Parameter(Tensor(np.ones(channels, np.float32))), zeros(channels)
        self.groups, self.size = groups, channels // groups

    def construct(self, x: Tensor) -> Tensor:
        centred = x - self.of_groups(x)
        return centred / ops.sqrt(self.of_groups(ops.square(centred)) + GROUP_NORM_EPS) * self.weight + self.bias

    def of_groups(self, x: Tensor) -> Tensor:
        """The mean of each item's groups, at each of their channels: (B, T, C) -> (B, 1, C)."""
        means = x.mean(1).reshape(-1, self.groups, self.size).mean(-1, keep_dims=True)
        return ops.tile(means, (1, 1, self.size)).reshape(-1, 1, self.groups * self.size)


def unit(x: Tensor) -> Tensor:
    """x / max(||x||, 1e-12) over the last axis."""
    return x / ops.maximum(ops.norm(x, dim=-1, keepdim=True), UNIT_EPS)
