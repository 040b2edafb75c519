"""CLIP's image tower in MindSpore. The formulas are in `wvad_core.extractors.clip_vit`."""
from __future__ import annotations

from mindspore import Tensor, nn, ops
from wvad_core.extractors.clip_vit import FRAMES, Config

from ..blocks.linear import linear
from ..blocks.normalisation import LayerNorm
from ..blocks.parameters import zeros
from ..blocks.residual_attention import ResidualBlocks
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


class Network(ClipNetwork):
    def build_layers(self, config: Config) -> None:
        width = config.width
        self.class_embedding = zeros(width)
        self.positional_embedding = zeros(config.grid**2 + 1, width)
        self.conv1 = Patches(config.in_channels, width, config.patch)
        self.ln_pre, self.ln_post = LayerNorm(width), LayerNorm(width)
        self.transformer = ResidualBlocks(width, config.layers, config.heads)
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
