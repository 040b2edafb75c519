"""Inception-I3D in MindSpore. The formulas are in `wvad_core.extractors.i3d_inception`."""
from __future__ import annotations

from mindspore import Tensor, nn, ops
from wvad_core.blocks.convolution3d import Sizes
from wvad_core.extractors import i3d_inception as specification
from wvad_core.extractors.i3d_inception import LAYERS, ONE, THREE, WINDOW, Config, branches, layers

from ..blocks.convolution3d import BatchNorm3d, Conv3d, channels_last, max_pool3d, mean_pool3d
from ..network import ClipNetwork


class Unit(nn.Cell):
    """Convolution, BatchNorm and ReLU. (B, F, H, W, I) -> (B, F', H', W', O)."""

    def __init__(self, inputs: int, outputs: int, kernel: Sizes, stride: Sizes, eps: float):
        super().__init__()
        self.conv3d = Conv3d(inputs, outputs, kernel, stride, padding=None)
        self.bn = BatchNorm3d(outputs, eps)

    def construct(self, x: Tensor) -> Tensor:
        return self.conv3d.normalised(x, self.bn, relu=True)


class Pool(nn.Cell):
    """A max pool of what is not negative."""

    def __init__(self, kernel: Sizes, stride: Sizes):
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def construct(self, x: Tensor) -> Tensor:
        return max_pool3d(x, self.kernel, self.stride, None)


class Mixed(nn.Cell):
    """Four branches side by side. (B, F, H, W, I) -> (B, F, H, W, O)."""

    def __init__(self, inputs: int, widths: specification.Mixed, eps: float):
        super().__init__()
        for name, (channels, unit) in branches(inputs, widths).items():
            setattr(self, name, Unit(channels, *unit, eps))
        self.pool = Pool(THREE, ONE)

    def construct(self, x: Tensor) -> Tensor:
        return ops.cat((self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.pool(x))), -1)


class Classifier(nn.Cell):
    """The logits of classes. (B, F, H, W, D) -> (B, F, H, W, classes)."""

    def __init__(self, inputs: int, classes: int):
        super().__init__()
        self.conv3d = Conv3d(inputs, classes, ONE, bias=True)

    def construct(self, x: Tensor) -> Tensor:
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

    def construct(self, clips: Tensor) -> Tensor:
        """Features of normalised clips: (B, C, F, H, W) -> (B, 1024), of several windows their mean."""
        return self.pooled(clips).mean((1, 2, 3))

    def pooled(self, clips: Tensor) -> Tensor:
        """The features of every window, (B, F', H', W', 1024)."""
        x = channels_last(clips)
        for name in LAYERS:
            x = getattr(self, name)(x)
        return mean_pool3d(x, WINDOW)
