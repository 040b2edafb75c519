"""Inception-I3D in PyTorch. The formulas are in `wvad_core.extractors.i3d_inception`."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from wvad_core.blocks.convolution3d import Sizes
from wvad_core.extractors import i3d_inception as specification
from wvad_core.extractors.i3d_inception import LAYERS, ONE, THREE, WINDOW, Config, branches, layers

from ..blocks.convolution3d import BatchNorm3d, Conv3d, channels_last, folded, max_pool3d, mean_pool3d
from ..network import ClipNetwork


class Unit(nn.Module):
    """Convolution, BatchNorm and ReLU. (B, I, F, H, W) -> (B, O, F', H', W')."""

    def __init__(self, inputs: int, outputs: int, kernel: Sizes, stride: Sizes, eps: float):
        super().__init__()
        self.conv3d = Conv3d(inputs, outputs, kernel, stride, padding=None)
        self.bn = BatchNorm3d(outputs, eps)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3d.normalised(x, self.bn, relu=True)


class Pool(nn.Module):
    """A max pool of what is not negative."""

    def __init__(self, kernel: Sizes, stride: Sizes):
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        return max_pool3d(x, self.kernel, self.stride, None)


class Mixed(nn.Module):
    """Four branches side by side. (B, I, F, H, W) -> (B, O, F, H, W)."""

    def __init__(self, inputs: int, widths: specification.Mixed, eps: float):
        super().__init__()
        for name, (channels, unit) in branches(inputs, widths).items():
            setattr(self, name, Unit(channels, *unit, eps))
        self.pool = Pool(THREE, ONE)

    def forward(self, x: Tensor) -> Tensor:
        x0, x1, x2 = (unit(x) for unit in (self.b0, self.b1a, self.b2a)) if self.training else self.of_one_input(x)
        return channels_last(torch.cat([x0, self.b1b(x1), self.b2b(x2), self.b3b(self.pool(x))], 1))

    def of_one_input(self, x: Tensor) -> list[Tensor]:
        """b0, b1a and b2a in evaluation: one convolution of 1x1x1, by the weights of all three."""
        units = (self.b0, self.b1a, self.b2a)
        weights, biases = zip(*(folded(unit.conv3d, unit.bn) for unit in units))
        y = self.b0.conv3d.convolved(x, torch.cat(weights), torch.cat(biases), relu=True)
        return [channels_last(part) for part in y.split([len(bias) for bias in biases], 1)]


class Classifier(nn.Module):
    """The logits of classes. (B, D, F, H, W) -> (B, classes, F, H, W)."""

    def __init__(self, inputs: int, classes: int):
        super().__init__()
        self.conv3d = Conv3d(inputs, classes, ONE, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3d(x)


class Network(ClipNetwork):
    """`logits`, which features do without, takes what `pooled` gives."""


    def build_layers(self, config: Config) -> None:
        for name, inputs, layer in layers(config):
            if isinstance(layer, specification.Unit):
                made = Unit(inputs, *layer, config.norm_eps)
            else:
                made = Pool(*layer) if isinstance(layer, specification.Pool) else Mixed(inputs, layer, config.norm_eps)
            setattr(self, name, made)
        self.logits = Classifier(config.feature_dim, config.classes)

    def forward(self, clips: Tensor) -> Tensor:
        """Features of normalised clips: (B, C, F, H, W) -> (B, 1024), of several windows their mean."""
        return self.pooled(clips).mean((2, 3, 4))

    def pooled(self, clips: Tensor) -> Tensor:
        """The features of every window, (B, 1024, F', H', W')."""
        x = channels_last(clips)
        for name in LAYERS:
            x = getattr(self, name)(x)
        return mean_pool3d(x, WINDOW)
