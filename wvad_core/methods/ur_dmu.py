"""UR-DMU: dual memory units with uncertainty regulation (Zhou et al. 2023, arXiv:2302.05160).

Features are embedded by a convolution and a global-local transformer, x (T, C). Two memories of S slots M (S, C), one
of abnormal and one of normal patterns, are read by

    a = sigmoid(x M^T / sqrt(C)),   augmentation = a M,   attention of a snippet = mean of its S // 16 + 1 largest a

and a linear encoder mu maps augmentations to codes:

    score = classifier([x, mu(augmentation by abnormal memory) + mu(augmentation by normal memory)])

In training, attention chooses the T // 16 + 1 snippets that stand for a video, "picks" below. For normal videos the
code of the normal augmentation is uncertain: with log variance v by a second encoder, mu + noise * exp(v / 2) replaces
mu. Terms, with A and N the attentions by the abnormal and the normal memory, X_a and X_n the abnormal and the normal
videos, bce the cross entropy:

    att      bce(mean of a video's T // 16 + 1 largest scores, label)
    A        bce(mean of the largest A(X_a), 1)         N     mean bce(N(X_n), 1)
    N_Aatt   bce(mean of the largest 1 - N(X_a), 1)     A_N   mean bce(A(X_n), 0)
    triplet  max(0, 1 + d(anchor, positive) - d(anchor, negative)) of the picks' mean x, scaled to length 1:
             anchor X_n by N, positive X_a by N, negative X_a by A; d(a, b) = ||a - b + 1e-6||
    kl       -1/2 sum_t (1 + v - mu^2 - exp(v)), averaged over videos and channels
    distance max(0, 100 - ||mean abnormal code of X_a's picks by A|| + ||mean sampled code of X_n's picks by N||)
    total = att + 0.1 (A + N + N_Aatt + A_N) + 0.1 triplet + 0.001 kl + 0.0001 distance

Paper and code: as in the code, the KL divergence is summed over time, not over channels, so its weight grows with T; and
N_Aatt takes the largest 1 - N(X_a), that is the snippets least like the normal memory.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..blocks import configuration
from ..blocks.activations import relu, sigmoid
from ..blocks.convolution import conv1d, conv1d_parameters
from ..blocks.crops import one_crop_each
from ..blocks.linear import linear, linear_parameters
from ..blocks.losses import binary_cross_entropy, hinge, top_cross_entropy, top_mean, triplet
from ..blocks.normalisation import unit
from ..blocks.random import noise
from ..blocks.tensors import Parameter, Scope, flatten, published_by_module
from ..blocks.transformer import transformer, transformer_names, transformer_parameters
from ..conventions import Protocol
from ..data.batches import Batch
from ..registry import Paper, Published

Array = np.ndarray
MEMORIES = {"abnormal_memory.slots.weight": "Amemory.memory_block", "normal_memory.slots.weight": "Nmemory.memory_block"}


@dataclass(frozen=True)
class Config(configuration.Config):
    """The sizes and settings of UR-DMU.

    feature_dim: D of the features.
    channels: C, the width of the embedding, the transformer and the memories.
    depth, heads, head_dim, feed_forward_dim: of the transformer.
    abnormal_memory, normal_memory: slots of the two memories.
    hidden_dim: width of the classifier's hidden layer.
    dropout: share that is zeroed in training.
    k: the n // k + 1 largest of n slots or snippets stand for all.
    margin: of the triplet.
    distance_margin: of the distance between the magnitudes of abnormal and normal features.
    attention_weight, triplet_weight, kl_weight, distance_weight: of the terms.
    """

    feature_dim: int = 1024
    channels: int = 512
    depth: int = 2
    heads: int = 4
    head_dim: int = 128
    feed_forward_dim: int = 512
    abnormal_memory: int = 60
    normal_memory: int = 60
    hidden_dim: int = 128
    dropout: float = 0.5
    k: int = 16
    margin: float = 1.0
    distance_margin: float = 100.0
    attention_weight: float = 0.1
    triplet_weight: float = 0.1
    kl_weight: float = 0.001
    distance_weight: float = 0.0001

    def __post_init__(self) -> None:
        super().__post_init__()
        configuration.require(self.dropout < 1, "dropout", self.dropout, "a share below 1")

    @property
    def training_only(self) -> tuple[str, ...]:
        return ("dropout", "k", "margin", "distance_margin", "attention_weight", "triplet_weight", "kl_weight",
                "distance_weight")

    def largest(self, count: int) -> int:
        """How many of `count` slots or snippets stand for all of them."""
        return min(count // self.k + 1, count)


PROBABILITIES = True  # the sigmoid of the classifier, trained by cross-entropy
PAPER = Paper("Dual Memory Units with Uncertainty Regulation for Weakly Supervised Video Anomaly Detection",
              "Zhou et al.", 2023, "https://arxiv.org/abs/2302.05160",
              {"ucf-crime": {"auc": 86.97}, "xd-violence": {"ap": 81.66}})
PROTOCOLS = {"": Protocol()}
DEMO = Config(feature_dim=32, channels=64, depth=1, heads=4, head_dim=16, feed_forward_dim=64, abnormal_memory=16,
              normal_memory=16, hidden_dim=32, k=6)
_PUBLISHED = {"segments": 200, "videos": 64, "steps": 3000}
RECIPES = {"ucf-crime": _PUBLISHED, "xd-violence": _PUBLISHED | {"metric": "ap"},
           "demo": {"segments": 100, "videos": 32, "steps": 200, "learning_rate": 3e-3, "weight_decay": 1e-3,
                    "settings": DEMO.as_dict()}}


def parameters(config: Config) -> dict[str, Parameter]:
    channels = config.channels
    return flatten({
        "embedding": conv1d_parameters(config.feature_dim, channels, 3),
        "transformer": transformer_parameters(channels, config.depth, config.heads, config.head_dim,
                                              config.feed_forward_dim),
        "abnormal_memory": {"slots": linear_parameters(channels, config.abnormal_memory, bias=False)},
        "normal_memory": {"slots": linear_parameters(channels, config.normal_memory, bias=False)},
        "mean": linear_parameters(channels, channels), "log_variance": linear_parameters(channels, channels),
        "classifier": {"fc1": linear_parameters(2 * channels, config.hidden_dim),
                       "fc2": linear_parameters(config.hidden_dim, 1)}})


def published(config: Config) -> Published:
    """The official PyTorch checkpoints: one for each of this network's tensors."""
    modules = {"embedding": "embedding.conv_1.0", "mean": "encoder_mu.0", "log_variance": "encoder_var.0",
               "classifier.fc1": "cls_head.mlp.0", "classifier.fc2": "cls_head.mlp.2"}
    modules |= transformer_names("transformer", "selfatt", config.depth)
    others = (name for name in parameters(config) if name not in MEMORIES)
    return Published(published_by_module(modules, others) | {theirs: ours for ours, theirs in MEMORIES.items()})


def forward(features: Array, p: Scope, config: Config) -> Array:
    """Anomaly scores: (B, T, D) or (B, N, T, D) -> (B, T), averaged over crops."""
    items, crops = one_crop_each(features)
    x = embed(items, p, config)
    codes = sum(linear(read(x, p.at(memory))[1], **p.at("mean")) for memory in ("abnormal_memory", "normal_memory"))
    return sigmoid(logits_of(x, codes, p)).reshape(-1, crops, items.shape[1]).mean(1)


def embed(features: Array, p: Scope, config: Config) -> Array:
    """Features (B, T, D) -> x (B, T, C)."""
    x = relu(conv1d(features, **p.at("embedding")))
    return transformer(x, p.at("transformer"), config.depth, config.heads, config.dropout)


def read(x: Array, p: Scope) -> tuple[Array, Array]:
    """a = sigmoid(x M^T / sqrt(C)) and the augmentation a M. x (B, T, C) -> (B, T, S), (B, T, C)."""
    slots = p.at("slots")["weight"]
    weights = sigmoid(linear(x, slots) * x.shape[-1] ** -0.5)
    return weights, linear(weights, np.ascontiguousarray(slots.T))


def logits_of(x: Array, codes: Array, p: Scope) -> Array:
    """Logits of the scores, from the embedding and the codes, (B, T, C) each -> (B, T)."""
    hidden = relu(linear(np.concatenate([x, codes], axis=-1), **p.at("classifier").at("fc1")))
    return linear(hidden, **p.at("classifier").at("fc2"))[..., 0]


def outputs(features: Array, p: Scope, config: Config) -> tuple[Array, Array, Array, dict[str, Array]]:
    """What training looks at, of (2B, T, D), normal videos first.

    Logits of the scores, attention by the abnormal memory A and by the normal memory N, (2B, T) each; the terms
    triplet, kl and distance.
    """
    x, half = embed(features, p, config), len(features) // 2
    a, abnormal_read = read(x, p.at("abnormal_memory"))
    n, normal_read = read(x, p.at("normal_memory"))
    a, n = top_mean(a, config.largest(config.abnormal_memory)), top_mean(n, config.largest(config.normal_memory))
    abnormal_codes, normal_codes = (linear(r, **p.at("mean")) for r in (abnormal_read, normal_read))
    mean, log_variance = normal_codes[:half], linear(normal_read[:half], **p.at("log_variance"))
    sampled = mean + noise(mean.shape, mean.dtype, p.rng) * np.exp(0.5 * log_variance)
    logits = logits_of(x, abnormal_codes + np.concatenate([sampled, normal_codes[half:]]), p)
    k = config.largest(x.shape[1])
    anchor, positive = (unit(mean_at_largest(x[i], n[i], k)) for i in (slice(half), slice(half, None)))
    negative = unit(mean_at_largest(x[half:], a[half:], k))
    lengths = (np.linalg.norm(mean_at_largest(codes, attention, k), axis=-1)
               for codes, attention in ((sampled, n[:half]), (abnormal_codes[half:], a[half:])))
    return logits, a, n, {"triplet": triplet(anchor, positive, negative, config.margin).mean(),
                          "kl": divergence(mean, log_variance), "distance": hinge(*lengths, config.distance_margin).mean()}


def mean_at_largest(x: Array, attention: Array, k: int) -> Array:
    """The mean of x over the k snippets of largest attention. x (B, T, C), attention (B, T) -> (B, C)."""
    places = np.argsort(-attention, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(x, places[..., None], axis=1).mean(1)


def divergence(mean: Array, log_variance: Array) -> Array:
    """-1/2 sum_t (1 + v - mean^2 - exp(v)) of (B, T, C), averaged over videos and channels; from N(0, 1)."""
    return (-0.5 * (1 + log_variance - mean**2 - np.exp(log_variance)).sum(1)).mean()


def losses(batch: Batch, p: Scope, config: Config) -> dict[str, Array]:
    """Training terms of (2B, T, D) or (2B, N, T, D), normal videos first: total and its eight parts."""
    items, _ = one_crop_each(batch.features)
    half, k = len(items) // 2, config.largest(items.shape[1])
    logits, a, n, terms = outputs(items, p, config)
    labels = np.repeat(np.array([0, 1], logits.dtype), half)
    terms = {"att": top_cross_entropy(logits, labels, k).mean(),
             "A": binary_cross_entropy(top_mean(a[half:], k), 1).mean(),
             "N_Aatt": binary_cross_entropy(top_mean(1 - n[half:], k), 1).mean(),
             "N": binary_cross_entropy(n[:half], 1).mean(),
             "A_N": binary_cross_entropy(a[:half], 0).mean()} | terms
    total = (terms["att"] + config.attention_weight * (terms["A"] + terms["N_Aatt"] + terms["N"] + terms["A_N"])
             + config.triplet_weight * terms["triplet"] + config.kl_weight * terms["kl"]
             + config.distance_weight * terms["distance"])
    return {"total": total} | terms


def loss_weights(config: Config) -> dict[str, float]:
    """{term: its weight in the total}, of those whose weight is not 1."""
    return dict.fromkeys(("A", "N_Aatt", "N", "A_N"), config.attention_weight) | {
        "triplet": config.triplet_weight, "kl": config.kl_weight, "distance": config.distance_weight}
