"""UR-DMU in PyTorch. The formulas are in `wvad_core.methods.ur_dmu`."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from wvad_core.blocks.crops import one_crop_each
from wvad_core.methods.ur_dmu import Config

from ..blocks.convolution import Conv1d
from ..blocks.linear import Linear
from ..blocks.losses import binary_cross_entropy, hinge, top_cross_entropy, top_mean, triplet
from ..blocks.normalisation import unit
from ..blocks.random import Noise
from ..blocks.transformer import Transformer
from ..network import VideoNetwork
from ..parallel import gathered


class Memory(nn.Module):
    """a = sigmoid(x M^T / sqrt(C)), x (B, T, C) -> (B, T, S), of which `encoded` makes codes."""

    def __init__(self, slots: int, channels: int):
        super().__init__()
        self.slots = Linear(channels, slots, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.slots(x) * x.shape[-1] ** -0.5)

    def encoded(self, weights: Tensor, encoder: Linear) -> Tensor:
        """The codes of the augmentation a M, (B, T, C): a (M W^T) + b, for there are fewer slots than snippets."""
        return F.linear(weights, encoder.weight @ self.slots.weight.t(), encoder.bias)


class Classifier(nn.Module):
    """Logits of the scores, from the embedding and the codes, (B, T, C) each -> (B, T)."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.fc1, self.fc2 = Linear(2 * channels, hidden), Linear(hidden, 1)

    def forward(self, x: Tensor, codes: Tensor) -> Tensor:
        return self.fc2(F.relu(self.fc1(torch.cat([x, codes], dim=-1)))).squeeze(-1)


class Network(VideoNetwork):
    def build_layers(self, config: Config) -> None:
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
        codes = sum(memory.encoded(memory(x), self.mean) for memory in (self.abnormal_memory, self.normal_memory))
        logits = self.classifier(x, codes).to(self.mean.weight.dtype)  # in bf16 all scores above 0.998 are 1
        return torch.sigmoid(logits).view(-1, crops, items.shape[1]).mean(1)

    def outputs(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """Logits of the scores, attentions A and N, (2B, T) each, and triplet, kl and distance, (B,) each, of (2B, T, D)."""
        config, half, k = self.config, len(features) // 2, self.config.largest(features.shape[1])
        x = self.embed(features)
        a, n = self.abnormal_memory(x), self.normal_memory(x)
        abnormal_codes, normal_codes = self.abnormal_memory.encoded(a, self.mean), self.normal_memory.encoded(n, self.mean)
        mean, log_variance = normal_codes[:half], self.normal_memory.encoded(n[:half], self.log_variance)
        a, n = top_mean(a, config.largest(config.abnormal_memory)), top_mean(n, config.largest(config.normal_memory))
        sampled = mean + self.noise(mean) * torch.exp(0.5 * log_variance)
        logits = self.classifier(x, abnormal_codes + torch.cat([sampled, normal_codes[half:]]))
        anchor = mean_at_largest(x[:half], n[:half], k)
        positive, negative = mean_at_largest(x[half:], n[half:], k), mean_at_largest(x[half:], a[half:], k)
        normal_length = mean_at_largest(sampled, n[:half], k).norm(dim=-1)
        abnormal_length = mean_at_largest(abnormal_codes[half:], a[half:], k).norm(dim=-1)
        terms = {"triplet": triplet(unit(anchor), unit(positive), unit(negative), config.margin),
                 "kl": divergence(mean, log_variance),
                 "distance": hinge(normal_length, abnormal_length, config.distance_margin)}
        return logits, a, n, terms

    def terms(self, features: Tensor) -> dict[str, Tensor]:
        config, (items, _) = self.config, one_crop_each(features)
        logits, a, n, of_pairs = self.outputs(items)
        logits, a, n = (gathered(x) for x in (logits, a, n))
        half, k = len(logits) // 2, config.largest(items.shape[1])
        labels = (torch.arange(2 * half, device=logits.device) >= half).to(logits.dtype)
        one, none = torch.ones_like(a[:half]), torch.zeros_like(a[:half])
        terms = {"att": top_cross_entropy(logits, labels, k).mean(),
                 "A": binary_cross_entropy(top_mean(a[half:], k), one[:, 0]).mean(),
                 "N_Aatt": binary_cross_entropy(top_mean(1 - n[half:], k), one[:, 0]).mean(),
                 "N": binary_cross_entropy(n[:half], one).mean(),
                 "A_N": binary_cross_entropy(a[:half], none).mean()}
        terms |= {name: gathered(values, 1).mean() for name, values in of_pairs.items()}
        total = (terms["att"] + config.attention_weight * (terms["A"] + terms["N_Aatt"] + terms["N"] + terms["A_N"])
                 + config.triplet_weight * terms["triplet"] + config.kl_weight * terms["kl"]
                 + config.distance_weight * terms["distance"])
        return {"total": total} | terms


def mean_at_largest(x: Tensor, attention: Tensor, k: int) -> Tensor:
    """The mean of x over the k snippets of largest attention. x (B, T, C), attention (B, T) -> (B, C)."""
    places = attention.topk(k, dim=1).indices
    return x.gather(1, places[..., None].expand(-1, -1, x.shape[-1])).mean(1)


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """-1/2 sum_t (1 + v - mean^2 - exp(v)), averaged over channels. (B, T, C) each -> (B,)."""
    return (-0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(1)).mean(1)
