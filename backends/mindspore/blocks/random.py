"""The blocks of `wvad_core.blocks.random` in MindSpore."""
from __future__ import annotations

import numpy as np

import mindspore as ms
from mindspore import Tensor, nn, ops


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
