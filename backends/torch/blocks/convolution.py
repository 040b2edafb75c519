"""The blocks of `wvad_core.blocks.convolution` in PyTorch."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .. import kernels
from ..kernels import eager_cpu
from . import minimal_filtering
from .linear import linear


class Conv1d(nn.Conv1d):
    """Convolution over time that keeps the length: x (B, T, I) -> (B, T, O)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int = 1, bias: bool = True):
        super().__init__(inputs, outputs, kernel, padding=dilation * (kernel // 2), dilation=dilation, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        dilation = self.dilation[0]
        if eager_cpu(x) and minimal_filtering.pays(x, self.weight, dilation):
            if torch.is_grad_enabled():
                return minimal_filtering.Convolution.apply(x, self.weight, self.bias, dilation)
            return minimal_filtering.conv1d(x, minimal_filtering.transformed(self.weight), self.bias, dilation)
        return over_time(x, self.weight, self.bias, dilation)


def over_time(x: Tensor, weight: Tensor, bias: Tensor | None = None, dilation: int = 1, groups: int = 1) -> Tensor:
    """A convolution of (B, T, I) that keeps the length."""
    if not eager_cpu(x):
        reach = dilation * (weight.shape[-1] // 2)
        return F.conv1d(x.transpose(1, 2), weight, bias, 1, reach, dilation, groups).transpose(1, 2)
    if groups > 1:
        return kernels.Image.output(x, weight, bias, dilation, groups)
    if weight.shape[-1] == 1:
        return kernels.product(x, weight[..., 0], bias)
    return kernels.convolution(x, weight, bias, dilation)


class CausalConv1d(nn.Conv1d):
    """Convolution over time that sees no later snippet: x (B, T, I) -> (B, T, O).

    A product that gives each snippet's share of the K outputs that see it, and their sum: for few outputs.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int):
        super().__init__(inputs, outputs, kernel)

    def forward(self, x: Tensor) -> Tensor:
        steps, (taps,) = x.shape[1], self.kernel_size
        shares = linear(x, self.weight.permute(2, 0, 1).flatten(0, 1)).unflatten(-1, (taps, -1))
        shares = F.pad(shares, (0, 0, 0, 0, taps - 1, 0))
        return self.bias + sum(shares[:, k:k + steps, k] for k in range(taps))


class Conv2d(nn.Conv2d):
    """Convolution of grids, with `padding` rows and columns of zeros around: x (B, R, C, I) -> (B, R', C', O)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, padding: int = 0):
        super().__init__(inputs, outputs, kernel, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        y = F.conv2d(x.permute(0, 3, 1, 2), self.weight, self.bias, padding=self.padding)
        return y.permute(0, 2, 3, 1)
