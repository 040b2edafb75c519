"""SSRL: scale-aware spatio-temporal relation learning (Li et al. 2022, ECCV).

An anomaly may fill a small part of the frame, which the features of whole crops hardly see. So each frame is also cut
into grids of 2 x 3, 3 x 5 and 4 x 7 patches, each patch with features of its own. For each size, within one snippet,

    g = pyramid aggregation ACROSS the grid's patches, in row-major order, each patch a position
    h = BatchNorm(relu(conv2d(g)))              kernel 3, D -> D / 2; padding 1 for 2 x 3, none for the larger grids
    z = relu(linear(flatten(h)))                flattened channel, row, column; for 4 x 7 followed by dropout

and z, (T, D), is added to every crop. From there on the network is one of feature magnitudes, in its losses too:
`wvad_core.blocks.magnitude`.

Training has four stages. Stage 1 trains the aggregation over time and the head, without patches; stages 2, 3 and 4
add one size each. A stage starts from the best weights of the one before (`next_stage`) and trains what it adds alone; what
earlier stages have trained is frozen, its BatchNorms keep their running statistics, and only its dropouts go on.

A video is (N, T, D): its crops, any number of them, followed by the patches of each size in turn.

Paper and code: where they differ, this follows the code, whose losses and selection are those of RTFM's code. What a
stage freezes stays in evaluation mode but for its dropouts.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ..blocks import configuration, magnitude
from ..blocks.activations import relu
from ..blocks.aggregation import (
    PYRAMID_DILATIONS,
    pyramid_aggregation,
    pyramid_aggregation_names,
    pyramid_aggregation_parameters,
)
from ..blocks.convolution import conv2d, conv2d_parameters
from ..blocks.crops import in_blocks
from ..blocks.linear import linear, linear_parameters
from ..blocks.normalisation import batch_norm, batch_norm_parameters
from ..blocks.random import dropout
from ..blocks.tensors import Parameter, Scope, check, draw, flatten, published_by_module
from ..conventions import Protocol
from ..data.batches import Batch
from ..errors import InputError
from ..registry import Paper, Published

Array = np.ndarray
KERNEL = 3
PADDED, DROPPED = 23, 47
"""The sizes whose convolution is padded, and whose result is dropped out."""


@dataclass(frozen=True)
class Grid:
    """The patches of one size. Size RC has R x C patches, such as 23."""
    size: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.size // 10, self.size % 10

    @property
    def patches(self) -> int:
        return self.shape[0] * self.shape[1]

    @property
    def padding(self) -> int:
        return int(self.size == PADDED)

    @property
    def convolved(self) -> tuple[int, int]:
        """R', C': the grid after the convolution."""
        rows, columns = (size + 2 * self.padding - KERNEL + 1 for size in self.shape)
        return rows, columns

    @property
    def dropped(self) -> bool:
        return self.size == DROPPED


@dataclass(frozen=True)
class Config(magnitude.MagnitudeConfig):
    """The sizes and settings of SSRL; those of magnitude learning too.

    stage: of training, from 1 (crops alone) to 4; each from 2 on adds the patches of one more size.
    patch_sizes: of stages 2, 3, ..., rows and columns of the grid as two digits; those of later stages are left out.
    """

    stage: int = 4
    patch_sizes: tuple[int, ...] = (23, 35, 47)

    layout: ClassVar[str] = "patches"
    crops_together: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        survives = all(size < 100 and min(Grid(size).convolved) > 0 for size in self.patch_sizes)
        configuration.require(survives, "patch_sizes", list(self.patch_sizes),
                              f"rows and columns as two digits, each at least {KERNEL}, or {PADDED}")
        configuration.require(len(self.patch_sizes) >= self.stage - 1, "patch_sizes", list(self.patch_sizes),
                              f"a size for each stage from 2 to {self.stage}")
        object.__setattr__(self, "patch_sizes", self.patch_sizes[:self.stage - 1])

    @property
    def grids(self) -> tuple[Grid, ...]:
        return tuple(Grid(size) for size in self.patch_sizes)

    @property
    def patches(self) -> int:
        return sum(grid.patches for grid in self.grids)

    def crops_of(self, rows: int, crops: int | None = None) -> int:
        """As ever; nor a number that another stage takes as crops that are published with its patches, 4 + 6 for 10 crops."""
        found = super().crops_of(rows, crops)
        sizes = self.patch_sizes + type(self).patch_sizes[len(self.patch_sizes):]
        others = (sum(Grid(size).patches for size in sizes[:stage]) for stage in range(len(sizes) + 1))
        other = next((patches for patches in others if rows - patches in configuration.PUBLISHED_CROPS), None)
        if crops is None and found not in configuration.PUBLISHED_CROPS and other is not None:
            raise InputError(f"N = {rows} on the crop axis: {found} crops and {self.patches} patches, as stage {self.stage} "
                             f"takes them, or {rows - other} crops and {other} patches, which another stage takes")
        return found

    @property
    def patch_channels(self) -> int:
        """Channels of the patches' convolutions."""
        return self.feature_dim // 2

    @property
    def frozen(self) -> tuple[str, ...]:
        """What earlier stages have trained."""
        if self.stage == 1:
            return ()
        return "aggregate", "classifier", *(f"patch.{i}" for i in range(self.stage - 2))


PROBABILITIES = True  # the sigmoid of the classifier, trained by cross-entropy
PAPER = Paper("Scale-Aware Spatio-Temporal Relation Learning for Video Anomaly Detection", "Li et al.", 2022,
              "https://github.com/nutuniv/SSRL", {"ucf-crime": {"auc": 87.43}, "shanghaitech": {"auc": 97.98}})
PROTOCOLS = {"": Protocol()}
# Features of 32 channels are shorter than those of 2048.
DEMO = Config(feature_dim=32, num_segments=64, hidden_dims=(32, 16), dropout=0.3, margin=10, magnitude_weight=0.01)
# Each stage. Published: 4 + 4 videos on each of 8 GPUs, which is 32 + 32 in one process. The number of steps is not
# published; 15000 is that of RTFM, whose optimiser this is.
_PUBLISHED = {"segments": 32, "videos": 32, "steps": 15000, "learning_rate": 1e-3, "weight_decay": 5e-3, "crops": "all"}
RECIPES = {"ucf-crime": _PUBLISHED, "shanghaitech": _PUBLISHED,
           "demo": {"segments": 64, "videos": 8, "steps": 60, "learning_rate": 3e-3, "weight_decay": 5e-3, "crops": "all",
                    "settings": DEMO.as_dict()}}


def parameters(config: Config) -> dict[str, Parameter]:
    dim, channels = config.feature_dim, config.patch_channels
    patch = {str(i): {"aggregate": pyramid_aggregation_parameters(dim, PYRAMID_DILATIONS),
                      "conv": conv2d_parameters(dim, channels, KERNEL),
                      "norm": batch_norm_parameters(channels),
                      "linear": linear_parameters(channels * grid.convolved[0] * grid.convolved[1], dim)}
             for i, grid in enumerate(config.grids)}
    return flatten(magnitude.parameters(config) | {"patch": patch})


def published(config: Config) -> Published:
    """The official PyTorch checkpoints: one for each of this network's tensors."""
    modules = pyramid_aggregation_names("aggregate", "Aggregate_clip")
    modules |= {f"classifier.fc{i}": f"classfier.fc{i}" for i in (1, 2, 3)}
    for i in range(len(config.grids)):
        modules |= pyramid_aggregation_names(f"patch.{i}.aggregate", f"Aggregate_patch.{i}")
        modules |= {f"patch.{i}.conv": f"patch_to_clip.{i}.0", f"patch.{i}.norm": f"patch_to_clip.{i}.2",
                    f"patch.{i}.linear": f"linear_out.{i}"}
    return Published(published_by_module(modules, parameters(config)))


def stages(config: Config) -> tuple[Config, ...]:
    """The configurations of stages 1 to `config.stage`."""
    return tuple(replace(config, stage=stage) for stage in range(1, config.stage + 1))


def next_stage(earlier: Mapping[str, Array], config: Config, seed: int = 0) -> dict[str, Array]:
    """The weights that training of `config.stage` starts from: fresh ones for what it adds, else those of the stage before.

    earlier: {canonical name: array}, the weights of a detector of stage `config.stage` - 1.
    Raises InputError unless they are.
    """
    configuration.require(config.stage > 1, "stage", config.stage, "a stage that has one before it")
    before = replace(config, stage=config.stage - 1)
    check(earlier, parameters(before), f"weights of ssrl stage {before.stage}")
    return draw(parameters(config), seed) | dict(earlier)


def forward(features: Array, p: Scope, config: Config) -> Array:
    """Anomaly scores: (B, N, T, D), crops and patches, -> (B, T), averaged over crops. Without patches also (B, T, D)."""
    return magnitude.scores(clips(features, p, config), p, config)


def losses(batch: Batch, p: Scope, config: Config) -> dict[str, Array]:
    """Training terms of (2B, N, T, D), crops and patches, normal videos first: total, magnitude, sparsity, smooth."""
    return magnitude.losses(clips(batch.features, p, config), p, config)


def clips(features: Array, p: Scope, config: Config) -> Array:
    """The crops with what the patches add, (B, N, T, D)."""
    crops, *grids = split(features, config)
    for i, patches in enumerate(grids):
        size = patches.shape[2] if p.training else snippets_at_a_time(patches)
        added = in_blocks(lambda part: patch_branch(part, p.at("patch").at(i), config.grids[i], config), patches, -2, size)
        crops = crops + added[:, None]
    return crops


def split(features: Array, config: Config) -> list[Array]:
    """(B, N, T, D) -> the crops and the patches of each size, each (B, ., T, D). Takes any framework's tensors."""
    features, start, parts = magnitude.with_crops(features), 0, []
    for end in ends(features.shape[1], config.patch_sizes):
        parts.append(features[:, start:end])
        start = end
    return parts


def ends(rows: int, patch_sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Where the crops end among N = `rows`, then where the patches of each size do."""
    counts = [Grid(size).patches for size in patch_sizes]
    crops = rows - sum(counts)
    if crops < 1:
        raise InputError(f"features have N = {rows}, expected at least one crop and behind it {sum(counts)} patches, "
                         f"those of sizes {list(patch_sizes)}")
    return tuple(crops + sum(counts[:i]) for i in range(len(counts) + 1))


def snippets_at_a_time(patches: Array) -> int:
    """How many snippets of (B, P, T, D) are aggregated at a time in evaluation."""
    return max(1, magnitude.EVALUATION_BLOCK // (patches.shape[0] * patches.shape[1]))


def patch_branch(patches: Array, p: Scope, grid: Grid, config: Config) -> Array:
    """What the patches of one size add to a snippet's features: (B, P, T, D) -> (B, T, D)."""
    batch, _, steps, dim = patches.shape
    x = patches.swapaxes(1, 2).reshape(batch * steps, -1, dim)
    x = pyramid_aggregation(x, p.at("aggregate")).reshape(-1, *grid.shape, dim)
    h = batch_norm(relu(conv2d(x, **p.at("conv"), padding=grid.padding)), p.at("norm"))  # (B * T, R', C', D / 2)
    z = relu(linear(np.moveaxis(h, -1, 1).reshape(len(h), -1), **p.at("linear"))).reshape(batch, steps, dim)
    return dropout(z, config.dropout, p.rng) if grid.dropped else z
