"""The blocks of `wvad_core.blocks.random` in PyTorch."""
from __future__ import annotations

import torch
from torch import Tensor, nn

from ..kernels import eager_cpu


class Dropout(nn.Dropout):
    """Zeros a share p of x in training and divides the rest by 1 - p.

    On the CPU a random number of 64 bits decides on four entries, since drawing is what takes time; p is rounded to 16 bits.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and self.p and eager_cpu(x)):
            return super().forward(x)
        kept, count = round((1 - self.p) * 2**16), x.numel()
        words = torch.empty(-(-count // 4), dtype=torch.int64).random_(-2**63, None)
        bits = words.view(torch.int16)[:count].view(x.shape)
        return x * (bits < kept - 2**15).to(x.dtype).mul_(2**16 / kept)


class Noise(nn.Module):
    """Standard normal numbers of x's shape; zeros in evaluation mode."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.randn_like(x) if self.training else torch.zeros_like(x)
