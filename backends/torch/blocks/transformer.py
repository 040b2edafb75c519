"""The blocks of `wvad_core.blocks.transformer` in PyTorch."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .attention import decay_attention, softmax_attention
from .linear import Linear
from .normalisation import LayerNorm
from .random import Dropout


class GlobalLocalAttention(nn.Module):
    """Each head's softmax attention and decay attention side by side, merged. x (B, T, C) -> (B, T, C)."""

    def __init__(self, channels: int, heads: int, head_dim: int):
        super().__init__()
        self.heads = heads
        self.norm = LayerNorm(channels)
        self.qkvt = Linear(channels, 4 * heads * head_dim, bias=False)
        self.out = Linear(2 * heads * head_dim, channels)

    def forward(self, x: Tensor) -> Tensor:
        batch, steps, _ = x.shape
        q, k, v, t = self.qkvt(self.norm(x)).view(batch, steps, 4, self.heads, -1).unbind(2)  # each (B, T, H, E)
        near = decay_attention(t.reshape(batch, steps, -1)).view(t.shape)
        far = softmax_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)).transpose(1, 2)
        del q, k, v, t  # a long video's are the largest tensors there are
        return self.out(torch.cat([far, near], dim=-1).view(batch, steps, -1))


class GlobalAttention(nn.Module):
    """Multi-head softmax attention. x (B, T, C) -> (B, T, C)."""

    def __init__(self, channels: int, heads: int, head_dim: int):
        super().__init__()
        self.heads = heads
        self.norm = LayerNorm(channels)
        self.qkv = Linear(channels, 3 * heads * head_dim, bias=False)
        self.out = Linear(heads * head_dim, channels)

    def forward(self, x: Tensor) -> Tensor:
        batch, steps, _ = x.shape
        q, k, v = self.qkv(self.norm(x)).view(batch, steps, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        return self.out(softmax_attention(q, k, v).transpose(1, 2).reshape(batch, steps, -1))


class FeedForward(nn.Module):
    """norm, linear, exact GELU, dropout, linear. x (..., C) -> (..., C)."""

    def __init__(self, channels: int, hidden: int, dropout: float):
        super().__init__()
        self.norm = LayerNorm(channels)
        self.linear1, self.linear2 = Linear(channels, hidden), Linear(hidden, channels)
        self.dropout = Dropout(p=dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear2(self.dropout(F.gelu(self.linear1(self.norm(x)))))


class TransformerLayer(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x))."""

    def __init__(self, channels: int, heads: int, head_dim: int, hidden: int, dropout: float,
                 local: bool):
        super().__init__()
        self.attention = (GlobalLocalAttention if local else GlobalAttention)(channels, heads, head_dim)
        self.feed_forward = FeedForward(channels, hidden, dropout)
        self.dropout = Dropout(p=dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.attention(x))
        return x + self.dropout(self.feed_forward(x))


class Transformer(nn.Module):
    """`depth` layers, global-local or with local=False global alone. x (B, T, C) -> (B, T, C)."""

    def __init__(self, channels: int, depth: int, heads: int, head_dim: int, hidden: int, dropout: float = 0.0,
                 local: bool = True):
        super().__init__()
        self.layers = nn.ModuleList(TransformerLayer(channels, heads, head_dim, hidden, dropout, local)
                                    for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x
