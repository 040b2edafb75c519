"""C3D in PyTorch. The formulas are in `wvad_core.extractors.c3d`."""
from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F
from wvad_core.blocks.convolution3d import symmetric
from wvad_core.extractors.c3d import STAGES, Config, pool

from ..blocks.convolution3d import Conv3d, channels_last, max_pool3d
from ..network import ClipNetwork


class Network(ClipNetwork):
    def build_layers(self, config: Config) -> None:
        inputs, dim = config.in_channels, config.feature_dim
        for names, channels in zip(STAGES, config.channels):
            for name in names:
                setattr(self, name, Conv3d(inputs, channels, (3, 3, 3), padding=symmetric(1, 1, 1), bias=True))
                inputs = channels
        self.fc6, self.fc7 = nn.Linear(config.pooled, dim), nn.Linear(dim, dim)
        self.fc8 = nn.Linear(dim, config.classes)

    def forward(self, clips: Tensor) -> Tensor:
        """Features of normalised clips: (B, C, F, H, W) -> (B, D)."""
        x = channels_last(clips)
        for number, names in enumerate(STAGES, 1):
            for name in names:
                x = getattr(self, name)(x, relu=True)
            x = max_pool3d(x, *pool(number))
        return F.relu(self.fc6(x.contiguous().flatten(1)))

    def logits(self, clips: Tensor) -> Tensor:
        """Of the classes of Sports-1M, before the softmax: (B, C, F, H, W) -> (B, classes)."""
        return self.fc8(F.relu(self.fc7(self(clips))))
