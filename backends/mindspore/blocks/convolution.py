"""The blocks of `wvad_core.blocks.convolution` in MindSpore."""
from __future__ import annotations

import numpy as np

import mindspore as ms
from mindspore import Tensor, nn, ops

from .. import routes
from . import minimal_filtering
from .linear import linear
from .parameters import zeros


class Conv1d(nn.Cell):
    """Convolution over time that keeps the length: x (B, T, I) -> (B, T, O). Weight (O, I, K) as PyTorch's."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int = 1, bias: bool = True):
        super().__init__()
        self.weight = zeros(outputs, inputs, kernel)
        self.bias = zeros(outputs) if bias else None
        self.kernel, self.dilation, self.pad = kernel, dilation, dilation * (kernel // 2)
        self.native, self.native_in_training = routes.native(routes.taken().sequence)
        self.product, self.add = ops.MatMul(transpose_b=True), ops.BiasAdd()

    def construct(self, x: Tensor) -> Tensor:
        if self.native_in_training if self.training else self.native:
            y = ops.conv1d(x.swapaxes(1, 2), self.weight, None, pad_mode="pad", padding=self.pad, dilation=self.dilation)
            y = y.swapaxes(1, 2).reshape(-1, self.weight.shape[0])  # its own bias has no gradient for a single snippet
        elif self.kernel == 1:
            y = self.product(x.reshape(-1, x.shape[2]), self.weight.reshape(self.weight.shape[:2]))
        elif not self.training and minimal_filtering.pays(x, self.weight, self.dilation):
            y = minimal_filtering.conv1d(x, self.weight, self.dilation)
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


class CausalConv1d(nn.Cell):
    """Convolution over time that sees no later snippet: x (B, T, I) -> (B, T, O).

    A product that gives each snippet's share of the K outputs that see it, and their sum: for few outputs.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int):
        super().__init__()
        self.weight, self.bias = zeros(outputs, inputs, kernel), zeros(outputs)

    def construct(self, x: Tensor) -> Tensor:
        batch, steps, _ = x.shape
        outputs, inputs, taps = self.weight.shape
        shares = linear(x, self.weight.transpose(2, 0, 1).reshape(taps * outputs, inputs))
        shares = ops.cat((ops.zeros((batch, taps - 1, taps * outputs), x.dtype), shares), 1) if taps > 1 else shares
        y = self.bias
        for k in range(taps):
            y = y + shares[:, k:k + steps, k * outputs:(k + 1) * outputs]
        return y


class Conv2d(nn.Cell):
    """Convolution of grids, with `padding` rows and columns of zeros around: x (B, R, C, I) -> (B, R', C', O)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, padding: int = 0):
        super().__init__()
        self.weight, self.bias = zeros(outputs, inputs, kernel, kernel), zeros(outputs)
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
