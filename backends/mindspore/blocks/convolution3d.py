"""The blocks of `wvad_core.blocks.convolution3d` in MindSpore. Clips are (N, F, H, W, C), channels last, inside a network.

On the CPU, what each output sees is laid out by NumPy, and multiplied by MindSpore, over three frames by minimal filtering
(`minimal_filtering`): its own convolution of clips is reference code there with AVX-512, and its pools are slow everywhere
(`wvad_mindspore.routes`). A device takes MindSpore's own convolutions and pools. Extractors are frozen: these layers
evaluate, and have no gradients on the CPU.
"""
from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np

import mindspore as ms
from mindspore import Parameter, Tensor, mint, nn, ops
from wvad_core.blocks import convolution3d as specification, normalisation
from wvad_core.blocks.convolution3d import NONE, Padding, Sizes, same_padding
from wvad_core.blocks.normalisation import BATCH_NORM_EPS

from .. import routes
from . import minimal_filtering
from .parameters import zeros


class Conv3d(nn.Cell):
    """Convolution of clips, (N, F, H, W, I) -> (N, F', H', W', O). Weight (O, I, KF, KH, KW) as PyTorch's.

    padding: (before, after) of each axis; None for TensorFlow's "same", whatever the size.
    """

    def __init__(self, inputs: int, outputs: int, kernel: Sizes, stride: Sizes = (1, 1, 1), padding: Padding | None = NONE,
                 bias: bool = False):
        super().__init__()
        self.weight = zeros(outputs, inputs, *kernel)
        self.bias = zeros(outputs) if bias else None
        self.kernel, self.stride, self.around = kernel, stride, padding
        self.native, _ = routes.native(routes.taken().clip)
        self.product = ops.MatMul(transpose_b=True)

    def construct(self, x: Tensor, relu: bool = False) -> Tensor:
        return self.convolved(x, self.weight, self.bias, relu)

    def normalised(self, x: Tensor, norm: BatchNorm3d, relu: bool = False) -> Tensor:
        """norm(self(x)), folded into one convolution, of the weights as they are at this moment; with a ReLU behind it, or not."""
        return self.convolved(x, *folded(self, norm), relu)

    def convolved(self, x: Tensor, weight: Tensor, bias: Tensor | None, relu: bool = False) -> Tensor:
        """This convolution with other weights."""
        around = self.around or same_padding(x.shape[1:4], self.kernel, self.stride)
        if self.native:
            x = ops.pad(x.transpose(0, 4, 1, 2, 3), [size for pair in reversed(around) for size in pair])
            y = ops.conv3d(x, weight, bias, self.stride).transpose(0, 2, 3, 4, 1)
            return ops.relu(y) if relu else y
        return self.by_products(specification.padded(x.asnumpy(), around), weight.asnumpy(),
                                None if bias is None else bias.asnumpy(), relu)

    def by_products(self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, relu: bool) -> Tensor:
        """Products of what outputs see, as in the specification."""
        if self.kernel == self.stride == (1, 1, 1):
            y = self.product(Tensor.from_numpy(x.reshape(-1, x.shape[-1])), Tensor.from_numpy(specification.taps_of(weight)))
            y = y if bias is None else ops.bias_add(y, Tensor.from_numpy(bias))
            return (ops.relu(y) if relu else y).reshape(*x.shape[:4], len(weight))
        shape = len(x), *specification.outputs(x.shape[1:4], self.kernel, self.stride), len(weight)
        y = mint.empty(shape, dtype=ms.float32, device="CPU").asnumpy()  # memory that MindSpore has at hand
        zero = np.zeros(len(weight), np.float32)  # of each output: with a single one NumPy takes three times as long
        parts = minimal_filtering.parts if minimal_filtering.of_clips(weight, self.stride, shape[1]) else self.parts
        for target, part in parts(x, weight, self.stride, y):
            np.add(part, zero if bias is None else bias, out=target)
            if relu:
                np.maximum(target, zero, out=target)
        return Tensor.from_numpy(y)

    def parts(self, x: np.ndarray, weight: np.ndarray, stride: Sizes, y: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The part of y that some outputs are, and these outputs, one after another."""
        taps = cache(lambda turn: Tensor.from_numpy(specification.taps_of(weight, turn)))
        for block, rows, turn in specification.rows_of(x, self.kernel, stride):
            target = y[block].reshape(-1, len(weight))  # a view: they follow one another
            yield target, self.product(Tensor.from_numpy(rows), taps(turn)).asnumpy()


class BatchNorm3d(nn.Cell):
    """x (N, F, H, W, C) by the running statistics of its channels; names and counter as in PyTorch."""

    def __init__(self, channels: int, eps: float = BATCH_NORM_EPS):
        super().__init__()
        self.weight, self.bias, self.eps = Parameter(Tensor(np.ones(channels, np.float32))), zeros(channels), eps
        self.running_mean = Parameter(Tensor(np.zeros(channels, np.float32)), requires_grad=False)
        self.running_var = Parameter(Tensor(np.ones(channels, np.float32)), requires_grad=False)
        self.num_batches_tracked = Parameter(Tensor(np.array(0, np.int64)), requires_grad=False)

    def construct(self, x: Tensor) -> Tensor:
        scale = self.weight / ops.sqrt(self.running_var + self.eps)
        return x * scale + (self.bias - self.running_mean * scale)


def folded(convolution: Conv3d, norm: BatchNorm3d) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution and the BatchNorm behind it, as one convolution; by NumPy, since MindSpore's products with
    a row are slow."""
    tensors = [{name: p.asnumpy() for name, p in cell.parameters_and_names()} for cell in (convolution, norm)]
    weight, bias = normalisation.folded(*tensors, norm.eps, np.dtype(np.float32))
    return Tensor.from_numpy(weight), Tensor.from_numpy(bias)


def max_pool3d(x: Tensor, kernel: Sizes, stride: Sizes, padding: Padding | None = NONE) -> Tensor:
    """The largest value of each window of x, which is not negative where it is padded; padding None: "same"."""
    around = padding or same_padding(x.shape[1:4], kernel, stride)
    if routes.native(routes.taken().clip)[0]:
        x = ops.pad(x.transpose(0, 4, 1, 2, 3), [size for pair in reversed(around) for size in pair])
        return ops.max_pool3d(x, kernel, stride).transpose(0, 2, 3, 4, 1)
    return Tensor.from_numpy(specification.max_pool3d(x.asnumpy(), kernel, stride, around))


def mean_pool3d(x: Tensor, kernel: Sizes) -> Tensor:
    """The mean of every window, stride 1 and without padding."""
    if routes.native(routes.taken().clip)[0]:
        return ops.avg_pool3d(x.transpose(0, 4, 1, 2, 3), kernel, 1).transpose(0, 2, 3, 4, 1)
    return Tensor.from_numpy(np.ascontiguousarray(specification.mean_pool3d(x.asnumpy(), kernel), np.float32))


def channels_last(x: Tensor) -> Tensor:
    """Clips (N, C, F, H, W) as the layers take them, (N, F, H, W, C)."""
    return x.transpose(0, 2, 3, 4, 1)
