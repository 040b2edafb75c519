"""The networks of `wvad_core.blocks.magnitude` in MindSpore."""
from __future__ import annotations

import numpy as np

import mindspore as ms
from mindspore import Tensor, ops
from wvad_core.blocks import magnitude
from wvad_core.blocks.crops import one_crop_each
from wvad_core.blocks.magnitude import MagnitudeConfig, SelectionConfig

from ..network import VideoNetwork
from ..parallel import gathered
from .aggregation import PyramidAggregation
from .crops import in_blocks
from .heads import ScoreHead
from .losses import binary_cross_entropy, smoothness
from .random import Dropout


class MagnitudeNetwork(VideoNetwork):
    """Base of the networks that learn from feature magnitudes.

    A method adds `clips(features)`: what is aggregated over time, (B, N, T, D).
    """

    def build_layers(self, config: MagnitudeConfig) -> None:
        self.aggregate = PyramidAggregation(config.channels)
        self.classifier = ScoreHead(config.channels, config.hidden_dims, config.dropout)
        self.dropout = Dropout(config.dropout)

    def clips(self, features: Tensor) -> Tensor:
        raise NotImplementedError

    def item_scores(self, items: Tensor) -> Tensor:
        """Scores (B, T) of crops on their own, (B, T, D)."""
        return self.classifier(self.dropout(self.aggregate(items)))

    def construct(self, features: Tensor) -> Tensor:
        """Anomaly scores (B, T), averaged over crops."""
        items, crops = one_crop_each(self.clips(features))
        count, steps = items.shape[:2]
        size = count if self.training else magnitude.items_at_a_time(steps)
        return in_blocks(self.item_scores, items, 0, size).reshape(-1, crops, steps).mean(1)

    def branches(self, clips: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, N, T, D) -> aggregated features x (B, N, T, D), scores (B, T) and magnitudes (B, T)."""
        items, _ = one_crop_each(clips)
        x = self.dropout(self.aggregate(items)).reshape(clips.shape)
        return x, self.classifier(x).mean(1), ops.norm(x, dim=-1).mean(1)

    def terms(self, features: Tensor) -> dict[str, Tensor]:
        x, scores, magnitudes = self.branches(self.clips(features))
        terms = self.selection_terms(x, scores, magnitudes)
        terms["total"] = terms["magnitude"] + terms["sparsity"] + terms["smooth"]
        return terms

    def selection_terms(self, x: Tensor, scores: Tensor, magnitudes: Tensor) -> dict[str, Tensor]:
        """The three terms, weighted, of features x (2B, N, T, D), scores and magnitudes (2B, T), normal videos first."""
        config = self.config
        mask = self.dropout(ops.ones_like(magnitudes))
        picks = select(ops.stop_gradient(magnitudes) * mask, config.selected(scores.shape[1]))
        of_videos, selected = gathered(ops.gather_elements(scores, 1, picks).mean(1)), gathered(_mean_at(x, picks))
        scores = gathered(scores)
        half, abnormal = scores.shape[0] // 2, scores[scores.shape[0] // 2:].reshape(1, -1)
        labels = (ops.arange(scores.shape[0]) >= half).astype(scores.dtype)
        return {"magnitude": binary_cross_entropy(of_videos, labels).mean() + magnitude_loss(selected, config),
                "sparsity": config.sparsity_weight * ops.norm(abnormal),
                "smooth": config.smooth_weight * smoothness(abnormal)[0]}


def _mean_at(x: Tensor, picks: Tensor) -> Tensor:
    """The mean of x (B, N, T, D) over the picked snippets (B, k) of each video: (B, N, D)."""
    videos, crops, steps, dim = x.shape
    places = _starts(videos, crops, steps) + picks.astype(ms.int32).reshape(videos, 1, -1)
    return ops.gather(x.reshape(-1, dim), places.reshape(-1), 0).reshape(videos, crops, -1, dim).mean(2)


@ms.constexpr
def _starts(videos: int, crops: int, steps: int) -> Tensor:
    """The row at which each crop of each video begins, (B, N, 1)."""
    return Tensor((steps * np.arange(videos * crops)).reshape(videos, crops, 1).astype(np.int32))


def select(magnitudes: Tensor, k: int) -> Tensor:
    """The places of the k largest of each video's, (B, T) -> (B, k)."""
    return ops.topk(magnitudes, k)[1]


def magnitude_loss(selected: Tensor, config: SelectionConfig) -> Tensor:
    """The magnitude term of the videos' features (2B, N, D), normal videos first."""
    norms, half = ops.norm(selected, dim=-1), selected.shape[0] // 2
    pairs = ops.abs(config.margin - norms[half:]) + norms[:half]
    return config.magnitude_weight * ops.square(pairs).mean()
