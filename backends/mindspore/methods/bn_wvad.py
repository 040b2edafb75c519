"""BN-WVAD in MindSpore. The formulas are in `wvad_core.methods.bn_wvad`."""
from __future__ import annotations

import mindspore as ms
from mindspore import Tensor, nn, ops
from wvad_core.blocks.crops import one_crop_each
from wvad_core.methods.bn_wvad import Config

from ..blocks.convolution import Conv1d
from ..blocks.losses import hinge
from ..blocks.normalisation import BatchNorm
from ..blocks.transformer import Transformer
from ..network import VideoNetwork
from ..parallel import gathered


class Head(nn.Cell):
    """Features (B, T, C) -> the two levels before their BatchNorm, (B, T, C_l), and the normal scores (B, T)."""

    def __init__(self, config: Config):
        super().__init__()
        (first, second), kernels = config.levels, config.kernel_sizes
        self.conv1, self.bn1 = Conv1d(config.channels, first, kernels[0]), BatchNorm(first)
        self.conv2, self.bn2 = Conv1d(first, second, kernels[1]), BatchNorm(second)
        self.conv3 = Conv1d(second, 1, kernels[2])

    def construct(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        level1 = self.conv1(x)
        level2 = self.conv2(ops.relu(self.bn1(level1)))
        return level1, level2, ops.sigmoid(self.conv3(ops.relu(self.bn2(level2)))).squeeze(-1)

    def distances(self, level1: Tensor, level2: Tensor) -> list[Tensor]:
        """sqrt(sum_c (f - running mean)^2 / running var) of each level, (B, T)."""
        return [ops.sqrt((ops.square(f - bn.running_mean) / bn.running_var).sum(-1))
                for f, bn in ((level1, self.bn1), (level2, self.bn2))]


class Network(VideoNetwork):
    def build_layers(self, config: Config) -> None:
        self.embedding = Conv1d(config.feature_dim, config.channels, 3)
        self.transformer = Transformer(config.channels, config.depth, config.heads, config.head_dim,
                                       config.feed_forward_dim)
        self.head = Head(config)

    def levels(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The two levels before their BatchNorm and the normal scores of (B, T, D)."""
        return self.head(self.transformer(ops.relu(self.embedding(features))))

    def construct(self, features: Tensor) -> Tensor:
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
        level1, level2, normal = self.levels(items)
        distance1, distance2 = self.head.distances(level1, level2)
        shape = (-1, crops, items.shape[1])
        return (distance1 + distance2).reshape(shape), normal.reshape(shape)

    def terms(self, features: Tensor) -> dict[str, Tensor]:
        items, _ = one_crop_each(features)
        level1, level2, normal = self.levels(items)
        distance1, distance2 = self.head.distances(level1, level2)
        distance1, distance2, normal = gathered(distance1), gathered(distance2), gathered(normal)
        half = normal.shape[0] // 2
        weight1, weight2 = self.config.level_weights
        of_normal = ops.norm(normal[:half], dim=1).mean()
        mpp = (weight1 * self.pull_push(distance1[:half], distance1[half:])
               + weight2 * self.pull_push(distance2[:half], distance2[half:]))
        return {"total": of_normal + mpp, "normal": of_normal, "mpp": mpp}

    def pull_push(self, normal: Tensor, abnormal: Tensor) -> Tensor:
        """The triplet loss of one level's distances, (B, T) each."""
        normal_order, abnormal_order, count = screen(normal, abnormal, self.config)
        pairs = hinge(ops.gather(normal.reshape(-1), normal_order, 0), ops.gather(abnormal.reshape(-1), abnormal_order, 0),
                      self.config.margin)
        return ops.where(ops.arange(pairs.shape[0]) < count, pairs, 0.0).sum() / ops.maximum(count, 1)


def screen(normal: Tensor, abnormal: Tensor, config: Config) -> tuple[Tensor, Tensor, Tensor]:
    """Flat indices into both halves, (B * T,) each, of which the first `count` are pairs; and `count`."""
    videos, steps = abnormal.shape
    size = videos * steps
    of_video, of_batch = config.screened(videos, steps)
    ranks = ops.argsort(ops.argsort(abnormal, axis=1, descending=True), axis=1)
    batch_ranks = ops.argsort(ops.argsort(abnormal.reshape(-1), descending=True)).reshape(videos, steps)
    picked = ops.logical_or(ranks < of_video, batch_ranks < of_batch)
    order = ops.argsort(normal, axis=1, descending=True) + steps * ops.arange(videos, dtype=ms.int32).reshape(-1, 1)
    left = size * ops.logical_not(picked).reshape(-1).astype(ms.int32)  # sorts those not picked behind the picked
    return (order.transpose(1, 0).reshape(-1), ops.argsort(left + ops.arange(size, dtype=ms.int32)),
            picked.astype(ms.int32).sum())
