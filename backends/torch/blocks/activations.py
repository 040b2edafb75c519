"""The blocks of `wvad_core.blocks.activations` that PyTorch has no function of its own for."""
from __future__ import annotations

import torch
from torch import Tensor
from wvad_core.blocks.activations import QUICK_GELU


def quick_gelu(x: Tensor) -> Tensor:
    """x * sigmoid(1.702 x)."""
    return x * torch.sigmoid(QUICK_GELU * x)
