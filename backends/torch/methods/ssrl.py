"""SSRL in PyTorch. The formulas are in `wvad_core.methods.ssrl` and `wvad_core.blocks.magnitude`."""
from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F
from wvad_core.methods.ssrl import KERNEL, Config, Grid, snippets_at_a_time, split

from ..blocks.aggregation import PyramidAggregation
from ..blocks.convolution import Conv2d
from ..blocks.crops import in_blocks
from ..blocks.linear import Linear
from ..blocks.magnitude import MagnitudeNetwork
from ..blocks.normalisation import BatchNorm
from ..blocks.random import Dropout


class Patch(nn.Module):
    """What the patches of one size add to a snippet's features: (B, P, T, D) -> (B, T, D)."""

    def __init__(self, grid: Grid, config: Config):
        super().__init__()
        (rows, columns), channels = grid.convolved, config.patch_channels
        self.grid = grid.shape
        self.aggregate = PyramidAggregation(config.feature_dim)
        self.conv, self.norm = Conv2d(config.feature_dim, channels, KERNEL, grid.padding), BatchNorm(channels)
        self.linear = Linear(channels * rows * columns, config.feature_dim)
        self.dropout = Dropout(p=config.dropout if grid.dropped else 0.0)

    def forward(self, patches: Tensor) -> Tensor:
        batch, count, steps, dim = patches.shape
        x = self.aggregate(patches.transpose(1, 2).reshape(-1, count, dim)).view(-1, *self.grid, dim)
        h = self.norm(F.relu(self.conv(x))).permute(0, 3, 1, 2)  # (B * T, D / 2, R', C')
        return self.dropout(F.relu(self.linear(h.flatten(1)))).view(batch, steps, dim)


class Network(MagnitudeNetwork):
    def build_layers(self, config: Config) -> None:
        super().build_layers(config)
        self.patch = nn.ModuleList(Patch(grid, config) for grid in config.grids)

    def clips(self, features: Tensor) -> Tensor:
        """The crops with what the patches add, (B, N, T, D)."""
        crops, *grids = split(features, self.config)
        for patch, patches in zip(self.patch, grids):
            size = patches.shape[2] if self.training else snippets_at_a_time(patches)
            crops = crops + in_blocks(patch, patches, -2, size)[:, None]
        return crops
