"""The blocks of `wvad_core.blocks.linear` in PyTorch."""
from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from .. import kernels
from ..kernels import eager_cpu


class Linear(nn.Linear):
    """x (..., I) -> (..., O)."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + b. x (..., I), weight (O, I) -> (..., O)."""
    return kernels.product(x, weight, bias) if eager_cpu(x) else F.linear(x, weight, bias)
