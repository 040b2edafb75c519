"""The blocks of `wvad_core.blocks.activations` in MindSpore."""
from __future__ import annotations

import math

from mindspore import Tensor, ops


def gelu(x: Tensor) -> Tensor:
    """x * Phi(x), exact."""
    return x * ((ops.erf(x * math.sqrt(0.5)) + 1) * 0.5)
