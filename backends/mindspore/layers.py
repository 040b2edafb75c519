"""The layers of `wvad_core.layers` in MindSpore. Sequences are channel-last, (B, T, C); tensors have the same names.

A convolution gathers its windows and multiplies, or takes MindSpore's own kernel, as `routes` says of the processor or device.
"""
from __future__ import annotations

import math
from collections.abc import Callable

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore.ops import functional as F

from wvad_core.layers import BATCH_NORM_EPS, BATCH_NORM_MOMENTUM, LAYER_NORM_EPS

from . import parallel, routes, winograd


def _zeros(*shape: int) -> Parameter:
    """A parameter to be filled by `load_weights`, or by the caller."""
    return Parameter(Tensor(np.zeros(shape, np.float32)))


def in_blocks(function: Callable[[Tensor], Tensor], x: Tensor, axis: int, size: int) -> Tensor:
    """function(x), of `size` entries of an axis at a time, which it must treat apart; whole in a graph for any length."""
    count = x.shape[axis]
    if not F.isconstant(count) or size >= count:
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
        self.native, self.native_in_training = routes.native(routes.taken().sequence)
        self.product, self.add = ops.MatMul(transpose_b=True), ops.BiasAdd()

    def construct(self, x: Tensor) -> Tensor:
        if self.native_in_training if self.training else self.native:
            y = ops.conv1d(x.swapaxes(1, 2), self.weight, None, pad_mode="pad", padding=self.pad, dilation=self.dilation)
            y = y.swapaxes(1, 2).reshape(-1, self.weight.shape[0])  # its own bias has no gradient for a single snippet
        elif self.kernel == 1:
            y = self.product(x.reshape(-1, x.shape[2]), self.weight.reshape(self.weight.shape[:2]))
        elif not self.training and winograd.pays(x, self.weight, self.dilation):
            y = winograd.conv1d(x, self.weight, self.dilation)
        else:
            y = self.product(self.windows(x), self.weight.transpose(0, 2, 1).reshape(self.weight.shape[0], -1))
        if self.bias is not None:
            y = self.add(y, self.bias)
        return y.reshape(x.shape[:2] + (-1,))

    def windows(self, x: Tensor) -> Tensor:
        """What each output sees of x, (B * T, K * I)."""
        batch, steps, inputs = x.shape
        ends = ops.zeros((batch, self.pad, inputs), x.dtype)
        places = _conv_places(steps, self.kernel, self.dilation)
        return ops.gather(ops.cat((ends, x, ends), 1), places, 1).reshape(batch * steps, -1)


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
        self.native, self.native_in_training = routes.native(routes.taken().grid)
        self.product, self.add = ops.MatMul(transpose_b=True), ops.BiasAdd()

    def construct(self, x: Tensor) -> Tensor:
        if self.native_in_training if self.training else self.native:
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

    synchronised = True  # in training on several processes: the statistics of all of them, not of each

    def __init__(self, channels: int):
        super().__init__()
        self.weight, self.bias = Parameter(Tensor(np.ones(channels, np.float32))), _zeros(channels)
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
        self.weight, self.bias = Parameter(Tensor(np.ones(channels, np.float32))), _zeros(channels)
        self.normalise = ops.LayerNorm(-1, -1, LAYER_NORM_EPS)

    def construct(self, x: Tensor) -> Tensor:
        return self.normalise(x, self.weight, self.bias)[0]


def gelu(x: Tensor) -> Tensor:
    """x * Phi(x), exact."""
    return x * ((ops.erf(x * math.sqrt(0.5)) + 1) * 0.5)


class Random(nn.Cell):
    """Base of the random layers, which do nothing in evaluation mode.

    On the CPU, NumPy draws the numbers of a layer that is called: MindSpore's kernels there share theirs out among
    threads, in another order each time. A compiled graph, which is made of `construct`, and other devices have the kernels.
    """

    def __init__(self):
        super().__init__()
        self.on_host = ms.get_context("device_target") == "CPU"
        self.rng = np.random.default_rng()

    def reseed(self, seed: int, number: int) -> None:
        """Begin anew as the number-th random layer of a network with a seed."""
        self.rng = np.random.default_rng([seed, number])

    def __call__(self, x: Tensor) -> Tensor:
        if self.training and self.on_host and ms.get_context("mode") == ms.PYNATIVE_MODE:
            return self.on_numbers(x)
        return super().__call__(x)

    def on_numbers(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class Dropout(Random):
    """x with each entry zero by probability p, the others divided by 1 - p."""

    def __init__(self, p: float):
        super().__init__()
        self.p, self.kernel = p, ops.Dropout(1 - p)

    def reseed(self, seed: int, number: int) -> None:
        super().reseed(seed, number)
        self.kernel = ops.Dropout(1 - self.p, seed, number + 1)  # two zeros would mean any seed

    def on_numbers(self, x: Tensor) -> Tensor:
        if not self.p:
            return x
        kept = self.rng.random(x.shape, np.float32) >= self.p
        return x * Tensor(kept * np.float32(1 / (1 - self.p)))

    def construct(self, x: Tensor) -> Tensor:
        return self.kernel(x)[0] if self.training and self.p else x


class Noise(Random):
    """Standard normal numbers of x's shape; zeros in evaluation mode."""

    def __init__(self):
        super().__init__()
        self.kernel = ops.StandardNormal()

    def reseed(self, seed: int, number: int) -> None:
        super().reseed(seed, number)
        self.kernel = ops.StandardNormal(seed, number + 1)  # two zeros would mean any seed

    def on_numbers(self, x: Tensor) -> Tensor:
        return Tensor(self.rng.standard_normal(x.shape, np.float32))

    def construct(self, x: Tensor) -> Tensor:
        return self.kernel(x.shape).astype(x.dtype) if self.training else ops.zeros_like(x)


class ScoreHead(nn.Cell):
    """linear, ReLU, dropout, linear, ReLU, dropout, linear, sigmoid. x (..., C) -> (...)."""

    def __init__(self, inputs: int, hidden: tuple[int, int], dropout: float):
        super().__init__()
        self.fc1, self.fc2, self.fc3 = Linear(inputs, hidden[0]), Linear(hidden[0], hidden[1]), Linear(hidden[1], 1)
        self.dropout = Dropout(dropout)

    def construct(self, x: Tensor) -> Tensor:
        x = self.dropout(ops.relu(self.fc1(x)))
        x = self.dropout(ops.relu(self.fc2(x)))
        return ops.sigmoid(self.fc3(x)).squeeze(-1)
