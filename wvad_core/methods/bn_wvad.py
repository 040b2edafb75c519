"""BN-WVAD: BatchNorm-based weakly supervised video anomaly detection (Zhou et al. 2023, arXiv:2311.15367).

An abnormal snippet is an outlier of the BatchNorm statistics, which the many normal snippets dominate. Features are
embedded by a convolution and a global-local transformer. A small head of three convolutions gives a normal score n;
at each of its two BatchNorms the distance of a snippet to the running mean is

    d_l = sqrt(sum_c (f_l - mean_l)^2 / var_l)          (divergence of feature from mean, DFM)

with f_l the value before the BatchNorm, and without its eps. Score = (d_1 + d_2) * n, averaged over crops.

Training screens the abnormal videos' snippets by distance, per level: the top 20 % of every video together with the
top 40 % of the batch (sample-batch selection), set against as many of the normal videos' snippets of largest
distance, in a triplet loss whose anchor is the running mean (mean-based pull-push loss, MPP). The normal score is pushed to zero on
normal videos: mean over videos of ||n||_2.

Paper and code: where they differ, this follows the code. n multiplies the distances as it is, the distances use
the statistics as the very forward has just updated them, and MPP weighs its levels 5 and 20. Crops mean two things in
that code: its evaluation gives the network one crop an item and averages the scores, as everything here does; the
network, given crops as an axis, averages the distances and n apart and multiplies then: `averaged_before_product`.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..blocks import configuration
from ..blocks.activations import relu, sigmoid
from ..blocks.convolution import conv1d, conv1d_parameters
from ..blocks.crops import one_crop_each
from ..blocks.losses import hinge
from ..blocks.normalisation import batch_norm, batch_norm_parameters
from ..blocks.tensors import Parameter, Scope, flatten, published_by_module
from ..blocks.transformer import transformer, transformer_names, transformer_parameters
from ..conventions import Protocol
from ..data.batches import Batch
from ..registry import Paper, Published

Array = np.ndarray


@dataclass(frozen=True)
class Config(configuration.Config):
    """The sizes and settings of BN-WVAD.

    feature_dim: D of the features.
    channels: C, the width of the embedding and of the transformer.
    depth, heads, head_dim, feed_forward_dim: of the transformer.
    ratios: channels of the head's two levels are C // ratio.
    kernel_sizes: of the head's three convolutions, odd.
    ratio_sample, ratio_batch: shares of each abnormal video, and of all of them together, that are screened.
    margin: of the triplets.
    level_weights: of the triplets of the two levels.
    """

    feature_dim: int = 1024
    channels: int = 512
    depth: int = 2
    heads: int = 4
    head_dim: int = 128
    feed_forward_dim: int = 512
    ratios: tuple[int, int] = (16, 32)
    kernel_sizes: tuple[int, int, int] = (1, 1, 1)
    ratio_sample: float = 0.2
    ratio_batch: float = 0.4
    margin: float = 1.0
    level_weights: tuple[float, float] = (5.0, 20.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        configuration.require(all(k % 2 for k in self.kernel_sizes), "kernel_sizes", self.kernel_sizes, "odd sizes")
        configuration.require(self.channels >= max(self.ratios), "ratios", self.ratios,
                              f"divisors of channels = {self.channels}")

    @property
    def levels(self) -> tuple[int, int]:
        """Channels of the head's two levels."""
        return self.channels // self.ratios[0], self.channels // self.ratios[1]

    @property
    def training_only(self) -> tuple[str, ...]:
        return ("ratio_sample", "ratio_batch", "margin", "level_weights")

    def screened(self, videos: int, steps: int) -> tuple[int, int]:
        """How many snippets are screened in each abnormal video, and in all of them together."""
        return int(self.ratio_sample * steps), int(self.ratio_batch * (videos * steps))


PROBABILITIES = False  # distances, of any size, times a normal score
PAPER = Paper("BatchNorm-based Weakly Supervised Video Anomaly Detection", "Zhou et al.", 2023,
              "https://arxiv.org/abs/2311.15367",
              {"xd-violence": {"auc": 94.71, "auc_sub": 83.59, "ap": 84.93, "ap_sub": 85.45}})
PROTOCOLS = {"": Protocol(note="as the uniform protocol: each crop alone, then the mean of the crops' products")}
DEMO = Config(feature_dim=32, channels=32, depth=1, heads=2, head_dim=16, feed_forward_dim=64, ratios=(1, 2),
              ratio_sample=0.1, ratio_batch=0.1)
RECIPES = {"xd-violence": {"segments": 200, "videos": 64, "steps": 1000, "clip_norm": 1.0, "seed": 2022, "metric": "ap",
                           "evaluate_every": 5},
           "demo": {"segments": 100, "videos": 16, "steps": 300, "learning_rate": 3e-4, "weight_decay": 1e-2,
                    "clip_norm": 1.0, "settings": DEMO.as_dict()}}


def parameters(config: Config) -> dict[str, Parameter]:
    (first, second), kernels = config.levels, config.kernel_sizes
    return flatten({
        "embedding": conv1d_parameters(config.feature_dim, config.channels, 3),
        "transformer": transformer_parameters(config.channels, config.depth, config.heads, config.head_dim,
                                              config.feed_forward_dim),
        "head": {
            "conv1": conv1d_parameters(config.channels, first, kernels[0]), "bn1": batch_norm_parameters(first),
            "conv2": conv1d_parameters(first, second, kernels[1]), "bn2": batch_norm_parameters(second),
            "conv3": conv1d_parameters(second, 1, kernels[2])}})


def published(config: Config) -> Published:
    """The official PyTorch checkpoints: one for each of this network's tensors."""
    modules = {"embedding": "embedding.conv_1.0"} | transformer_names("transformer", "selfatt", config.depth)
    modules |= {f"head.{name}": f"normal_head.{name}" for name in ("conv1", "bn1", "conv2", "bn2", "conv3")}
    return Published(published_by_module(modules, parameters(config)))


def forward(features: Array, p: Scope, config: Config) -> Array:
    """Anomaly scores: (B, T, D) or (B, N, T, D) -> (B, T), the products (d_1 + d_2) * n averaged over crops."""
    distances, normal = factors(features, p, config)
    return (distances * normal).mean(1)


def averaged_before_product(features: Array, p: Scope, config: Config) -> Array:
    """(B, N, T, D) -> (B, T): d_1 + d_2 and n averaged over crops apart, as the published network does with such an axis."""
    distances, normal = factors(features, p, config)
    return distances.mean(1) * normal.mean(1)


def factors(features: Array, p: Scope, config: Config) -> tuple[Array, Array]:
    """d_1 + d_2 and n of every crop, (B, N, T) each. features (B, T, D), which is N = 1, or (B, N, T, D)."""
    items, crops = one_crop_each(features)
    levels, normal = head(items, p, config)
    distances = sum(distance(f, p.at("head").at(f"bn{i + 1}")) for i, f in enumerate(levels))
    return tuple(x.reshape(-1, crops, items.shape[1]) for x in (distances, normal))


def head(features: Array, p: Scope, config: Config) -> tuple[list[Array], Array]:
    """Features (B, T, D) -> the two levels before their BatchNorm, (B, T, C_l), and the normal scores n (B, T)."""
    x = relu(conv1d(features, **p.at("embedding")))
    x = transformer(x, p.at("transformer"), config.depth, config.heads)
    p, levels = p.at("head"), []
    for i in ("1", "2"):
        levels.append(conv1d(x, **p.at(f"conv{i}")))
        x = relu(batch_norm(levels[-1], p.at(f"bn{i}")))
    return levels, sigmoid(conv1d(x, **p.at("conv3")))[..., 0]


def distance(f: Array, p: Scope) -> Array:
    """d = sqrt(sum_c (f - running mean)^2 / running var), f (..., C) -> (...). The published code adds no eps."""
    return np.sqrt(((f - p["running_mean"]) ** 2 / p["running_var"]).sum(-1))


def screen(normal: Array, abnormal: Array, config: Config) -> tuple[Array, Array, int]:
    """Pick the snippets that the triplet loss pairs, by their distances (B, T), each half.

    Returns flat indices into the normal and into the abnormal half, (B * T,) each, of which the first `count` are
    pairs, and that count. Abnormal: the union of the top int(ratio_sample * T) of each video and the top
    int(ratio_batch * B * T) of all, in the order of their flat index. Normal: rank first (every video's largest,
    then every video's second, ...).
    """
    videos, steps = abnormal.shape
    of_video, of_batch = config.screened(videos, steps)
    ranks = np.argsort(np.argsort(-abnormal, axis=1, kind="stable"), axis=1)
    batch_ranks = np.argsort(np.argsort(-abnormal, axis=None, kind="stable")).reshape(videos, steps)
    picked = ((ranks < of_video) | (batch_ranks < of_batch)).reshape(-1)
    order = np.argsort(-normal, axis=1, kind="stable") + steps * np.arange(videos)[:, None]
    return order.T.reshape(-1), np.argsort(~picked, kind="stable"), int(picked.sum())


def losses(batch: Batch, p: Scope, config: Config) -> dict[str, Array]:
    """Training terms of (2B, T, D) or (2B, N, T, D), normal videos first: normal, mpp, total = normal + mpp."""
    items, _ = one_crop_each(batch.features)
    half = len(items) // 2
    levels, n = head(items, p, config)
    terms = {"normal": np.linalg.norm(n[:half], axis=1).mean(), "mpp": 0.0}
    for i, f in enumerate(levels):
        d = distance(f, p.at("head").at(f"bn{i + 1}"))
        normal, abnormal, count = screen(d[:half], d[half:], config)
        pairs = hinge(d[:half].reshape(-1)[normal[:count]], d[half:].reshape(-1)[abnormal[:count]], config.margin)
        terms["mpp"] += config.level_weights[i] * pairs.sum() / max(count, 1)
    return {"total": terms["normal"] + terms["mpp"]} | terms
