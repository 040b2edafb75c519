"""SSRL in MindSpore. The formulas are in `wvad_core.methods.ssrl` and `wvad_core.blocks.magnitude`."""
from __future__ import annotations

import mindspore as ms
from mindspore import Tensor, nn, ops
from wvad_core.blocks.magnitude import with_crops
from wvad_core.methods.ssrl import KERNEL, Config, Grid, ends, snippets_at_a_time

from ..blocks.aggregation import PyramidAggregation
from ..blocks.convolution import Conv2d
from ..blocks.crops import in_blocks
from ..blocks.linear import Linear
from ..blocks.magnitude import MagnitudeNetwork
from ..blocks.normalisation import BatchNorm
from ..blocks.random import Dropout

_ends = ms.constexpr(ends)  # graph mode raises only Python's own errors


class Patch(nn.Cell):
    """What the patches of one size add to a snippet's features: (B, P, T, D) -> (B, T, D)."""

    def __init__(self, grid: Grid, config: Config):
        super().__init__()
        (rows, columns), channels = grid.convolved, config.patch_channels
        self.grid = grid.shape
        self.aggregate = PyramidAggregation(config.feature_dim)
        self.conv, self.norm = Conv2d(config.feature_dim, channels, KERNEL, grid.padding), BatchNorm(channels)
        self.linear = Linear(channels * rows * columns, config.feature_dim)
        self.dropout = Dropout(config.dropout if grid.dropped else 0.0)

    def construct(self, patches: Tensor) -> Tensor:
        batch, count, steps, dim = patches.shape
        rows, columns = self.grid
        x = self.aggregate(patches.swapaxes(1, 2).reshape(-1, count, dim)).reshape(-1, rows, columns, dim)
        h = self.norm(ops.relu(self.conv(x))).transpose(0, 3, 1, 2)  # (B * T, D / 2, R', C')
        return self.dropout(ops.relu(self.linear(h.reshape(batch * steps, -1)))).reshape(batch, steps, dim)


class Network(MagnitudeNetwork):
    def build_layers(self, config: Config) -> None:
        super().build_layers(config)
        self.patch = nn.CellList([Patch(grid, config) for grid in config.grids])

    def clips(self, features: Tensor) -> Tensor:
        """The crops with what the patches add, (B, N, T, D)."""
        features = with_crops(features)
        places = _ends(features.shape[1], self.config.patch_sizes)
        crops = features[:, :places[0]]
        for i, patch in enumerate(self.patch):
            patches = features[:, places[i]:places[i + 1]]
            size = patches.shape[2] if self.training else snippets_at_a_time(patches)
            crops = crops + in_blocks(patch, patches, -2, size).expand_dims(1)
        return crops
