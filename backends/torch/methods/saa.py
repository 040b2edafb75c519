"""SAA in PyTorch. The formulas are in `wvad_core.methods.saa`."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from wvad_core.blocks.crops import one_crop_each
from wvad_core.data.batches import Batch
from wvad_core.methods.saa import Config, memory

from ..blocks.aggregation import PyramidAggregation
from ..blocks.convolution import Conv1d
from ..blocks.heads import ScoreHead
from ..blocks.losses import binary_cross_entropy, masked_top_mean, smoothness
from ..blocks.random import Dropout
from ..network import VideoNetwork
from ..parallel import gathered


class Attention(nn.Module):
    """Three convolutions: features (B, T, D) -> anomalous attention (B, T)."""

    def __init__(self, config: Config):
        super().__init__()
        self.conv1 = Conv1d(config.feature_dim, config.attention_dim, 3)
        self.conv2 = Conv1d(config.attention_dim, config.attention_dim, 3)
        self.conv3 = Conv1d(config.attention_dim, 1, 1)
        self.slope, self.dropout = config.leaky_slope, Dropout(p=config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.dropout(F.leaky_relu(self.conv1(x), self.slope))
        x = F.leaky_relu(self.conv2(x), self.slope)
        return torch.sigmoid(self.dropout(self.conv3(x))).squeeze(-1)


class Network(VideoNetwork):
    """`memory` counts the steps of training: every call of `losses` is one."""

    extras = ("warming_up",)

    def build_layers(self, config: Config) -> None:
        self.memory = memory(config)
        self.aggregate = PyramidAggregation(config.feature_dim)
        self.attention = Attention(config)
        self.classifier = ScoreHead(config.feature_dim, config.hidden_dims, config.dropout)
        self.dropout = Dropout(p=config.dropout)

    def branches(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Attention and raw scores, (B, T) each, of (B, T, D)."""
        x = self.aggregate(features)
        return self.attention(x), self.classifier(self.dropout(x))

    def forward(self, features: Tensor) -> Tensor:
        """Anomaly scores: (B, T, D) or (B, N, T, D) -> (B, T)."""
        items, crops = one_crop_each(features)
        attention, raw = self.branches(items)
        return (attention * raw).view(-1, crops, items.shape[1]).mean(1)

    def extra(self, batch: Batch, name: str) -> Tensor | None:
        """`warming_up`: whether S guides the attention in this step, 0-d; counts the step."""
        if name != "warming_up":
            return super().extra(batch, name)
        return torch.tensor(self.memory.step() < self.config.guide_steps, device=next(self.parameters()).device)

    def terms(self, features: Tensor, warming_up: Tensor) -> dict[str, Tensor]:
        config, (items, _) = self.config, one_crop_each(features)
        attention, raw = (gathered(x) for x in self.branches(items))
        attended, half = attention * raw, len(raw) // 2
        target = torch.where(warming_up, raw.detach(), (raw > config.guide_threshold).to(raw.dtype))
        target = torch.cat([torch.zeros_like(target[:half]), target[half:]])
        a, s, s_a = attention[half:], raw[half:], attended[half:]
        terms = {"classification": self.classification(attention, raw, attended),
                 "guide": (attention - target).square().mean(),
                 "norm": a.abs().mean(),
                 "smooth": (smoothness(s) + smoothness(s_a)).mean(),
                 "sparse": s.mean() + s_a.mean()}
        total = (terms["classification"] + terms["guide"] + config.norm_weight * terms["norm"]
                 + config.smooth_weight * terms["smooth"] + config.sparse_weight * terms["sparse"])
        return {"total": total} | terms

    def classification(self, attention: Tensor, raw: Tensor, attended: Tensor) -> Tensor:
        """Cross entropy of the four branches' video scores against the labels, averaged over videos."""
        config, k = self.config, raw.shape[1] // self.config.k + 1
        labels = (torch.arange(len(raw), device=raw.device) >= len(raw) // 2).to(raw.dtype)
        low, high = attention.detach().aminmax(dim=1, keepdim=True)
        remaining = attention < low + config.suppression * (high - low)
        plain, suppressed = config.branch_weights
        loss = 0.0
        for scores in (raw, attended):
            for mask, weight in ((torch.ones_like(remaining), plain), (remaining, suppressed)):
                of_video = binary_cross_entropy(masked_top_mean(scores, mask, k), labels)
                loss = loss + weight * torch.where(mask.any(1), of_video, 0).mean()
        return loss
