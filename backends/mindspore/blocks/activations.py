"""The blocks of `wvad_core.blocks.activations` in MindSpore."""
from __future__ import annotations

import math

from mindspore import Tensor, ops
from wvad_core.blocks.activations import QUICK_GELU


def gelu(x: Tensor) -> Tensor:
    """x * Phi(x), exact."""
    return x * ((ops.erf(x * math.sqrt(0.5)) + 1) * 0.5)


def quick_gelu(x: Tensor) -> Tensor:
    """x * sigmoid(1.702 x)."""
    return x * ops.sigmoid(QUICK_GELU * x)
