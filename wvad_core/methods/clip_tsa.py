"""CLIP-TSA: temporal self-attention by a perturbed top k, on CLIP features (Joo et al. 2023, ICIP, arXiv:2212.05136).

A hard attention stands before an RTFM. A scorer gives each snippet of a crop a number; among noisy copies of these numbers
those are counted in which the snippet is among the K largest:

    a = sigmoid(linear(relu(linear(x))))                K = int(k T), at least 1 and at most T
    m[s, t] = 1 where t is among the K largest of a + sigma Z[s], else 0; of equal ones the first are in
    share_t = mean over the samples s of m[s, t]        attended features = share_t x_t

with Z standard normal; in training there are n = 100 samples of it. The attended features, all T of them, pass the pyramid
aggregation and the score head, D / 4 and D / 16 wide, score = sigmoid(head(dropout(aggregation(share x)))), averaged over
crops; `wvad_core.blocks.magnitude` has this and the terms, with k = 3 of 32 segments for a video. No term is of the shares.

The shares are constant almost everywhere. With G_t = dL/dshare_t the scorer is trained by

    dL/da_t = 1 / (n sigma) sum_s m[s, t] sum_u Z[s, u] G_u

I3D or C3D features, of D above 512, are first made 512 wide (`projection`): sigmoid(linear(relu(linear(x)))).

Scores take no noise: the shares are then the K largest themselves. `noise_samples` draws so many samples, of `noise_seed` and
the video's numbers of crops and snippets alone, so that its scores are the same in any order of videos. In scoring K is at
most 1000 for a video of one crop and with `projection`: of its other snippets nothing is left but their places.

Published weights are trained with k = 0.95 on UCF-Crime, 0.9 on XD-Violence and 0.01 on ShanghaiTech, which no tensor shows.
All layers start Xavier-uniform with zero biases, those of the projection as PyTorch's do. The authors test every 5 steps after
the first 150 and keep the best. With two GPUs their batches have half of each there, and each GPU its own statistics.

Paper and code: where they differ, this follows the code. The paper calls it self-attention, but it has no queries, keys or
values. The estimator of the gradient has the snippets the other way round, sum_s Z[s, t] sum_u m[s, u] G_u. The code draws
noise in testing too, so that its scores are random. It takes one item for a test, and that is why K is bounded for one crop,
and never for several crops of CLIP features, which it attends to together. It tells snippets apart by the order within the K
largest, and sums over it again. It fails below three snippets; here one is enough. Its widths are right only where D
divides 2048; here they are D / 4 and D / 16 of any D.
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..blocks import configuration, magnitude
from ..blocks.activations import relu, sigmoid
from ..blocks.aggregation import PYRAMID_DILATIONS, pyramid_aggregation_names, pyramid_aggregation_parameters
from ..blocks.configuration import at_least
from ..blocks.crops import in_blocks, one_crop_each
from ..blocks.heads import score_head_parameters
from ..blocks.linear import linear, linear_parameters
from ..blocks.random import noise
from ..blocks.tensors import Parameter, Scope, flatten, published_by_module
from ..conventions import Protocol
from ..data.batches import Batch
from ..registry import Paper, Published

Array = np.ndarray
MOST_ATTENDED = 1000
"""Snippets of a crop in scoring, where they are bounded."""
NOISE_BLOCK = 2**18
"""Numbers of noise that are held at a time, where a video has no more snippets."""
PROJECTION_NAMES = {"projection.fc1": "mlp.fc1", "projection.fc2": "mlp.fc2"}


@dataclass(frozen=True)
class Config(magnitude.MagnitudeConfig):
    """The sizes and settings of CLIP-TSA; those of magnitude learning too.

    hidden_dims: None for a quarter and a sixteenth of the channels.
    k: share of the snippets that are attended to.
    num_samples: n of training.
    sigma: of the noise, above 0.
    noise_samples: n of scoring; 0 for no noise.
    noise_seed: what that noise is drawn from.
    scorer_dim: width of the scorer's hidden layer.
    projection: whether features are projected first.
    projection_dims: outputs of its two layers; features are wider.
    disable_HA: whether the hard attention is left out, whose tensors stay.
    """

    feature_dim: int = 512
    hidden_dims: tuple[int, int] | None = None  # pyright: ignore[reportIncompatibleVariableOverride]
    k: float = 0.95
    num_samples: int = 100
    sigma: float = 0.05
    noise_samples: int = at_least(0, 0)
    noise_seed: int = at_least(0, 0)
    scorer_dim: int = 256
    projection: bool = False
    projection_dims: tuple[int, int] = (1024, 512)
    disable_HA: bool = False

    crops_together: ClassVar[bool] = True

    def __post_init__(self) -> None:
        configuration.Settings.__post_init__(self)
        if self.projection:
            configuration.require(self.channels % 8 == 0, "projection_dims", self.projection_dims, "a multiple of 8 at the end")
            configuration.require(self.feature_dim > self.channels, "projection", self.projection,
                                  f"false for features of {self.channels} channels and less, found D = {self.feature_dim}")
        if self.hidden_dims is None:
            object.__setattr__(self, "hidden_dims", (max(1, self.channels // 4), max(1, self.channels // 16)))
        super().__post_init__()
        configuration.require(self.sigma > 0, "sigma", self.sigma, "a number above 0")

    @property
    def channels(self) -> int:
        return self.projection_dims[1] if self.projection else self.feature_dim

    @property
    def training_only(self) -> tuple[str, ...]:
        attention = ("k", "noise_samples") if self.disable_HA else ()
        noisy = () if self.noise_samples and not self.disable_HA else ("sigma", "noise_seed")
        unused = () if self.projection else ("projection_dims",)
        return (*super().training_only, "num_samples", *attention, *noisy, *unused)

    def attended(self, steps: int) -> int:
        """K of T snippets in training. In double precision: 0.95 of 20 are 19."""
        return min(max(1, int(self.k * steps)), steps)

    def attended_in_scoring(self, crops: int, steps: int) -> int:
        return min(self.attended(steps), MOST_ATTENDED if crops == 1 or self.projection else steps)


PROBABILITIES = True  # the sigmoid of the classifier, trained by cross-entropy
PAPER = Paper("CLIP-TSA: CLIP-Assisted Temporal Self-Attention for Weakly-Supervised Video Anomaly Detection", "Joo et al.",
              2023, "https://arxiv.org/abs/2212.05136",
              {"ucf-crime": {"auc": 87.58}, "shanghaitech": {"auc": 98.32}, "xd-violence": {"ap": 82.19}})
PROTOCOLS = {"": Protocol({"noise_samples": 100}, note="noise in scoring, which the authors draw afresh each time")}
# Features of 32 channels are shorter than those of 512.
DEMO = Config(feature_dim=32, num_segments=64, hidden_dims=(32, 16), scorer_dim=32, num_samples=20, dropout=0.3, margin=10,
              magnitude_weight=0.01)
_PUBLISHED = {"segments": 32, "videos": 16, "steps": 4000, "learning_rate": 1e-3, "weight_decay": 5e-3, "crops": "all",
              "evaluate_every": 5, "evaluate_after": 150}
RECIPES = {"ucf-crime": _PUBLISHED | {"seed": 2, "settings": {"k": 0.95}},
           "xd-violence": _PUBLISHED | {"seed": 0, "metric": "ap", "settings": {"k": 0.9}},
           "shanghaitech": _PUBLISHED | {"seed": 1, "steps": 35000, "settings": {"k": 0.01}},
           "demo": {"segments": 64, "videos": 16, "steps": 150, "learning_rate": 3e-3, "weight_decay": 5e-3,
                    "settings": DEMO.as_dict()}}


def parameters(config: Config) -> dict[str, Parameter]:
    channels, hidden = config.channels, config.projection_dims[0]
    attention = {"fc1": linear_parameters(channels, config.scorer_dim, xavier=True),
                 "fc2": linear_parameters(config.scorer_dim, 1, xavier=True)}
    projection = {"fc1": linear_parameters(config.feature_dim, hidden), "fc2": linear_parameters(hidden, channels)}
    return flatten({"attention": attention, "aggregate": pyramid_aggregation_parameters(channels, PYRAMID_DILATIONS, xavier=True),
                    "classifier": score_head_parameters(channels, config.hidden_dims)}
                   | ({"projection": projection} if config.projection else {}))


def infer(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """All sizes; those of the projection where there is one."""
    scorer, channels = shapes["attention.fc1.weight"]
    made = {"feature_dim": channels, "scorer_dim": scorer,
            "hidden_dims": tuple(shapes[f"classifier.{name}.weight"][0] for name in ("fc1", "fc2"))}
    if first := shapes.get("projection.fc1.weight"):
        made |= {"feature_dim": first[1], "projection_dims": (first[0], channels)}
    return made


def published(config: Config) -> Published:
    """The official PyTorch checkpoints: one for each of this network's tensors; the projection's are always there."""
    modules = {f"attention.{name}": f"hard_attention.scorer.{name}" for name in ("fc1", "fc2")}
    modules |= pyramid_aggregation_names("aggregate", "Aggregate") | {f"classifier.fc{i}": f"fc{i}" for i in (1, 2, 3)}
    unused = frozenset(f"{theirs}.{tensor}" for theirs in PROJECTION_NAMES.values() for tensor in ("weight", "bias"))
    return Published(published_by_module(modules | PROJECTION_NAMES, parameters(config)),
                     unused=frozenset() if config.projection else unused)


def forward(features: Array, p: Scope, config: Config) -> Array:
    """Anomaly scores: (B, T, D) or (B, N, T, D) -> (B, T), averaged over crops."""
    return magnitude.scores(clips(features, p, config), p, config)


def losses(batch: Batch, p: Scope, config: Config) -> dict[str, Array]:
    """Training terms of (2B, T, D) or (2B, N, T, D), normal videos first: total, magnitude, sparsity, smooth."""
    return magnitude.losses(clips(batch.features, p, config), p, config)


def clips(features: Array, p: Scope, config: Config) -> Array:
    """The attended features: (B, T, D) or (B, N, T, D) -> (B, N, T, C)."""
    videos, crops, steps, _ = magnitude.with_crops(features).shape
    x, _ = one_crop_each(features)
    if config.projection:
        x = in_blocks(lambda items: sigmoid(two_layers(items, p.at("projection"))), x, 0, magnitude.items_at_a_time(steps))
    if not config.disable_HA:
        logits = in_blocks(lambda items: two_layers(items, p.at("attention")), x, 0, magnitude.items_at_a_time(steps))[..., 0]
        if p.training:
            z = noise((len(logits), config.num_samples, steps), logits.dtype, p.rng)
            found = shares(logits, z, config.attended(steps), config)
        else:
            found = shares_in_scoring(logits.reshape(videos, crops, steps), config).reshape(logits.shape)
        x = x * found[..., None]
    return x.reshape(videos, crops, steps, -1)


def two_layers(x: Array, p: Scope) -> Array:
    """linear(relu(linear(x))): the logits of the scorer, and of the projection."""
    return linear(relu(linear(x, **p.at("fc1"))), **p.at("fc2"))


def shares(logits: Array, z: Array, k: int, config: Config) -> Array:
    """The share of the samples z (I, n, T) in which a snippet is among the K largest. logits (I, T) -> (I, T)."""
    return largest(perturbed(logits, z, config), k).mean(1, dtype=logits.dtype)


def shares_in_scoring(logits: Array, config: Config) -> Array:
    """The shares of crops (B, N, T), with the noise of `noise_blocks`; without noise the K largest."""
    crops, steps = logits.shape[1:]
    k = config.attended_in_scoring(crops, steps)
    if not config.noise_samples:
        return largest(logits, k).astype(logits.dtype)
    counts = sum(largest(perturbed(logits, z, config), k).sum(1) for z in noise_blocks(config, crops, steps))
    return (counts / config.noise_samples).astype(logits.dtype)


def perturbed(logits: Array, z: Array, config: Config) -> Array:
    """What is ranked with noise z (I, n, T), or (n, N, T) of crops: a + sigma z of logits (I, T) or (B, N, T).

    Where all noise is 0 it is the logits: they have a's order, but in float32 a is 1 for all above 17.
    """
    return np.where(np.any(z), sigmoid(logits)[:, None] + config.sigma * z, logits[:, None])


def noise_blocks(config: Config, crops: int, steps: int) -> Iterator[Array]:
    """The noise of scoring, of some samples at a time: float32 (some, N, T) until there are `noise_samples`.

    All videos with as many crops and snippets have the same. Its size grows with T alone, and not with n.
    """
    rng, size = np.random.default_rng([config.noise_seed, crops, steps]), max(1, NOISE_BLOCK // (crops * steps))
    for start in range(0, config.noise_samples, size):
        yield rng.standard_normal((min(size, config.noise_samples - start), crops, steps), np.float32)


def largest(values: Array, k: int) -> Array:
    """Which of (..., T) are the K largest: of equal ones the first. (..., T) bool."""
    order = np.argsort(-values, axis=-1, kind="stable")
    found = np.zeros(values.shape, bool)
    np.put_along_axis(found, order[..., :k], True, -1)
    return found
