"""CLIP's image tower in PyTorch. The formulas are in `wvad_core.extractors.clip_vit`."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from wvad_core.extractors.clip_vit import FRAMES, Config

from ..blocks.linear import linear
from ..blocks.normalisation import LayerNorm
from ..blocks.residual_attention import ResidualBlocks
from ..kernels import eager_cpu
from ..network import ClipNetwork


class Patches(nn.Conv2d):
    """The convolution whose kernel is a patch, as a product. (B, C, R, R) -> (B, G * G, width), row by row."""

    def __init__(self, channels: int, width: int, size: int):
        super().__init__(channels, width, size, size, bias=False)

    def forward(self, pictures: Tensor) -> Tensor:
        size = self.stride[0]
        cut = pictures.unflatten(3, (-1, size)).unflatten(2, (-1, size))  # (B, C, G, P, G, P)
        return linear(cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2), self.weight.flatten(1))


class Network(ClipNetwork):
    def build_layers(self, config: Config) -> None:
        width = config.width
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty(config.grid**2 + 1, width))
        self.conv1 = Patches(config.in_channels, width, config.patch)
        self.ln_pre, self.ln_post = LayerNorm(width), LayerNorm(width)
        self.transformer = ResidualBlocks(width, config.layers, config.heads)
        self.proj = nn.Parameter(torch.empty(width, config.feature_dim))

    def forward(self, clips: Tensor) -> Tensor:
        """Features of normalised clips: (B, C, F, R, R) -> (B, D), the mean over the frames.

        On the CPU a snippet's frames at a time: more of them take memory, and no less time each. A graph takes all at once.
        """
        frames = clips.transpose(1, 2).flatten(0, 1)
        some = frames.split(FRAMES) if eager_cpu(clips) else [frames]
        features = torch.cat([self.tower(pictures) for pictures in some])
        return features.view(clips.shape[0], -1, self.config.feature_dim).mean(1)

    def tower(self, pictures: Tensor) -> Tensor:
        """Features of pictures (B, C, R, R) -> (B, D)."""
        x = self.conv1(pictures)
        first = self.class_embedding.to(x.dtype).expand(x.shape[0], 1, -1)
        x = self.transformer(self.ln_pre(torch.cat([first, x], 1) + self.positional_embedding))
        return self.ln_post(x[:, 0]) @ self.proj
