"""RTFM: robust temporal feature magnitude learning (Tian et al. 2021, arXiv:2101.10030).

The features of abnormal snippets are to be long, those of normal ones short. The features of each crop pass a pyramid
aggregation: convolutions over time of dilation 1, 2 and 4 and a non-local block, side by side, merged and added to the
input. A head of three linear layers scores the result;

    score = sigmoid(head(x)), x = dropout(aggregation(features)), averaged over crops.

Training takes the k = 3 of a video's 32 segments whose ||x|| is largest to stand for it: `wvad_core.blocks.magnitude`
has the terms. All crops of a video train together, on one selection.

Paper and code: where they differ, this follows the code. Abnormal magnitudes are drawn to 100 from both sides
rather than only pushed above it, the norm is taken of the mean of the selected features, the selection mask leaves
snippets out of the ranking at random, and the smoothness has a difference across each border between two videos.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..blocks import magnitude
from ..blocks.aggregation import pyramid_aggregation_names
from ..blocks.tensors import Parameter, Scope, flatten, published_by_module
from ..conventions import Protocol
from ..data.batches import Batch
from ..registry import Paper, Published

Array = np.ndarray


@dataclass(frozen=True)
class Config(magnitude.MagnitudeConfig):
    """The sizes and settings of RTFM: those of magnitude learning."""


PROBABILITIES = True  # the sigmoid of the classifier, trained by cross-entropy
PAPER = Paper("Weakly-supervised Video Anomaly Detection with Robust Temporal Feature Magnitude Learning", "Tian et al.",
              2021, "https://arxiv.org/abs/2101.10030",
              {"ucf-crime": {"auc": 84.30}, "shanghaitech": {"auc": 97.21}, "xd-violence": {"ap": 77.81}})
PROTOCOLS = {"": Protocol()}
# Features of 32 channels are shorter than those of 2048.
DEMO = Config(feature_dim=32, num_segments=100, hidden_dims=(32, 16), dropout=0.3, margin=10, magnitude_weight=0.01)
# The paper does not say for how many steps; 15000 are commonly given as the most that the authors' code takes.
_PUBLISHED = {"segments": 32, "videos": 32, "steps": 15000, "learning_rate": 1e-3, "weight_decay": 5e-3, "crops": "all"}
RECIPES = {"ucf-crime": _PUBLISHED, "shanghaitech": _PUBLISHED, "xd-violence": _PUBLISHED | {"metric": "ap"},
           "demo": {"segments": 100, "videos": 16, "steps": 300, "learning_rate": 2e-3, "weight_decay": 5e-3,
                    "settings": DEMO.as_dict()}}


def parameters(config: Config) -> dict[str, Parameter]:
    return flatten(magnitude.parameters(config))


def published(config: Config) -> Published:
    """The official PyTorch checkpoints: one for each of this network's tensors."""
    modules = pyramid_aggregation_names("aggregate", "Aggregate")
    modules |= {f"classifier.fc{i}": f"fc{i}" for i in (1, 2, 3)}
    return Published(published_by_module(modules, parameters(config)))


def forward(features: Array, p: Scope, config: Config) -> Array:
    """Anomaly scores: (B, T, D) or (B, N, T, D) -> (B, T), averaged over crops."""
    return magnitude.scores(clips(features, p, config), p, config)


def clips(features: Array, p: Scope, config: Config) -> Array:
    """What is aggregated over time, here the features as they are: (B, T, D) or (B, N, T, D) -> (B, N, T, D)."""
    return magnitude.with_crops(features)


def losses(batch: Batch, p: Scope, config: Config) -> dict[str, Array]:
    """Training terms of (2B, T, D) or (2B, N, T, D), normal videos first: total, magnitude, sparsity, smooth."""
    return magnitude.losses(clips(batch.features, p, config), p, config)
