"""The blocks of `wvad_core.blocks.residual_attention` in MindSpore."""
from __future__ import annotations

from mindspore import Tensor, nn
from wvad_core.blocks.residual_attention import MLP

from .activations import quick_gelu
from .attention import SoftmaxAttention
from .head_axes import Heads, Merged
from .linear import Linear, linear
from .normalisation import LayerNorm
from .parameters import zeros


class PackedAttention(nn.Cell):
    """Multi-head softmax attention, q, k and v packed. (B, T, C) -> (B, T, C)."""

    def __init__(self, width: int, heads: int, causal: bool = False):
        super().__init__()
        self.in_proj_weight, self.in_proj_bias = zeros(3 * width, width), zeros(3 * width)
        self.apart, self.merged = Heads(3, heads, width // heads), Merged(heads, width // heads)
        self.attention, self.out_proj = SoftmaxAttention(causal), Linear(width, width)

    def construct(self, x: Tensor) -> Tensor:
        q, k, v = self.apart(linear(x, self.in_proj_weight, self.in_proj_bias))
        return self.out_proj(self.merged(self.attention(q, k, v)))


class FeedForward(nn.Cell):
    """Two layers with the quick GELU between them. (..., C) -> (..., C)."""

    def __init__(self, width: int):
        super().__init__()
        self.c_fc, self.c_proj = Linear(width, MLP * width), Linear(MLP * width, width)

    def construct(self, x: Tensor) -> Tensor:
        return self.c_proj(quick_gelu(self.c_fc(x)))


class ResidualBlock(nn.Cell):
    """x + attention(ln_1(x)), then x + mlp(ln_2(x)). (B, T, C) -> (B, T, C)."""

    def __init__(self, width: int, heads: int, causal: bool = False):
        super().__init__()
        self.ln_1, self.attn = LayerNorm(width), PackedAttention(width, heads, causal)
        self.ln_2, self.mlp = LayerNorm(width), FeedForward(width)

    def construct(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class ResidualBlocks(nn.Cell):
    """The blocks one after another."""

    def __init__(self, width: int, layers: int, heads: int, causal: bool = False):
        super().__init__()
        self.resblocks = nn.CellList([ResidualBlock(width, heads, causal) for _ in range(layers)])

    def construct(self, x: Tensor) -> Tensor:
        for block in self.resblocks:
            x = block(x)
        return x
