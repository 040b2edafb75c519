"""The pyramid aggregation of `wvad_core.blocks.aggregation` in MindSpore."""
from __future__ import annotations

from mindspore import Tensor, nn, ops
from wvad_core.blocks.aggregation import PYRAMID_DILATIONS

from .convolution import Conv1d
from .normalisation import BatchNorm, GroupNorm


class NonLocal(nn.Cell):
    """x + norm(W y), y_i = sum_j (theta_i . phi_j / T) g_j, as theta (phi^T g / T). x (B, T, C) -> (B, T, C)."""

    def __init__(self, channels: int):
        super().__init__()
        self.g = Conv1d(channels, channels // 2, 1)
        self.theta = Conv1d(channels, channels // 2, 1)
        self.phi = Conv1d(channels, channels // 2, 1)
        self.out, self.norm = Conv1d(channels // 2, channels, 1), BatchNorm(channels)
        self.inner, self.product = ops.BatchMatMul(transpose_a=True), ops.BatchMatMul()

    def construct(self, x: Tensor) -> Tensor:
        summed = self.inner(self.phi(x), self.g(x)) / x.shape[1]
        return x + self.norm(self.out(self.product(self.theta(x), summed)))


class Scale(nn.Cell):
    """Conv1d of kernel 3, ReLU, BatchNorm, in that order; with `groups` Conv1d, GroupNorm, ReLU."""

    def __init__(self, inputs: int, outputs: int, dilation: int = 1, bias: bool = True, groups: int = 0):
        super().__init__()
        self.conv, self.groups = Conv1d(inputs, outputs, 3, dilation, bias), groups
        self.norm = GroupNorm(groups, outputs) if groups else BatchNorm(outputs)

    def construct(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return ops.relu(self.norm(y)) if self.groups else self.norm(ops.relu(y))


class PyramidAggregation(nn.Cell):
    """Convolutions of dilation 1, 2, 4 and a non-local block, merged and added to the input. x (B, T, D)."""

    def __init__(self, channels: int, groups: int = 0):
        super().__init__()
        self.scale1, self.scale2, self.scale4 = [Scale(channels, channels // 4, d, groups=groups) for d in PYRAMID_DILATIONS]
        self.reduce, self.non_local = Conv1d(channels, channels // 4, 1, bias=False), NonLocal(channels // 4)
        self.merge = Scale(channels, channels, bias=False, groups=groups)

    def construct(self, x: Tensor) -> Tensor:
        around = self.non_local(ops.relu(self.reduce(x)))
        return x + self.merge(ops.cat((self.scale1(x), self.scale2(x), self.scale4(x), around), -1))
