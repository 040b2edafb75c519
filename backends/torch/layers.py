"""The layers of `wvad_core.layers` in PyTorch. Sequences are channel-last, (B, T, C); tensors have the same names."""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wvad_core.layers import BATCH_NORM_MOMENTUM, LAYER_NORM_EPS

from . import kernels, parallel, winograd


def eager_cpu(x: Tensor) -> bool:
    """Whether oneDNN computes: not on CUDA, in float64, or in a graph that PyTorch compiles or exports."""
    return x.device.type == "cpu" and x.dtype != torch.float64 and not torch.compiler.is_compiling()


def in_blocks(function: Callable[[Tensor], Tensor], x: Tensor, axis: int, size: int) -> Tensor:
    """function(x), of `size` entries of an axis at a time, which it must treat apart; whole where PyTorch compiles."""
    if torch.compiler.is_compiling():
        return function(x)
    return torch.cat([function(part) for part in x.split(size, axis)], axis)


class Linear(nn.Linear):
    """x (..., I) -> (..., O)."""

    def forward(self, x: Tensor) -> Tensor:
        return kernels.product(x, self.weight, self.bias) if eager_cpu(x) else F.linear(x, self.weight, self.bias)


class Conv1d(nn.Conv1d):
    """Convolution over time that keeps the length: x (B, T, I) -> (B, T, O)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int = 1, bias: bool = True):
        super().__init__(inputs, outputs, kernel, padding=dilation * (kernel // 2), dilation=dilation, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        dilation = self.dilation[0]
        if eager_cpu(x) and winograd.pays(x, self.weight, dilation):
            if torch.is_grad_enabled():
                return winograd.Convolution.apply(x, self.weight, self.bias, dilation)
            return winograd.conv1d(x, winograd.transformed(self.weight), self.bias, dilation)
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


class Conv2d(nn.Conv2d):
    """Convolution of grids, with `padding` rows and columns of zeros around: x (B, R, C, I) -> (B, R', C', O)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, padding: int = 0):
        super().__init__(inputs, outputs, kernel, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        y = F.conv2d(x.permute(0, 3, 1, 2), self.weight, self.bias, padding=self.padding)
        return y.permute(0, 2, 3, 1)


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


class Dropout(nn.Dropout):
    """Zeros a share p of x in training and divides the rest by 1 - p.

    On the CPU a random number of 64 bits decides on four entries, since drawing is what takes time; p is rounded to 16 bits.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and self.p and eager_cpu(x)):
            return super().forward(x)
        kept, count = round((1 - self.p) * 2**16), x.numel()
        words = torch.empty(-(-count // 4), dtype=torch.int64).random_(-2**63, None)
        bits = words.view(torch.int16)[:count].view(x.shape)
        return x * (bits < kept - 2**15).to(x.dtype).mul_(2**16 / kept)


class Noise(nn.Module):
    """Standard normal numbers of x's shape; zeros in evaluation mode."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.randn_like(x) if self.training else torch.zeros_like(x)


class ScoreHead(nn.Module):
    """linear, ReLU, dropout, linear, ReLU, dropout, linear, sigmoid. x (..., C) -> (...)."""

    def __init__(self, inputs: int, hidden: tuple[int, int], dropout: float):
        super().__init__()
        self.fc1, self.fc2, self.fc3 = Linear(inputs, hidden[0]), Linear(*hidden), Linear(hidden[1], 1)
        self.dropout = Dropout(p=dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.dropout(F.relu(self.fc1(x)))
        x = self.dropout(F.relu(self.fc2(x)))
        return torch.sigmoid(self.fc3(x)).squeeze(-1)
