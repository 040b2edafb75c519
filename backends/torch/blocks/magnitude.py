"""The networks of `wvad_core.blocks.magnitude` in PyTorch."""
from __future__ import annotations

import torch
from torch import Tensor
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
        self.dropout = Dropout(p=config.dropout)

    def clips(self, features: Tensor) -> Tensor:
        raise NotImplementedError

    def item_scores(self, items: Tensor) -> Tensor:
        """Scores (B, T) of crops on their own, (B, T, D)."""
        return self.classifier(self.dropout(self.aggregate(items)))

    def forward(self, features: Tensor) -> Tensor:
        """Anomaly scores (B, T), averaged over crops."""
        items, crops = one_crop_each(self.clips(features))
        size = len(items) if self.training else magnitude.items_at_a_time(items.shape[1])
        return in_blocks(self.item_scores, items, 0, size).view(-1, crops, items.shape[1]).mean(1)

    def branches(self, clips: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, N, T, D) -> aggregated features x (B, N, T, D), scores (B, T) and magnitudes (B, T)."""
        items, _ = one_crop_each(clips)
        x = self.dropout(self.aggregate(items)).view(clips.shape)
        return x, self.classifier(x).mean(1), x.norm(dim=-1).mean(1)

    def terms(self, features: Tensor) -> dict[str, Tensor]:
        terms = self.selection_terms(*self.branches(self.clips(features)))
        return {"total": terms["magnitude"] + terms["sparsity"] + terms["smooth"]} | terms

    def selection_terms(self, x: Tensor, scores: Tensor, magnitudes: Tensor) -> dict[str, Tensor]:
        """The three terms, weighted, of features x (2B, N, T, D), scores and magnitudes (2B, T), normal videos first."""
        config = self.config
        picks = select(magnitudes * self.dropout(torch.ones_like(magnitudes)), config.selected(scores.shape[1]))
        selected = x.transpose(1, 2)[torch.arange(len(x), device=x.device)[:, None], picks].mean(1)  # (2B, N, D)
        of_videos, selected, scores = (gathered(y) for y in (scores.gather(1, picks).mean(1), selected, scores))
        half, abnormal = len(scores) // 2, scores[len(scores) // 2:].flatten()
        labels = (torch.arange(len(scores), device=x.device) >= half).to(scores.dtype)
        return {"magnitude": binary_cross_entropy(of_videos, labels).mean() + magnitude_loss(selected, config),
                "sparsity": config.sparsity_weight * abnormal.norm(),
                "smooth": config.smooth_weight * smoothness(abnormal)}


def select(magnitudes: Tensor, k: int) -> Tensor:
    """The places of the k largest of each video's, (B, T) -> (B, k)."""
    return magnitudes.topk(k, dim=1).indices


def magnitude_loss(selected: Tensor, config: SelectionConfig) -> Tensor:
    """The magnitude term of the videos' features (2B, N, D), normal videos first."""
    norms, half = selected.norm(dim=-1), len(selected) // 2
    pairs = (config.margin - norms[half:]).abs() + norms[:half]
    return config.magnitude_weight * pairs.square().mean()
