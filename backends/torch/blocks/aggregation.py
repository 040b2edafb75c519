"""The pyramid aggregation of `wvad_core.blocks.aggregation` in PyTorch."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from wvad_core.blocks.aggregation import PYRAMID_DILATIONS

from .convolution import Conv1d
from .normalisation import BatchNorm, GroupNorm


class NonLocal(nn.Module):
    """x + norm(W y), y_i = sum_j (theta_i . phi_j / T) g_j, as theta (phi^T g / T). x (B, T, C) -> (B, T, C)."""

    def __init__(self, channels: int):
        super().__init__()
        self.g, self.theta, self.phi = (Conv1d(channels, channels // 2, 1) for _ in range(3))
        self.out, self.norm = Conv1d(channels // 2, channels, 1), BatchNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        summed = self.phi(x).transpose(1, 2) @ self.g(x) / x.shape[1]
        return x + self.norm(self.out(self.theta(x) @ summed))


class Scale(nn.Module):
    """Conv1d of kernel 3, ReLU, BatchNorm, in that order; with `groups` Conv1d, GroupNorm, ReLU."""

    def __init__(self, inputs: int, outputs: int, dilation: int = 1, bias: bool = True, groups: int = 0):
        super().__init__()
        self.conv, self.groups = Conv1d(inputs, outputs, 3, dilation, bias), groups
        self.norm = GroupNorm(groups, outputs) if groups else BatchNorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return F.relu(self.norm(y)) if self.groups else self.norm(F.relu(y))


class PyramidAggregation(nn.Module):
    """Convolutions of dilation 1, 2, 4 and a non-local block, merged and added to the input. x (B, T, D)."""

    def __init__(self, channels: int, groups: int = 0):
        super().__init__()
        for d in PYRAMID_DILATIONS:
            self.add_module(f"scale{d}", Scale(channels, channels // 4, d, groups=groups))
        self.reduce, self.non_local = Conv1d(channels, channels // 4, 1, bias=False), NonLocal(channels // 4)
        self.merge = Scale(channels, channels, bias=False, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        scales = [self.get_submodule(f"scale{d}")(x) for d in PYRAMID_DILATIONS]
        around = self.non_local(F.relu(self.reduce(x)))
        return x + self.merge(torch.cat([*scales, around], dim=-1))
