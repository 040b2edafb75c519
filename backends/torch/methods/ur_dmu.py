"""UR-DMU in PyTorch. The formulas are in `wvad_core.methods.ur_dmu`."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wvad_core.layers import one_crop_each
from wvad_core.methods.ur_dmu import Config

from ..attention import Transformer
from ..layers import Conv1d, Linear, Noise
from ..losses import hinge, top_cross_entropy, top_mean, triplet
from ..network import VideoNetwork


class Memory(nn.Module):
    """a = sigmoid(x M^T / sqrt(C)) and the augmentation a M. x (B, T, C) -> (B, T, S), (B, T, C)."""

    def __init__(self, slots: int, channels: int):
        super().__init__()
        self.slots = Linear(channels, slots, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        weights = torch.sigmoid(self.slots(x) * x.shape[-1] ** -0.5)
        return weights, weights @ self.slots.weight


class Classifier(nn.Module):
    """Logits of the scores, from the embedding and the codes, (B, T, C) each -> (B, T)."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.fc1, self.fc2 = Linear(2 * channels, hidden), Linear(hidden, 1)

    def forward(self, x: Tensor, codes: Tensor) -> Tensor:
        return self.fc2(F.relu(self.fc1(torch.cat([x, codes], dim=-1)))).squeeze(-1)


class Network(VideoNetwork):
    def __init__(self, config: Config):
        super().__init__(config)
        channels = config.channels
        self.embedding = Conv1d(config.feature_dim, channels, 3)
        self.transformer = Transformer(channels, config.depth, config.heads, config.head_dim, config.feed_forward_dim,
                                       config.dropout)
        self.abnormal_memory = Memory(config.abnormal_memory, channels)
        self.normal_memory = Memory(config.normal_memory, channels)
        self.mean, self.log_variance, self.noise = Linear(channels, channels), Linear(channels, channels), Noise()
        self.classifier = Classifier(channels, config.hidden_dim)

    def embed(self, features: Tensor) -> Tensor:
        """Features (B, T, D) -> x (B, T, C)."""
        return self.transformer(F.relu(self.embedding(features)))

    def forward(self, features: Tensor) -> Tensor:
        """Anomaly scores: (B, T, D) or (B, N, T, D) -> (B, T)."""
        items, crops = one_crop_each(features)
        x = self.embed(items)
        codes = self.mean(self.abnormal_memory(x)[1]) + self.mean(self.normal_memory(x)[1])
        logits = self.classifier(x, codes).to(self.mean.weight.dtype)  # in bf16 all scores above 0.998 are 1
        return torch.sigmoid(logits).view(-1, crops, items.shape[1]).mean(1)

    def outputs(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """Logits of the scores, attentions A and N, (2B, T) each, and the terms triplet, kl and distance of (2B, T, D)."""
        config, half, k = self.config, len(features) // 2, self.config.largest(features.shape[1])
        x = self.embed(features)
        a, abnormal_read = self.abnormal_memory(x)
        n, normal_read = self.normal_memory(x)
        a, n = top_mean(a, config.largest(config.abnormal_memory)), top_mean(n, config.largest(config.normal_memory))
        abnormal_codes, normal_codes = self.mean(abnormal_read), self.mean(normal_read)
        mean, log_variance = normal_codes[:half], self.log_variance(normal_read[:half])
        sampled = mean + self.noise(mean) * torch.exp(0.5 * log_variance)
        logits = self.classifier(x, abnormal_codes + torch.cat([sampled, normal_codes[half:]]))
        anchor = mean_at_largest(x[:half], n[:half], k)
        positive, negative = mean_at_largest(x[half:], n[half:], k), mean_at_largest(x[half:], a[half:], k)
        normal_length = mean_at_largest(sampled, n[:half], k).norm(dim=-1)
        abnormal_length = mean_at_largest(abnormal_codes[half:], a[half:], k).norm(dim=-1)
        terms = {"triplet": triplet(unit(anchor), unit(positive), unit(negative), config.margin).mean(),
                 "kl": divergence(mean, log_variance),
                 "distance": hinge(normal_length, abnormal_length, config.distance_margin).mean()}
        return logits, a, n, terms

    def terms(self, features: Tensor) -> dict[str, Tensor]:
        config, (items, _) = self.config, one_crop_each(features)
        half, k = len(items) // 2, config.largest(items.shape[1])
        logits, a, n, terms = self.outputs(items)
        labels = (torch.arange(2 * half, device=logits.device) >= half).to(logits.dtype)
        one, none = torch.ones_like(a[:half]), torch.zeros_like(a[:half])
        terms = {"att": top_cross_entropy(logits, labels, k).mean(),
                 "A": F.binary_cross_entropy(top_mean(a[half:], k), one[:, 0]),
                 "N_Aatt": F.binary_cross_entropy(top_mean(1 - n[half:], k), one[:, 0]),
                 "N": F.binary_cross_entropy(n[:half], one),
                 "A_N": F.binary_cross_entropy(a[:half], none)} | terms
        total = (terms["att"] + config.attention_weight * (terms["A"] + terms["N_Aatt"] + terms["N"] + terms["A_N"])
                 + config.triplet_weight * terms["triplet"] + config.kl_weight * terms["kl"]
                 + config.distance_weight * terms["distance"])
        return {"total": total} | terms


def mean_at_largest(x: Tensor, attention: Tensor, k: int) -> Tensor:
    """The mean of x over the k snippets of largest attention. x (B, T, C), attention (B, T) -> (B, C)."""
    places = attention.topk(k, dim=1).indices
    return x.gather(1, places[..., None].expand(-1, -1, x.shape[-1])).mean(1)


def unit(x: Tensor) -> Tensor:
    """x / max(||x||, 1e-12) over the last axis."""
    return F.normalize(x, dim=-1)


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """-1/2 sum_t (1 + v - mean^2 - exp(v)) of (B, T, C), averaged over videos and channels."""
    return (-0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(1)).mean()
