"""The blocks of `wvad_core.blocks.crops` in PyTorch."""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def in_blocks(function: Callable[[Tensor], Tensor], x: Tensor, axis: int, size: int) -> Tensor:
    """function(x), of `size` entries of an axis at a time, which it must treat apart; whole where PyTorch compiles."""
    if torch.compiler.is_compiling():
        return function(x)
    return torch.cat([function(part) for part in x.split(size, axis)], axis)
