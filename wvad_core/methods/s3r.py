"""S3R: self-supervised sparse representation (Wu et al. 2022, ECCV), in its weakly supervised setting.

What is normal is written in the words of a dictionary M, which a dataset brings: `atoms` rows of D, made of its normal
training videos (`wvad dictionary`). For each crop of a video, features x (T, D),

    en-Normal    R = softmax(query(x) key(M)^T) value(M)         three linear layers; the softmax over atoms, not scaled
    aggregation  v = dropout(aggregate(x)), n = dropout(normal_aggregate(R))
    de-Normal    w = sigmoid(fc2(relu(fc1(mean_t v - mean_t n))))                           (D,), the same for all snippets
                 v <- w v, n <- (1 - w) n
    score        sigmoid(head(v)), averaged over crops

The aggregations are pyramids whose convolutions have a GroupNorm of 8 groups before their ReLU
(`wvad_core.blocks.aggregation`); the heads' hidden layers are D / 4 and D / 16 wide. Training is that of feature
magnitudes, on v (`wvad_core.blocks.magnitude`), and one term more: the macro score of a video, sigmoid(normal_head(mean_t n))
averaged over crops, is to be 0, for abnormal videos too:

    macro = mean bce(macro score, 0)            total = magnitude + smooth + sparsity + macro

Segments of training videos are interpolated, not averaged. The dictionary is a tensor of the detector that no gradient moves
and no weight decay: saved with the others, its first value the companion `dictionary` of the training set. A published
checkpoint lacks it, for the published network takes it as an input: it comes beside, as the published .npy file.

Paper and code: where they differ, this follows the code. The hard shrinkage of the attention is left out (its threshold is 0
there), magnitudes are taken behind de-Normal, and the rest is as `wvad_core.blocks.magnitude` has it. The published forward
picks 3 snippets when it scores too, and fails for fewer; scores do not need it. The published weights are those of the best
of all tests on the test set, one after every step from 5000 (ShanghaiTech) or 10 (UCF-Crime) on.
"""
from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..blocks import configuration, magnitude
from ..blocks.activations import relu, sigmoid, softmax
from ..blocks.aggregation import PYRAMID_DILATIONS, pyramid_aggregation, pyramid_aggregation_names
from ..blocks.aggregation import pyramid_aggregation_parameters as pyramid_parameters
from ..blocks.crops import in_blocks, one_crop_each
from ..blocks.heads import score_head, score_head_parameters
from ..blocks.linear import linear, linear_parameters
from ..blocks.losses import binary_cross_entropy
from ..blocks.random import dropout
from ..blocks.tensors import Parameter, Scope, flatten, published_by_module
from ..conventions import Protocol
from ..data.batches import Batch
from ..registry import Paper, Published

Array = np.ndarray
DICTIONARY = "dictionary"
UNUSED = frozenset(f"{branch}_projection.{tensor}" for branch in ("video", "macro")
                   for tensor in ("0.weight", "0.bias", "1.weight", "1.bias"))


@dataclass(frozen=True)
class Config(magnitude.SelectionConfig):
    """The sizes and settings of S3R; those of learning from magnitudes too.

    feature_dim: a multiple of 4 `norm_groups` and of 16: of 32.
    atoms: rows of the dictionary.
    norm_groups: of channels, in every GroupNorm.
    macro_weight: of the macro term.
    """

    atoms: int = 400
    norm_groups: int = 8
    macro_weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        least = math.lcm(16, 4 * self.norm_groups)
        configuration.require(self.feature_dim % least == 0, "feature_dim", self.feature_dim, f"a multiple of {least}")

    @property
    def hidden_dims(self) -> tuple[int, int]:
        """Widths of the heads' hidden layers."""
        return self.feature_dim // 4, self.feature_dim // 16

    @property
    def training_only(self) -> tuple[str, ...]:
        return *super().training_only, "macro_weight"


PROTOCOLS = {"": Protocol()}
PROBABILITIES = True  # the sigmoid of the classifier, trained by cross-entropy
COMPANIONS = (DICTIONARY,)
PAPER = Paper("Self-supervised Sparse Representation for Video Anomaly Detection", "Wu et al.", 2022,
              "https://github.com/louisYen/S3R",
              {"ucf-crime": {"auc": 85.99}, "shanghaitech": {"auc": 97.48}, "xd-violence": {"ap": 80.26}})
# Features of 32 channels are shorter than those of 2048. Groups of one channel would take its level from every video, and what
# an abnormal video's normal snippets then look like tells it as well as its abnormal ones: so one group, and sparse scores.
DEMO = Config(feature_dim=32, num_segments=100, dropout=0.1, margin=10, magnitude_weight=0.01, sparsity_weight=0.1, atoms=20,
              norm_groups=1)
# Tested after every step from `evaluate_after` on; the best weights were those after 2935 and 8645.
_PUBLISHED = {"segments": 32, "sampling": "resized", "videos": 32, "steps": 15000, "learning_rate": 1e-3, "weight_decay": 5e-3,
              "crops": "all", "evaluate_every": 1}
RECIPES = {"ucf-crime": _PUBLISHED | {"seed": 49, "evaluate_after": 10},
           "shanghaitech": _PUBLISHED | {"seed": 823, "evaluate_after": 5000, "settings": {"atoms": 158}},
           "demo": {"segments": 100, "sampling": "resized", "videos": 16, "steps": 200, "learning_rate": 5e-3, "weight_decay": 5e-3,
                    "evaluate_every": 25, "seed": 20, "settings": DEMO.as_dict()}}


def parameters(config: Config) -> dict[str, Parameter]:
    dim, quarter = config.feature_dim, config.feature_dim // 4
    aggregation = pyramid_parameters(dim, PYRAMID_DILATIONS, config.norm_groups, xavier=True)
    head = score_head_parameters(dim, config.hidden_dims)
    gate = {"fc1": linear_parameters(dim, dim // 16, xavier=True), "fc2": linear_parameters(dim // 16, dim, xavier=True)}
    return flatten({"aggregate": aggregation, "classifier": head, "normal_aggregate": aggregation, "normal_classifier": head,
                    "query": linear_parameters(dim, quarter, xavier=True), "key": linear_parameters(dim, quarter, xavier=True),
                    "value": linear_parameters(dim, dim, xavier=True), "gate": gate,
                    DICTIONARY: Parameter((config.atoms, dim), bound=1, trained=False)})


def published(config: Config) -> Published:
    """The official PyTorch checkpoints: each lacks `dictionary`, and has two projections that its network does not use."""
    modules = {f"classifier.fc{i}": f"video_classifier.{place}" for i, place in ((1, 0), (2, 3), (3, 6))}
    modules |= {f"normal_classifier.fc{i}": f"macro_classifier.mlp.{place}" for i, place in ((1, 0), (2, 3), (3, 6))}
    for ours, theirs in (("aggregate", "video_embedding.0"), ("normal_aggregate", "macro_embedding.0")):
        modules |= pyramid_aggregation_names(ours, theirs, 1, ("value", "query", "key", "alter"))
    modules |= {name: f"en_normal.en_normal_module.{other}_embedding" for name, other in
                (("query", "query"), ("key", "cache"), ("value", "value"))}
    modules |= {f"gate.fc{i}": f"de_normal.channel_attention.channel_gate.mlp.{place}" for i, place in ((1, 1), (2, 3))}
    tensors = [name for name in parameters(config) if name != DICTIONARY]
    return Published(published_by_module(modules, tensors) | {DICTIONARY: DICTIONARY}, unused=UNUSED)


def forward(features: Array, p: Scope, config: Config) -> Array:
    """Anomaly scores: (B, T, D) or (B, N, T, D) -> (B, T), averaged over crops."""
    items, crops = one_crop_each(features)
    steps = items.shape[1]
    of_crops = in_blocks(lambda block: score_head(separated(block, p, config)[0], p.at("classifier"), config.dropout), items, 0,
                         magnitude.items_at_a_time(steps))
    return of_crops.reshape(-1, crops, steps).mean(1)


def losses(batch: Batch, p: Scope, config: Config) -> dict[str, Array]:
    """Training terms of (2B, T, D) or (2B, N, T, D), normal videos first: total, magnitude, sparsity, smooth, macro."""
    x, scores, magnitudes, macro = branches(magnitude.with_crops(batch.features), p, config)
    terms = magnitude.selection_terms(x, scores, magnitudes, p, config)
    terms["macro"] = config.macro_weight * binary_cross_entropy(macro, np.zeros_like(macro)).mean()
    return {"total": sum(terms.values())} | terms


def branches(features: Array, p: Scope, config: Config) -> tuple[Array, Array, Array, Array]:
    """(B, N, T, D) -> v (B, N, T, D), scores and magnitudes (B, T), macro scores (B,)."""
    v, n = separated(one_crop_each(features)[0], p, config)
    v = v.reshape(features.shape)
    scores = score_head(v, p.at("classifier"), config.dropout).mean(1)
    macro = score_head(n.mean(1), p.at("normal_classifier"), config.dropout).reshape(features.shape[:2]).mean(1)
    return v, scores, np.linalg.norm(v, axis=-1).mean(1), macro


def separated(items: Array, p: Scope, config: Config) -> tuple[Array, Array]:
    """v and n of crops on their own, (B, T, D) -> (B, T, D) each."""
    reconstruction = attention(items, p) @ linear(p[DICTIONARY].astype(items.dtype), **p.at("value"))
    v = dropout(pyramid_aggregation(items, p.at("aggregate"), config.norm_groups), config.dropout, p.rng)
    n = dropout(pyramid_aggregation(reconstruction, p.at("normal_aggregate"), config.norm_groups), config.dropout, p.rng)
    apart, gate = v.mean(1, keepdims=True) - n.mean(1, keepdims=True), p.at("gate")
    w = sigmoid(linear(relu(linear(apart, **gate.at("fc1"))), **gate.at("fc2")))
    return w * v, (1 - w) * n


def attention(items: Array, p: Scope) -> Array:
    """How much of each atom a snippet's reconstruction has: (B, T, D) -> (B, T, atoms)."""
    key = linear(p[DICTIONARY].astype(items.dtype), **p.at("key"))
    return softmax(linear(items, **p.at("query")) @ key.T)
