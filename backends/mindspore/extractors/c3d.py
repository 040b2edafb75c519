"""C3D in MindSpore. The formulas are in `wvad_core.extractors.c3d`."""
from __future__ import annotations

from mindspore import Tensor, ops
from wvad_core.blocks.convolution3d import symmetric
from wvad_core.extractors.c3d import STAGES, Config, pool

from ..blocks.convolution3d import Conv3d, channels_last, max_pool3d
from ..blocks.linear import Linear
from ..network import ClipNetwork


class Network(ClipNetwork):
    def build_layers(self, config: Config) -> None:
        inputs, dim = config.in_channels, config.feature_dim
        for names, channels in zip(STAGES, config.channels):
            for name in names:
                setattr(self, name, Conv3d(inputs, channels, (3, 3, 3), padding=symmetric(1, 1, 1), bias=True))
                inputs = channels
        self.fc6, self.fc7 = Linear(config.pooled, dim), Linear(dim, dim)
        self.fc8 = Linear(dim, config.classes)

    def construct(self, clips: Tensor) -> Tensor:
        """Features of normalised clips: (B, C, F, H, W) -> (B, D)."""
        x = channels_last(clips)
        for number, names in enumerate(STAGES, 1):
            for name in names:
                x = getattr(self, name)(x, relu=True)
            x = max_pool3d(x, *pool(number))
        x = x.transpose(0, 4, 1, 2, 3)
        return ops.relu(self.fc6(x.reshape(x.shape[0], -1)))

    def logits(self, clips: Tensor) -> Tensor:
        """Of the classes of Sports-1M, before the softmax: (B, C, F, H, W) -> (B, classes)."""
        return self.fc8(ops.relu(self.fc7(self.construct(clips))))
