"""CLIP's image tower in MindSpore. The formulas are in `wvad_core.extractors.clip_vit`."""
from __future__ import annotations

from mindspore import Tensor, nn, ops
from wvad_core.extractors.clip_vit import FRAMES, MLP, Config

from ..blocks.activations import quick_gelu
from ..blocks.attention import SoftmaxAttention
from ..blocks.head_axes import Heads, Merged
from ..blocks.linear import Linear, linear
from ..blocks.normalisation import LayerNorm
from ..blocks.parameters import zeros
from ..network import ClipNetwork


class Patches(nn.Cell):
    """The convolution whose kernel is a patch, as a product. (B, C, R, R) -> (B, G * G, width), row by row."""

    def __init__(self, channels: int, width: int, size: int):
        super().__init__()
        self.size, self.weight = size, zeros(width, channels, size, size)

    def construct(self, pictures: Tensor) -> Tensor:
        batch, channels, rows, columns = pictures.shape
        size, width = self.size, self.weight.shape[0]
        cut = pictures.reshape(batch, channels, rows // size, size, columns // size, size).transpose(0, 2, 4, 1, 3, 5)
        return linear(cut.reshape(batch, -1, channels * size * size), self.weight.reshape(width, -1))


class Attention(nn.Cell):
    """Multi-head softmax attention, q, k and v packed. (B, T, C) -> (B, T, C)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.in_proj_weight, self.in_proj_bias = zeros(3 * width, width), zeros(3 * width)
        self.apart, self.merged = Heads(3, heads, width // heads), Merged(heads, width // heads)
        self.attention, self.out_proj = SoftmaxAttention(), Linear(width, width)

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

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.ln_1, self.attn = LayerNorm(width), Attention(width, heads)
        self.ln_2, self.mlp = LayerNorm(width), FeedForward(width)

    def construct(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Cell):
    """The blocks one after another."""

    def __init__(self, width: int, layers: int, heads: int):
        super().__init__()
        self.resblocks = nn.CellList([ResidualBlock(width, heads) for _ in range(layers)])

    def construct(self, x: Tensor) -> Tensor:
        for block in self.resblocks:
            x = block(x)
        return x


class Network(ClipNetwork):
    def build_layers(self, config: Config) -> None:
        width = config.width
        self.class_embedding = zeros(width)
        self.positional_embedding = zeros(config.grid**2 + 1, width)
        self.conv1 = Patches(config.in_channels, width, config.patch)
        self.ln_pre, self.ln_post = LayerNorm(width), LayerNorm(width)
        self.transformer = Transformer(width, config.layers, config.heads)
        self.proj, self.product, self.add = zeros(width, config.feature_dim), ops.MatMul(), ops.BiasAdd()

    def construct(self, clips: Tensor) -> Tensor:
        """Features of normalised clips: (B, C, F, R, R) -> (B, D), the mean over the frames, 16 of them at a time."""
        batch, channels, frames, rows, columns = clips.shape
        pictures = clips.transpose(0, 2, 1, 3, 4).reshape(batch * frames, channels, rows, columns)
        some = [self.tower(pictures[i:i + FRAMES]) for i in range(0, batch * frames, FRAMES)]
        return ops.cat(some).reshape(batch, frames, -1).mean(1)

    def tower(self, pictures: Tensor) -> Tensor:
        """Features of pictures (B, C, R, R) -> (B, D)."""
        x = self.conv1(pictures)
        batch, places, width = x.shape
        x = ops.cat((ops.tile(self.class_embedding.reshape(1, 1, width), (batch, 1, 1)), x), 1)
        x = self.add(x.reshape(batch, (places + 1) * width), self.positional_embedding.reshape(-1)).reshape(x.shape)
        x = self.transformer(self.ln_pre(x))
        return self.product(self.ln_post(x[:, 0]), self.proj)
