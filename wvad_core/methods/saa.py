"""SAA: snippet anomalous attention (Fan et al. 2023, arXiv:2309.16309).

Features pass a pyramid aggregation. On the result, an attention branch of three convolutions gives each snippet an
anomalous attention A, and a classifier gives it a raw score S, both in [0, 1]:

    score = A * S, the products averaged over crops.

The published code has no training loss; the terms here follow the paper's structure, and their weights are settings.
For a video with scores S and attention A, both (T,):

    S_a = A S                                   attended scores
    theta = min A + 0.2 (max A - min A)         snippets below it stay when the most anomalous are suppressed
    S_so = S [A < theta], S_sa = S_a [A < theta]
    cls = 0.8 (bce(S) + bce(S_a)) + 0.2 (bce(S_so) + bce(S_sa))     of the mean of the T // 16 + 1 largest
    guide = mean (A - target)^2                 target 0 on normal videos; on abnormal ones S for the first 400 steps,
                                                [S > 0.5] after; no gradient into the target
    norm = mean |A|, smooth = sum of squared differences of S and of S_a, sparse = mean S + mean S_a: abnormal videos

cls and guide are averaged over all videos of a batch, the others over its abnormal videos. A branch with nothing
left after suppression (a constant A, such as that of a single snippet) counts nothing. The steps are counted by the
memory of training, so a run that fine-tunes is guided by S at first.

Paper and code: the code scores and has no training loss, so scores follow the code and losses the paper. The published
MindSpore convolutions have no bias, a default of the framework that the PyTorch original did not have; here they have
one, and a published checkpoint without them means zeros.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..blocks import configuration
from ..blocks.activations import leaky_relu, sigmoid
from ..blocks.aggregation import PYRAMID_DILATIONS, pyramid_aggregation, pyramid_aggregation_names
from ..blocks.aggregation import pyramid_aggregation_parameters as pyramid_parameters
from ..blocks.convolution import conv1d, conv1d_parameters
from ..blocks.crops import one_crop_each
from ..blocks.heads import score_head, score_head_parameters
from ..blocks.losses import binary_cross_entropy, masked_top_mean, smoothness
from ..blocks.random import dropout
from ..blocks.tensors import COUNTER, Parameter, Scope, count, flatten
from ..conventions import Protocol
from ..data.batches import Batch
from ..registry import Paper, Published

Array = np.ndarray


@dataclass(frozen=True)
class Config(configuration.Config):
    """The sizes and settings of SAA.

    feature_dim: D of the features.
    attention_dim: width of the attention's hidden layer.
    hidden_dims: widths of the score head's two hidden layers.
    dropout: share that is zeroed in training.
    leaky_slope: of the leaky ReLU.
    k: the T // k + 1 largest scores stand for a video.
    suppression: theta, as a share of the range of the attention A.
    branch_weights: of the plain and of the suppressed branches.
    guide_steps: steps after which the guide turns from the scores to their threshold.
    guide_threshold: from which on a score counts as anomalous there.
    norm_weight, smooth_weight, sparse_weight: of the terms of the attention.
    """

    feature_dim: int = 1024
    attention_dim: int = 512
    hidden_dims: tuple[int, int] = (512, 128)
    dropout: float = 0.7
    leaky_slope: float = 0.2
    k: int = 16
    suppression: float = 0.2
    branch_weights: tuple[float, float] = (0.8, 0.2)
    guide_steps: int = 400
    guide_threshold: float = 0.5
    norm_weight: float = 0.8
    smooth_weight: float = 0.01
    sparse_weight: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        configuration.require(self.feature_dim % 8 == 0, "feature_dim", self.feature_dim, "a multiple of 8")
        configuration.require(self.dropout < 1, "dropout", self.dropout, "a share below 1")

    @property
    def training_only(self) -> tuple[str, ...]:
        return ("dropout", "k", "suppression", "branch_weights", "guide_steps", "guide_threshold", "norm_weight",
                "smooth_weight", "sparse_weight")


PROBABILITIES = True  # the product of two sigmoids, itself trained by cross-entropy
PAPER = Paper("Weakly Supervised Video Anomaly Detection and Localization with Snippet Anomalous Attention",
              "Fan et al.", 2023, "https://arxiv.org/abs/2309.16309",
              {"ucf-crime": {"auc": 86.19}, "xd-violence": {"ap": 83.59}})
PROTOCOLS = {"": Protocol(note="as the uniform protocol: each crop alone, then the mean of the crops' products")}
DEMO = Config(feature_dim=32, attention_dim=32, hidden_dims=(32, 16), dropout=0.3, guide_steps=100)
# The number of steps is not published; 3000 is that of UR-DMU, whose optimiser and batch these are.
RECIPES = {"ucf-crime": {"segments": 320, "videos": 64, "steps": 3000},
           "demo": {"segments": 100, "videos": 16, "steps": 300, "learning_rate": 1e-3, "weight_decay": 2e-3,
                    "settings": DEMO.as_dict()}}


def parameters(config: Config) -> dict[str, Parameter]:
    inner = config.attention_dim
    return flatten({
        "aggregate": pyramid_parameters(config.feature_dim, PYRAMID_DILATIONS),
        "attention": {"conv1": conv1d_parameters(config.feature_dim, inner, 3),
                      "conv2": conv1d_parameters(inner, inner, 3), "conv3": conv1d_parameters(inner, 1, 1)},
        "classifier": score_head_parameters(config.feature_dim, config.hidden_dims)})


def published(config: Config) -> Published:
    """The official MindSpore checkpoints."""
    norm = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
    aggregation = pyramid_aggregation_names("aggregate", "aggregate")
    attention = {f"attention.conv{i}": f"attn.attention.{n}" for i, n in ((1, 0), (2, 3), (3, 5))}
    modules = aggregation | attention | {f"classifier.fc{i}": f"classifier.fc{i}" for i in (1, 2, 3)}

    names, optional = {}, set()
    for canonical in parameters(config):
        module, _, tensor = canonical.rpartition(".")
        if tensor == COUNTER:
            continue
        own = norm[tensor] if module.endswith(".norm") else tensor
        names[f"{modules[module]}.{own}"] = canonical
        if own == "bias" and module in aggregation | attention:
            optional.add(f"{modules[module]}.{own}")
    return Published(names, frozenset(optional))


def forward(features: Array, p: Scope, config: Config) -> Array:
    """Anomaly scores: (B, T, D) or (B, N, T, D) -> (B, T), the products A * S averaged over crops."""
    items, crops = one_crop_each(features)
    attention, raw = branches(items, p, config)
    return (attention * raw).reshape(-1, crops, items.shape[1]).mean(1)


def branches(features: Array, p: Scope, config: Config) -> tuple[Array, Array]:
    """Features (B, T, D) -> attention A (B, T) and raw scores S (B, T)."""
    x = pyramid_aggregation(features, p.at("aggregate"))
    a, rng = p.at("attention"), p.rng
    hidden = dropout(leaky_relu(conv1d(x, **a.at("conv1")), config.leaky_slope), config.dropout, rng)
    hidden = leaky_relu(conv1d(hidden, **a.at("conv2")), config.leaky_slope)
    attention = sigmoid(dropout(conv1d(hidden, **a.at("conv3")), config.dropout, rng))[..., 0]
    return attention, score_head(dropout(x, config.dropout, rng), p.at("classifier"), config.dropout)


def losses(batch: Batch, p: Scope, config: Config) -> dict[str, Array]:
    """Training terms of (2B, T, D) or (2B, N, T, D), normal videos first: total and its five parts; one step of the memory."""
    items, _ = one_crop_each(batch.features)
    half, steps = len(items) // 2, items.shape[1]
    warming_up = p.memory.step() < config.guide_steps
    attention, raw = branches(items, p, config)
    attended = attention * raw
    target = raw if warming_up else raw > config.guide_threshold
    target = np.where(np.arange(2 * half)[:, None] < half, 0, target)
    a, s, s_a = attention[half:], raw[half:], attended[half:]
    terms = {"classification": classification(attention, raw, attended, steps // config.k + 1, config),
             "guide": ((attention - target) ** 2).mean(),
             "norm": np.abs(a).mean(),
             "smooth": (smoothness(s) + smoothness(s_a)).mean(),
             "sparse": s.mean() + s_a.mean()}
    total = (terms["classification"] + terms["guide"] + config.norm_weight * terms["norm"]
             + config.smooth_weight * terms["smooth"] + config.sparse_weight * terms["sparse"])
    return {"total": total} | terms


def loss_weights(config: Config) -> dict[str, float]:
    """{term: its weight in the total}, of those whose weight is not 1."""
    return {"norm": config.norm_weight, "smooth": config.smooth_weight, "sparse": config.sparse_weight}


def classification(attention: Array, raw: Array, attended: Array, k: int, config: Config) -> Array:
    """Cross entropy of the four branches' video scores against the labels, averaged over videos."""
    labels = np.repeat(np.array([0, 1], raw.dtype), len(raw) // 2)
    low, high = attention.min(1, keepdims=True), attention.max(1, keepdims=True)
    remaining = attention < low + config.suppression * (high - low)
    everything = np.ones_like(remaining)
    loss = 0.0
    for scores in (raw, attended):
        for mask, weight in ((everything, config.branch_weights[0]), (remaining, config.branch_weights[1])):
            of_video = binary_cross_entropy(masked_top_mean(scores, mask, k), labels)
            loss += weight * np.where(mask.any(1), of_video, 0).mean()
    return loss


class Memory:
    """The steps of training so far."""

    def __init__(self) -> None:
        self.steps = 0

    def step(self) -> int:
        """Count a step; how many there were before it."""
        self.steps += 1
        return self.steps - 1

    def state(self) -> dict[str, Array]:
        """All that is remembered, as arrays by name."""
        return {"steps": np.array(self.steps)}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Remember what `state()` gave. Raises InputError for anything else."""
        self.steps = count(state["steps"], "memory.steps")


def memory(config: Config) -> Memory:
    return Memory()
