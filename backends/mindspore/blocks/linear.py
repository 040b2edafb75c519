"""The blocks of `wvad_core.blocks.linear` in MindSpore."""
from __future__ import annotations

from mindspore import Tensor, nn, ops

from .parameters import zeros


class Linear(nn.Cell):
    """x (..., I) -> (..., O). On the CPU a product and a BiasAdd are twice as fast as `ops.dense`."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True):
        super().__init__()
        self.weight = zeros(outputs, inputs)
        self.bias = zeros(outputs) if bias else None
        self.product, self.add = ops.MatMul(transpose_b=True), ops.BiasAdd()

    def construct(self, x: Tensor) -> Tensor:
        y = self.product(x.reshape(-1, x.shape[-1]), self.weight)
        if self.bias is not None:
            y = self.add(y, self.bias)
        return y.reshape(x.shape[:-1] + (-1,))
