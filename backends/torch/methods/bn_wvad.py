"""BN-WVAD in PyTorch. The formulas are in `wvad_core.methods.bn_wvad`."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from wvad_core.blocks.crops import one_crop_each
from wvad_core.methods.bn_wvad import Config

from ..blocks.convolution import Conv1d
from ..blocks.losses import hinge
from ..blocks.normalisation import BatchNorm
from ..blocks.transformer import Transformer
from ..network import VideoNetwork
from ..parallel import gathered


class Head(nn.Module):
    """Features (B, T, C) -> the two levels before their BatchNorm, (B, T, C_l), and the normal scores (B, T)."""

    def __init__(self, config: Config):
        super().__init__()
        (first, second), kernels = config.levels, config.kernel_sizes
        self.conv1, self.bn1 = Conv1d(config.channels, first, kernels[0]), BatchNorm(first)
        self.conv2, self.bn2 = Conv1d(first, second, kernels[1]), BatchNorm(second)
        self.conv3 = Conv1d(second, 1, kernels[2])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        level1 = self.conv1(x)
        level2 = self.conv2(F.relu(self.bn1(level1)))
        return level1, level2, torch.sigmoid(self.conv3(F.relu(self.bn2(level2)))).squeeze(-1)

    def distances(self, level1: Tensor, level2: Tensor) -> list[Tensor]:
        """sqrt(sum_c (f - running mean)^2 / running var) of each level, (B, T)."""
        return [((f - bn.running_mean).square() / bn.running_var.clone()).sum(-1).sqrt()
                for f, bn in ((level1, self.bn1), (level2, self.bn2))]


class Network(VideoNetwork):
    def build_layers(self, config: Config) -> None:
        self.embedding = Conv1d(config.feature_dim, config.channels, 3)
        self.transformer = Transformer(config.channels, config.depth, config.heads, config.head_dim,
                                       config.feed_forward_dim)
        self.head = Head(config)

    def levels(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The two levels before their BatchNorm and the normal scores of (B, T, D)."""
        return self.head(self.transformer(F.relu(self.embedding(features))))

    def forward(self, features: Tensor) -> Tensor:
        """Anomaly scores: (B, T, D) or (B, N, T, D) -> (B, T), the products averaged over crops."""
        distances, normal = self.factors(features)
        return (distances * normal).mean(1)

    def averaged_before_product(self, features: Tensor) -> Tensor:
        """(B, N, T, D) -> (B, T): distances and normal scores averaged over crops apart."""
        distances, normal = self.factors(features)
        return distances.mean(1) * normal.mean(1)

    def factors(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The summed distances and the normal scores of every crop, (B, N, T) each."""
        items, crops = one_crop_each(features)
        *levels, normal = self.levels(items)
        shape = (-1, crops, items.shape[1])
        return sum(self.head.distances(*levels)).view(shape), normal.view(shape)

    def terms(self, features: Tensor) -> dict[str, Tensor]:
        items, _ = one_crop_each(features)
        *levels, normal = self.levels(items)
        normal, *distances = (gathered(x) for x in (normal, *self.head.distances(*levels)))
        half = len(normal) // 2
        of_normal = normal[:half].norm(dim=1).mean()
        mpp = sum(weight * self.pull_push(d[:half], d[half:]) for weight, d in zip(self.config.level_weights, distances))
        return {"total": of_normal + mpp, "normal": of_normal, "mpp": mpp}

    def pull_push(self, normal: Tensor, abnormal: Tensor) -> Tensor:
        """The triplet loss of one level's distances, (B, T) each."""
        normal_order, abnormal_order, count = screen(normal, abnormal, self.config)
        pairs = hinge(normal.flatten()[normal_order], abnormal.flatten()[abnormal_order], self.config.margin)
        return torch.where(torch.arange(len(pairs), device=pairs.device) < count, pairs, 0).sum() / count.clamp(min=1)


def screen(normal: Tensor, abnormal: Tensor, config: Config) -> tuple[Tensor, Tensor, Tensor]:
    """Flat indices into both halves, (B * T,) each, of which the first `count` are pairs; and `count`."""
    videos, steps = abnormal.shape
    of_video, of_batch = config.screened(videos, steps)
    ranks = abnormal.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    batch_ranks = abnormal.flatten().argsort(descending=True, stable=True).argsort().view_as(ranks)
    picked = (ranks < of_video) | (batch_ranks < of_batch)
    order = normal.argsort(dim=1, descending=True, stable=True)
    order = order + steps * torch.arange(videos, device=order.device)[:, None]
    return order.t().flatten(), (~picked).flatten().to(torch.int8).argsort(stable=True), picked.sum()
