"""S3R in MindSpore. The formulas are in `wvad_core.methods.s3r` and `wvad_core.blocks.magnitude`."""
from __future__ import annotations

import numpy as np

from mindspore import Parameter, Tensor, nn, ops
from wvad_core.blocks.crops import one_crop_each
from wvad_core.blocks.magnitude import with_crops
from wvad_core.methods.s3r import Config

from ..blocks.aggregation import PyramidAggregation
from ..blocks.heads import ScoreHead
from ..blocks.linear import Linear, linear
from ..blocks.losses import binary_cross_entropy
from ..blocks.magnitude import MagnitudeNetwork
from ..blocks.random import Dropout
from ..parallel import gathered


class Gate(nn.Cell):
    """w of the difference of two means. (..., D) -> (..., D)."""

    def __init__(self, channels: int):
        super().__init__()
        self.fc1, self.fc2 = Linear(channels, channels // 16), Linear(channels // 16, channels)

    def construct(self, apart: Tensor) -> Tensor:
        return ops.sigmoid(self.fc2(ops.relu(self.fc1(apart))))


class Network(MagnitudeNetwork):
    def build_layers(self, config: Config) -> None:
        dim = config.feature_dim
        self.aggregate = PyramidAggregation(dim, config.norm_groups)
        self.normal_aggregate = PyramidAggregation(dim, config.norm_groups)
        self.classifier = ScoreHead(dim, config.hidden_dims, config.dropout)
        self.normal_classifier = ScoreHead(dim, config.hidden_dims, config.dropout)
        self.query, self.key, self.value = Linear(dim, dim // 4), Linear(dim, dim // 4), Linear(dim, dim)
        self.gate, self.dropout = Gate(dim), Dropout(config.dropout)
        self.dictionary = Parameter(Tensor(np.zeros((config.atoms, dim), np.float32)), requires_grad=False)
        self.softmax = ops.Softmax(-1)

    def clips(self, features: Tensor) -> Tensor:
        """(B, T, D) or (B, N, T, D) -> (B, N, T, D), the features as they are."""
        return with_crops(features)

    def item_scores(self, items: Tensor) -> Tensor:
        return self.classifier(self.separated(items)[0])

    def terms(self, features: Tensor) -> dict[str, Tensor]:
        v, scores, magnitudes, macro = self.branches(self.clips(features))
        macro = gathered(macro)
        terms = self.selection_terms(v, scores, magnitudes)
        terms["macro"] = self.config.macro_weight * binary_cross_entropy(macro, ops.zeros_like(macro)).mean()
        terms["total"] = terms["magnitude"] + terms["sparsity"] + terms["smooth"] + terms["macro"]
        return terms

    def branches(self, clips: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(B, N, T, D) -> v (B, N, T, D), scores and magnitudes (B, T), macro scores (B,)."""
        v, n = self.separated(one_crop_each(clips)[0])
        v, macro = v.reshape(clips.shape), self.normal_classifier(n.mean(1)).reshape(clips.shape[:2]).mean(1)
        return v, self.classifier(v).mean(1), ops.norm(v, dim=-1).mean(1), macro

    def separated(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """v and n of crops on their own, (B, T, D) -> (B, T, D) each."""
        reconstruction = linear(self.attention(items), self.value(self.dictionary).transpose(1, 0))
        v, n = self.dropout(self.aggregate(items)), self.dropout(self.normal_aggregate(reconstruction))
        w = self.gate(v.mean(1, True) - n.mean(1, True))
        return w * v, (1 - w) * n

    def attention(self, items: Tensor) -> Tensor:
        """How much of each atom a snippet's reconstruction has: (B, T, D) -> (B, T, atoms)."""
        logits = linear(self.query(items), self.key(self.dictionary))
        return ops.ones_like(logits) if self.config.atoms == 1 else self.softmax(logits)
