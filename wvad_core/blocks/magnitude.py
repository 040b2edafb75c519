"""Learning from feature magnitudes (robust temporal feature magnitude learning, Tian et al. 2021), in NumPy.

A network of this kind aggregates features over time, x = dropout(pyramid aggregation), and a head scores x. The
magnitude of a snippet is ||x||_2, averaged over crops; the k snippets of largest magnitude stand for a video:

    video score = mean of their scores          video feature f = mean of their x, for each crop

A selection mask, ones through dropout, multiplies the magnitudes that are ranked, and nothing else. With B normal and B
abnormal videos, of N crops each,

    magnitude = mean bce(video score, label) + 1e-4 mean (|100 - ||f_abnormal||| + ||f_normal||)^2
    smooth    = 8e-4 sum_t (s_(t+1) - s_t)^2
    sparsity  = 8e-3 ||s||_2                     total = magnitude + smooth + sparsity

The second mean is over all pairs of normal video i and abnormal video i in the same crop. s are the scores of all
abnormal videos laid end to end: the published code has a difference across each border between two videos too, and
so does this.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import configuration
from .aggregation import PYRAMID_DILATIONS, pyramid_aggregation
from .aggregation import pyramid_aggregation_parameters as pyramid_parameters
from .crops import in_blocks
from .heads import score_head, score_head_parameters
from .losses import binary_cross_entropy, smoothness
from .random import dropout
from .tensors import Array, Scope

EVALUATION_BLOCK = 4096
"""Features of D values that are aggregated at a time in evaluation, which keeps its memory flat."""


@dataclass(frozen=True)
class SelectionConfig(configuration.Config):
    """The settings of the losses: those of a method that selects snippets by their magnitudes.

    feature_dim: D of the features.
    num_segments: S of a training video; max(1, S // 10) of them stand for it.
    dropout: share that is zeroed in training, below 1.
    margin: the magnitude that abnormal features are drawn to.
    magnitude_weight, smooth_weight, sparsity_weight: of the terms.
    """

    feature_dim: int = 2048
    num_segments: int = 32
    dropout: float = 0.7
    margin: float = 100.0
    magnitude_weight: float = 1e-4
    smooth_weight: float = 8e-4
    sparsity_weight: float = 8e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        configuration.require(self.dropout < 1, "dropout", self.dropout, "a share below 1")

    @property
    def training_only(self) -> tuple[str, ...]:
        return ("num_segments", "dropout", "margin", "magnitude_weight", "smooth_weight", "sparsity_weight")

    def selected(self, steps: int) -> int:
        """k: how many of a video's snippets stand for it, at least 1 and at most all."""
        return min(max(1, self.num_segments // 10), steps)


@dataclass(frozen=True)
class MagnitudeConfig(SelectionConfig):
    """The sizes and settings of a network of this kind: those of the losses, D a multiple of 8, and those of the head.

    hidden_dims: widths of the score head's two hidden layers.
    """

    hidden_dims: tuple[int, int] = (512, 128)

    def __post_init__(self) -> None:
        super().__post_init__()
        configuration.require(self.channels % 8 == 0, "feature_dim", self.channels, "a multiple of 8")

    @property
    def channels(self) -> int:
        """How many channels what is aggregated has: the features', unless a method has them made into others first."""
        return self.feature_dim


def parameters(config: MagnitudeConfig) -> dict:
    return {"aggregate": pyramid_parameters(config.channels, PYRAMID_DILATIONS),
            "classifier": score_head_parameters(config.channels, config.hidden_dims)}


def with_crops(features: Array) -> Array:
    """(B, T, D) or (B, N, T, D) -> (B, N, T, D). Takes any framework's tensors."""
    return features if features.ndim == 4 else features.reshape((features.shape[0], 1) + features.shape[1:])


def items_at_a_time(steps: int) -> int:
    """How many crops of T snippets are computed at a time in evaluation."""
    return max(1, EVALUATION_BLOCK // steps)


def scores(clips: Array, p: Scope, config: MagnitudeConfig) -> Array:
    """Anomaly scores (B, T) of (B, N, T, D): crops averaged, one block of crops after another."""
    steps = clips.shape[2]
    of_crops = in_blocks(lambda items: branches(items, p, config)[1], clips.reshape(-1, 1, *clips.shape[2:]), 0,
                         items_at_a_time(steps))
    return of_crops.reshape(*clips.shape[:2], steps).mean(1)


def branches(clips: Array, p: Scope, config: MagnitudeConfig) -> tuple[Array, Array, Array]:
    """(B, N, T, D) -> aggregated features x (B, N, T, D), scores (B, T) and magnitudes (B, T)."""
    x = pyramid_aggregation(clips.reshape(-1, *clips.shape[2:]), p.at("aggregate")).reshape(clips.shape)
    x = dropout(x, config.dropout, p.rng)
    return x, score_head(x, p.at("classifier"), config.dropout).mean(1), np.linalg.norm(x, axis=-1).mean(1)


def losses(clips: Array, p: Scope, config: MagnitudeConfig) -> dict[str, Array]:
    """Training terms of (2B, N, T, D), normal videos first: total and its three parts, weighted."""
    terms = selection_terms(*branches(clips, p, config), p, config)
    return {"total": sum(terms.values())} | terms


def selection_terms(x: Array, s: Array, magnitudes: Array, p: Scope, config: SelectionConfig) -> dict[str, Array]:
    """The three terms, weighted, of features x (2B, N, T, D), scores and magnitudes (2B, T), normal videos first."""
    mask = dropout(np.ones_like(magnitudes), config.dropout, p.rng)
    picks = select(magnitudes * mask, config.selected(s.shape[1]))
    of_videos = np.take_along_axis(s, picks, 1).mean(1)
    selected = np.take_along_axis(x, picks[:, None, :, None], 2).mean(2)  # (2B, N, D)
    half, abnormal = len(s) // 2, s[len(s) // 2:].reshape(-1)
    labels = np.repeat(np.array([0, 1], s.dtype), half)
    return {"magnitude": binary_cross_entropy(of_videos, labels).mean() + magnitude_loss(selected, config),
            "sparsity": config.sparsity_weight * np.linalg.norm(abnormal),
            "smooth": config.smooth_weight * smoothness(abnormal)}


def select(magnitudes: Array, k: int) -> Array:
    """The places of the k largest of each video's, (B, T) -> (B, k)."""
    return np.argsort(-magnitudes, axis=1, kind="stable")[:, :k]


def magnitude_loss(selected: Array, config: SelectionConfig) -> Array:
    """The magnitude term of the videos' features (2B, N, D), normal videos first."""
    norms, half = np.linalg.norm(selected, axis=-1), len(selected) // 2
    pairs = np.abs(config.margin - norms[half:]) + norms[:half]
    return config.magnitude_weight * (pairs ** 2).mean()
