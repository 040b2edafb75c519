"""The blocks of `wvad_core.blocks.normalisation` in PyTorch."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from wvad_core.blocks.normalisation import BATCH_NORM_MOMENTUM, GROUP_NORM_EPS, LAYER_NORM_EPS, UNIT_EPS

from .. import parallel


class BatchNorm(nn.BatchNorm1d):
    """x (..., C), statistics per channel over all other axes."""

    synchronised = True  # in training on several processes: the statistics of all of them, not of each

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        if self.training and parallel.processes()[1] > 1:
            rows = rows.to(self.weight.dtype)
            mean = rows.mean(0)
            return self.shared(rows, mean, (rows - mean).square().mean(0)).to(x.dtype).view(x.shape)
        if self.training and rows.device.type == "cpu":  # the kernel for rows sums in float32 one by one, 3e-5 off at 30000
            return super().forward(rows.t().contiguous()[None])[0].t().reshape(x.shape)
        return super().forward(rows).view(x.shape)

    def shared(self, rows: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """Training with as many rows in every process, of this mean and variance here.

        The running statistics stay the same in all of them: they move towards those of all rows or, not synchronised,
        towards the mean of what each process has.
        """
        means, variances = parallel.everywhere(torch.stack([mean, variance])).unbind(1)
        middle, within, count = means.mean(0), variances.mean(0), len(rows)
        if self.synchronised:
            mean, variance, count = middle, within + (means - middle).square().mean(0), count * len(means)
        self.record(middle, variance if self.synchronised else within, count)
        return (rows - mean) / (variance + self.eps).sqrt() * self.weight + self.bias

    @torch.no_grad()
    def record(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Move the running statistics towards the batch's, the variance unbiased."""
        self.running_mean.lerp_(mean, BATCH_NORM_MOMENTUM)
        self.running_var.lerp_(variance * (count / max(count - 1, 1)), BATCH_NORM_MOMENTUM)
        self.num_batches_tracked += 1


class LayerNorm(nn.LayerNorm):
    def __init__(self, channels: int):
        super().__init__(channels, eps=LAYER_NORM_EPS)


class GroupNorm(nn.GroupNorm):
    """x (B, T, C), statistics per item and group of neighbouring channels."""

    def __init__(self, groups: int, channels: int):
        super().__init__(groups, channels, eps=GROUP_NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Of a single snippet too, which nn.GroupNorm refuses."""
        return torch.group_norm(x.transpose(1, 2), self.num_groups, self.weight, self.bias, self.eps).transpose(1, 2)


def unit(x: Tensor) -> Tensor:
    """x / max(||x||, 1e-12) over the last axis."""
    return F.normalize(x, dim=-1, eps=UNIT_EPS)
