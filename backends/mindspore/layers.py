"""The layers of `wvad_core.layers` in MindSpore. Sequences are channel-last, (B, T, C); tensors have the same names.

MindSpore's CPU kernels for convolutions of kernel > 1 are reference code, hundreds of times slower than its matrix
product, so on the CPU a convolution gathers its windows and multiplies. Ascend and GPU take the native kernel.
"""
from __future__ import annotations

import math
from collections.abc import Callable

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from wvad_core.layers import BATCH_NORM_EPS, BATCH_NORM_MOMENTUM, LAYER_NORM_EPS


def _zeros(*shape: int) -> Parameter:
    """A parameter to be filled by `load_weights`, or by the caller."""
    return Parameter(Tensor(np.zeros(shape, np.float32)))


def in_blocks(function: Callable[[Tensor], Tensor], x: Tensor, axis: int, size: int) -> Tensor:
    """function(x), of `size` entries of an axis at a time, which it must treat apart."""
    count = x.shape[axis]
    if size >= count:
        return function(x)
    parts = []
    for start in range(0, count, size):
        part = x[(slice(None),) * (axis % x.ndim) + (slice(start, start + size),)]
        parts.append(function(part))
    return ops.cat(parts, axis)


class Linear(nn.Cell):
    """x (..., I) -> (..., O). On the CPU a product and a BiasAdd are twice as fast as `ops.dense`."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True):
        super().__init__()
        self.weight = _zeros(outputs, inputs)
        self.bias = _zeros(outputs) if bias else None
        self.product, self.add = ops.MatMul(transpose_b=True), ops.BiasAdd()

    def construct(self, x: Tensor) -> Tensor:
        y = self.product(x.reshape(-1, x.shape[-1]), self.weight)
        if self.bias is not None:
            y = self.add(y, self.bias)
        return y.reshape(x.shape[:-1] + (-1,))


class Conv1d(nn.Cell):
    """Convolution over time that keeps the length: x (B, T, I) -> (B, T, O). Weight (O, I, K) as PyTorch's."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int = 1, bias: bool = True):
        super().__init__()
        self.weight = _zeros(outputs, inputs, kernel)
        self.bias = _zeros(outputs) if bias else None
        self.kernel, self.dilation, self.pad = kernel, dilation, dilation * (kernel // 2)
        self.native = ms.get_context("device_target") != "CPU"
        self.product, self.add = ops.MatMul(transpose_b=True), ops.BiasAdd()

    def construct(self, x: Tensor) -> Tensor:
        if self.native:
            y = ops.conv1d(x.swapaxes(1, 2), self.weight, self.bias, pad_mode="pad", padding=self.pad,
                           dilation=self.dilation)
            return y.swapaxes(1, 2)
        batch, steps, inputs = x.shape
        windows = x
        if self.kernel > 1:
            ends = ops.zeros((batch, self.pad, inputs), x.dtype)
            places = _conv_places(steps, self.kernel, self.dilation)
            windows = ops.gather(ops.cat((ends, x, ends), 1), places, 1)  # (B, T * K, I)
        weight = self.weight.transpose(0, 2, 1).reshape(self.weight.shape[0], -1)
        y = self.product(windows.reshape(batch * steps, -1), weight)
        if self.bias is not None:
            y = self.add(y, self.bias)
        return y.reshape(batch, steps, -1)


@ms.constexpr
def _conv_places(steps: int, kernel: int, dilation: int) -> Tensor:
    """Where in the padded sequence the windows lie, (T * K,)."""
    return Tensor((np.arange(steps)[:, None] + dilation * np.arange(kernel)).reshape(-1).astype(np.int32))


class Conv2d(nn.Cell):
    """Convolution of grids, with `padding` rows and columns of zeros around: x (B, R, C, I) -> (B, R', C', O)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, padding: int = 0):
        super().__init__()
        self.weight, self.bias = _zeros(outputs, inputs, kernel, kernel), _zeros(outputs)
        self.kernel, self.pad = kernel, padding
        self.native = ms.get_context("device_target") != "CPU"
        self.product, self.add = ops.MatMul(transpose_b=True), ops.BiasAdd()

    def construct(self, x: Tensor) -> Tensor:
        if self.native:
            y = ops.conv2d(x.transpose(0, 3, 1, 2), self.weight, self.bias, pad_mode="pad", padding=self.pad)
            return y.transpose(0, 2, 3, 1)
        batch, rows, columns, inputs = x.shape
        cells = ops.cat((x.reshape(batch, rows * columns, inputs), ops.zeros((batch, 1, inputs), x.dtype)), 1)
        windows = ops.gather(cells, _grid_places(rows, columns, self.kernel, self.pad), 1)  # (B, R' * C' * K * K, I)
        weight = self.weight.transpose(0, 2, 3, 1).reshape(self.weight.shape[0], -1)
        y = self.product(windows.reshape(-1, weight.shape[1]), weight)
        return self.add(y, self.bias).reshape(batch, rows + 2 * self.pad - self.kernel + 1, -1, weight.shape[0])


@ms.constexpr
def _grid_places(rows: int, columns: int, kernel: int, pad: int) -> Tensor:
    """Where among the R * C cells and one of zeros behind them the windows lie, (R' * C' * K * K,)."""
    places = np.pad(np.arange(rows * columns).reshape(rows, columns), pad, constant_values=rows * columns)
    windows = np.lib.stride_tricks.sliding_window_view(places, (kernel, kernel))
    return Tensor(windows.reshape(-1).astype(np.int32))


class BatchNorm(nn.Cell):
    """x (..., C), statistics per channel over all other axes; names and counter as in PyTorch."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight, self.bias = Parameter(Tensor(np.ones(channels, np.float32))), _zeros(channels)
        self.running_mean = Parameter(Tensor(np.zeros(channels, np.float32)), requires_grad=False)
        self.running_var = Parameter(Tensor(np.ones(channels, np.float32)), requires_grad=False)
        self.num_batches_tracked = Parameter(Tensor(np.array(0, np.int64)), requires_grad=False)

    def construct(self, x: Tensor) -> Tensor:
        if not self.training:
            scale = self.weight / ops.sqrt(self.running_var + BATCH_NORM_EPS)
            return (x - self.running_mean) * scale + self.bias
        flat = x.reshape(-1, x.shape[-1])
        mean = flat.mean(0)
        centred = flat - mean
        variance = (centred * centred).mean(0)
        self.record(mean, variance, flat.shape[0])
        return (centred / ops.sqrt(variance + BATCH_NORM_EPS) * self.weight + self.bias).reshape(x.shape)

    def record(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Move the running statistics towards the batch's, the variance unbiased."""
        unbiased = variance * (count / max(count - 1, 1))
        ops.assign(self.running_mean, self.running_mean + BATCH_NORM_MOMENTUM * (mean - self.running_mean))
        ops.assign(self.running_var, self.running_var + BATCH_NORM_MOMENTUM * (unbiased - self.running_var))
        ops.assign(self.num_batches_tracked, self.num_batches_tracked + 1)


class LayerNorm(nn.Cell):
    def __init__(self, channels: int):
        super().__init__()
        self.weight, self.bias = Parameter(Tensor(np.ones(channels, np.float32))), _zeros(channels)
        self.normalise = ops.LayerNorm(-1, -1, LAYER_NORM_EPS)

    def construct(self, x: Tensor) -> Tensor:
        return self.normalise(x, self.weight, self.bias)[0]


def gelu(x: Tensor) -> Tensor:
    """x * Phi(x), exact."""
    return x * ((ops.erf(x * math.sqrt(0.5)) + 1) * 0.5)


class Noise(nn.Cell):
    """Standard normal numbers of x's shape; zeros in evaluation mode."""

    def construct(self, x: Tensor) -> Tensor:
        return ops.randn(x.shape, dtype=x.dtype) if self.training else ops.zeros_like(x)


class ScoreHead(nn.Cell):
    """linear, ReLU, dropout, linear, ReLU, dropout, linear, sigmoid. x (..., C) -> (...)."""

    def __init__(self, inputs: int, hidden: tuple[int, int], dropout: float):
        super().__init__()
        self.fc1, self.fc2, self.fc3 = Linear(inputs, hidden[0]), Linear(hidden[0], hidden[1]), Linear(hidden[1], 1)
        self.dropout = nn.Dropout(p=dropout)

    def construct(self, x: Tensor) -> Tensor:
        x = self.dropout(ops.relu(self.fc1(x)))
        x = self.dropout(ops.relu(self.fc2(x)))
        return ops.sigmoid(self.fc3(x)).squeeze(-1)
