"""C3D: convolutions of 3x3x3 on clips of 16 frames (Tran et al. 2015, arXiv:1412.0767).

    conv1 64, pool 1x2x2; conv2 128, pool; conv3a and b 256, pool; conv4a and b 512, pool; conv5a and b 512, pool; fc6, fc7, fc8

Every convolution has padding 1, a bias and a ReLU behind it; pools are max pools of 2x2x2 without overlap, the last one with a
row and a column of padding on each side. Features are fc6 behind its ReLU, D = 4096; fc8's classes are those of Sports-1M.
Smaller networks of this shape, for smaller frames, are settings.

The weights are those of the public PyTorch port (c3d.pickle). How its frames are to be scaled is not documented: `scale` has no
default, and uint8 frames are refused until it is given.
"""
from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from ..blocks import configuration
from ..blocks.activations import relu
from ..blocks.clips import SCALES, ClipSizes
from ..blocks.convolution3d import conv3d, conv3d_parameters, max_pool3d, symmetric
from ..blocks.linear import linear, linear_parameters
from ..blocks.tensors import Parameter, Scope, flatten
from ..registry import Paper, Published

Array = np.ndarray
STAGES = (("conv1",), ("conv2",), ("conv3a", "conv3b"), ("conv4a", "conv4b"), ("conv5a", "conv5b"))
"""The convolutions before each pool."""
FRAMES = 16
"""Of a clip: its pools leave one."""


@dataclass(frozen=True)
class Config(configuration.ExtractorConfig):
    """The sizes and settings of C3D; the published ones are the defaults.

    in_channels: C of the clips.
    classes: of the classifier behind the features.
    scale: of uint8 frames; none where it is not known.
    channels: of the convolutions before each pool.
    feature_dim: D of the features, the width of fc6 and fc7.
    resolution: R of the frames, R x R pixels.
    """

    in_channels: int = 3
    classes: int = 487
    scale: str | None = dataclasses.field(default=None, metadata={"choices": SCALES})
    channels: tuple[int, int, int, int, int] = (64, 128, 256, 512, 512)
    feature_dim: int = 4096
    resolution: int = configuration.at_least(16, 112)

    @property
    def pooled(self) -> int:
        """What fc6 takes: the last pool's output of a clip."""
        side = self.resolution // 16 // 2 + 1
        return self.channels[-1] * side * side

    @property
    def training_only(self) -> tuple[str, ...]:
        return ("classes",)


PAPER = Paper("Learning Spatiotemporal Features with 3D Convolutional Networks", "Tran et al.", 2015,
              "https://arxiv.org/abs/1412.0767", {})


def clip_sizes(config: Config) -> ClipSizes:
    size = (FRAMES, config.resolution, config.resolution)
    return ClipSizes(published=size, least=size, most=size)


def parameters(config: Config) -> dict[str, Parameter]:
    tree, inputs, dim = {}, config.in_channels, config.feature_dim
    for names, channels in zip(STAGES, config.channels):
        for name in names:
            tree[name] = conv3d_parameters(inputs, channels, (3, 3, 3), True)
            inputs = channels
    return flatten(tree | {"fc6": linear_parameters(config.pooled, dim), "fc7": linear_parameters(dim, dim),
                           "fc8": linear_parameters(dim, config.classes)})


def published(config: Config) -> Published:
    """The public PyTorch port's file: the same names."""
    return Published({name: name for name in parameters(config)}, parts=("conv1.", "fc7.", "fc8."),
                     training_parts=("fc7.", "fc8."))


def forward(clips: Array, p: Scope, config: Config) -> Array:
    """Features of normalised clips: (B, C, F, H, W) -> (B, D)."""
    return relu(fc6(clips, p))


def logits(clips: Array, p: Scope, config: Config) -> Array:
    """Of the classes of Sports-1M, before the softmax: (B, C, F, H, W) -> (B, classes)."""
    x = relu(linear(forward(clips, p, config), **p.at("fc7")))
    return linear(x, **p.at("fc8"))


def fc6(clips: Array, p: Scope) -> Array:
    """Before the ReLU: (B, C, F, H, W) -> (B, D)."""
    x = np.moveaxis(clips, 1, -1)
    for number, names in enumerate(STAGES, 1):
        for name in names:
            x = relu(conv3d(x, **p.at(name), padding=symmetric(1, 1, 1)))
        x = max_pool3d(x, *pool(number))
    return linear(np.moveaxis(x, -1, 1).reshape(len(x), -1), **p.at("fc6"))


def pool(number: int) -> tuple[tuple[int, int, int], tuple[int, int, int], tuple[tuple[int, int], ...]]:
    """Kernel, stride and padding of a pool from 1 to 5."""
    size = (1, 2, 2) if number == 1 else (2, 2, 2)
    return size, size, symmetric(0, 1, 1) if number == len(STAGES) else symmetric(0, 0, 0)
