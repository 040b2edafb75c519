"""The blocks of `wvad_core.blocks.crops` in MindSpore."""
from __future__ import annotations

from collections.abc import Callable

from mindspore import Tensor, ops
from mindspore.ops import functional as F


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
