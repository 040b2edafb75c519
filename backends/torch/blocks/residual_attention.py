"""The blocks of `wvad_core.blocks.residual_attention` in PyTorch."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from wvad_core.blocks.residual_attention import MLP

from .activations import quick_gelu
from .attention import softmax_attention
from .linear import Linear, linear
from .normalisation import LayerNorm


class PackedAttention(nn.Module):
    """Multi-head softmax attention, q, k and v packed. (B, T, C) -> (B, T, C)."""

    def __init__(self, width: int, heads: int, causal: bool = False):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        qkv = linear(x, self.in_proj_weight, self.in_proj_bias).view(batch, tokens, 3, self.heads, -1)
        together = softmax_attention(*qkv.permute(2, 0, 3, 1, 4), self.causal)
        return self.out_proj(together.transpose(1, 2).reshape(batch, tokens, -1))


class FeedForward(nn.Module):
    """Two layers with the quick GELU between them. (..., C) -> (..., C)."""

    def __init__(self, width: int):
        super().__init__()
        self.c_fc, self.c_proj = Linear(width, MLP * width), Linear(MLP * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(quick_gelu(self.c_fc(x)))


class ResidualBlock(nn.Module):
    """x + attention(ln_1(x)), then x + mlp(ln_2(x)). (B, T, C) -> (B, T, C)."""

    def __init__(self, width: int, heads: int, causal: bool = False):
        super().__init__()
        self.ln_1, self.attn = LayerNorm(width), PackedAttention(width, heads, causal)
        self.ln_2, self.mlp = LayerNorm(width), FeedForward(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class ResidualBlocks(nn.Module):
    """The blocks one after another."""

    def __init__(self, width: int, layers: int, heads: int, causal: bool = False):
        super().__init__()
        self.resblocks = nn.Sequential(*(ResidualBlock(width, heads, causal) for _ in range(layers)))

    def forward(self, x: Tensor) -> Tensor:
        return self.resblocks(x)
