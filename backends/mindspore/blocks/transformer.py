"""The blocks of `wvad_core.blocks.transformer` in MindSpore."""
from __future__ import annotations

from mindspore import Tensor, nn

from .activations import gelu
from .attention import DecayAttention, SoftmaxAttention
from .head_axes import Heads, Merged
from .linear import Linear
from .normalisation import LayerNorm
from .random import Dropout


class GlobalLocalAttention(nn.Cell):
    """Each head's softmax attention and decay attention side by side, merged. x (B, T, C) -> (B, T, C)."""

    def __init__(self, channels: int, heads: int, head_dim: int):
        super().__init__()
        self.apart, self.merged = Heads(4, heads, head_dim), Merged(heads, head_dim)
        self.norm = LayerNorm(channels)
        self.qkvt = Linear(channels, 4 * heads * head_dim, bias=False)
        self.out = Linear(2 * heads * head_dim, channels)
        self.far, self.near = SoftmaxAttention(), DecayAttention()

    def construct(self, x: Tensor) -> Tensor:
        q, k, v, t = self.apart(self.qkvt(self.norm(x)))
        return self.out(self.merged(self.far(q, k, v), self.near(t)))


class GlobalAttention(nn.Cell):
    """Multi-head softmax attention. x (B, T, C) -> (B, T, C)."""

    def __init__(self, channels: int, heads: int, head_dim: int):
        super().__init__()
        self.apart, self.merged = Heads(3, heads, head_dim), Merged(heads, head_dim)
        self.norm = LayerNorm(channels)
        self.qkv = Linear(channels, 3 * heads * head_dim, bias=False)
        self.out = Linear(heads * head_dim, channels)
        self.far = SoftmaxAttention()

    def construct(self, x: Tensor) -> Tensor:
        q, k, v = self.apart(self.qkv(self.norm(x)))
        return self.out(self.merged(self.far(q, k, v)))


class FeedForward(nn.Cell):
    """norm, linear, exact GELU, dropout, linear. x (..., C) -> (..., C)."""

    def __init__(self, channels: int, hidden: int, dropout: float):
        super().__init__()
        self.norm = LayerNorm(channels)
        self.linear1, self.linear2 = Linear(channels, hidden), Linear(hidden, channels)
        self.dropout = Dropout(dropout)

    def construct(self, x: Tensor) -> Tensor:
        return self.linear2(self.dropout(gelu(self.linear1(self.norm(x)))))


class TransformerLayer(nn.Cell):
    """x + attention(norm(x)), then x + feed_forward(norm(x))."""

    def __init__(self, channels: int, heads: int, head_dim: int, hidden: int, dropout: float,
                 local: bool):
        super().__init__()
        self.attention = (GlobalLocalAttention if local else GlobalAttention)(channels, heads, head_dim)
        self.feed_forward = FeedForward(channels, hidden, dropout)
        self.dropout = Dropout(dropout)

    def construct(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.attention(x))
        return x + self.dropout(self.feed_forward(x))


class Transformer(nn.Cell):
    """`depth` layers, global-local or with local=False global alone. x (B, T, C) -> (B, T, C)."""

    def __init__(self, channels: int, depth: int, heads: int, head_dim: int, hidden: int, dropout: float = 0.0,
                 local: bool = True):
        super().__init__()
        self.layers = nn.CellList([TransformerLayer(channels, heads, head_dim, hidden, dropout, local)
                                   for _ in range(depth)])

    def construct(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x
