"""The layers of `wvad_core.layers` in PyTorch. Sequences are channel-last, (B, T, C); tensors have the same names.

On the CPU, products run as convolutions of kernel 1: oneDNN, which computes those, is up to half as fast again as the
BLAS behind `torch.nn.functional.linear` on processors that are not Intel's, and equal on those that are.
"""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wvad_core.layers import LAYER_NORM_EPS


def eager_cpu(x: Tensor) -> bool:
    """Whether oneDNN computes: not on CUDA, in float64, or in a graph that PyTorch compiles or exports."""
    return x.device.type == "cpu" and x.dtype != torch.float64 and not torch.compiler.is_compiling()


class Linear(nn.Linear):
    """x (..., I) -> (..., O)."""

    def forward(self, x: Tensor) -> Tensor:
        if not eager_cpu(x):
            return F.linear(x, self.weight, self.bias)
        rows = x.reshape(1, -1, 1, x.shape[-1]).permute(0, 3, 1, 2)
        y = F.conv2d(rows, self.weight[:, :, None, None], self.bias)
        return y.permute(0, 2, 3, 1).reshape(*x.shape[:-1], -1)


class Conv1d(nn.Conv1d):
    """Convolution over time that keeps the length: x (B, T, I) -> (B, T, O)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int = 1, bias: bool = True):
        super().__init__(inputs, outputs, kernel, padding=dilation * (kernel // 2), dilation=dilation, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return over_time(x, self.weight, self.bias, self.dilation[0])


def over_time(x: Tensor, weight: Tensor, bias: Tensor | None = None, dilation: int = 1, groups: int = 1) -> Tensor:
    """A convolution of (B, T, I); on the CPU as one of channels-last images of width 1, which needs no transposed copy."""
    padding = dilation * (weight.shape[-1] // 2)
    if not eager_cpu(x):
        return F.conv1d(x.transpose(1, 2), weight, bias, 1, padding, dilation, groups).transpose(1, 2)
    image = x.reshape(len(x), -1, 1, x.shape[-1]).permute(0, 3, 1, 2)
    y = F.conv2d(image, weight[..., None], bias, 1, (padding, 0), (dilation, 1), groups)
    return y.squeeze(-1).transpose(1, 2)


class BatchNorm(nn.BatchNorm1d):
    """x (B, T, C), statistics per channel over B and T."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.reshape(-1, x.shape[-1])).view(x.shape)


class LayerNorm(nn.LayerNorm):
    def __init__(self, channels: int):
        super().__init__(channels, eps=LAYER_NORM_EPS)


class Noise(nn.Module):
    """Standard normal numbers of x's shape; zeros in evaluation mode."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.randn_like(x) if self.training else torch.zeros_like(x)


class ScoreHead(nn.Module):
    """linear, ReLU, dropout, linear, ReLU, dropout, linear, sigmoid. x (..., C) -> (...)."""

    def __init__(self, inputs: int, hidden: tuple[int, int], dropout: float):
        super().__init__()
        self.fc1, self.fc2, self.fc3 = Linear(inputs, hidden[0]), Linear(*hidden), Linear(hidden[1], 1)
        self.dropout = nn.Dropout(p=dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.dropout(F.relu(self.fc1(x)))
        x = self.dropout(F.relu(self.fc2(x)))
        return torch.sigmoid(self.fc3(x)).squeeze(-1)
