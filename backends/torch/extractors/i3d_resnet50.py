"""I3D ResNet-50 in PyTorch. The formulas are in `wvad_core.extractors.i3d_resnet50`."""
from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F
from wvad_core.blocks.convolution3d import symmetric
from wvad_core.extractors.i3d_resnet50 import PLANES, Block, Config, blocks

from ..blocks.convolution3d import BatchNorm3d, Conv3d, channels_last, max_pool3d
from ..network import ClipNetwork


class NonLocal(nn.Module):
    """x + bn(out(attention)): (B, C, F, H, W) -> the same shape."""

    def __init__(self, channels: int, eps: float):
        super().__init__()
        self.theta, self.phi, self.g = (Conv3d(channels, channels // 2, (1, 1, 1), bias=True) for _ in range(3))
        self.out, self.bn = Conv3d(channels // 2, channels, (1, 1, 1), bias=True), BatchNorm3d(channels, eps)

    def forward(self, x: Tensor) -> Tensor:
        pooled = max_pool3d(x, (1, 2, 2), (1, 2, 2))
        queries = self.theta(x)
        tokens = (y.flatten(2).transpose(1, 2)[:, None] for y in (queries, self.phi(pooled), self.g(pooled)))
        y = F.scaled_dot_product_attention(*tokens)[:, 0].transpose(1, 2).reshape(queries.shape)
        return x + self.out.normalised(channels_last(y), self.bn)


class Bottleneck(nn.Module):
    """(B, inputs, F, H, W) -> (B, 4 planes, F, H', W')."""

    def __init__(self, block: Block, eps: float):
        super().__init__()
        inputs, planes, outputs, step = block.inputs, block.planes, 4 * block.planes, (1, block.step, block.step)
        self.conv1 = Conv3d(inputs, planes, (block.length, 1, 1), padding=symmetric(block.length // 2, 0, 0))
        self.conv2 = Conv3d(planes, planes, (1, 3, 3), step, symmetric(0, 1, 1))
        self.conv3 = Conv3d(planes, outputs, (1, 1, 1))
        self.bn1, self.bn2, self.bn3 = (BatchNorm3d(channels, eps) for channels in (planes, planes, outputs))
        if block.projected:
            self.downsample = nn.ModuleList([Conv3d(inputs, outputs, (1, 1, 1), step), BatchNorm3d(outputs, eps)])
        self.nl = NonLocal(outputs, eps) if block.non_local else None
        self.projected = block.projected

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1.normalised(x, self.bn1, relu=True)
        y = self.conv2.normalised(y, self.bn2, relu=True)
        y = self.conv3.normalised(y, self.bn3)
        if self.projected:
            convolution, norm = self.downsample
            x = convolution.normalised(x, norm)
        y = F.relu(y.add_(x), inplace=True)
        return y if self.nl is None else self.nl(y)


class Network(ClipNetwork):
    def build_layers(self, config: Config) -> None:
        eps = config.norm_eps
        self.conv1 = Conv3d(config.in_channels, PLANES[0], (5, 7, 7), (2, 2, 2), symmetric(2, 3, 3))
        self.bn1 = BatchNorm3d(PLANES[0], eps)
        layers: dict[str, nn.ModuleList] = {}
        for name, block in blocks(config).items():
            layers.setdefault(name.partition(".")[0], nn.ModuleList()).append(Bottleneck(block, eps))
        self.layer1, self.layer2, self.layer3, self.layer4 = layers.values()
        self.fc = nn.Linear(config.feature_dim, config.classes)

    def forward(self, clips: Tensor) -> Tensor:
        """Features of normalised clips: (B, C, F, H, W) -> (B, 2048)."""
        x = self.conv1.normalised(channels_last(clips), self.bn1, relu=True)
        x = max_pool3d(x, (2, 3, 3), (2, 2, 2))
        for block in self.layer1:
            x = block(x)
        x = max_pool3d(x, (2, 1, 1), (2, 1, 1))
        for layer in (self.layer2, self.layer3, self.layer4):
            for block in layer:
                x = block(x)
        return x.mean((2, 3, 4))

    def logits(self, clips: Tensor) -> Tensor:
        """Of the classes of Kinetics: (B, C, F, H, W) -> (B, classes)."""
        return self.fc(self(clips))
