"""ADPLG in PyTorch. The formulas are in `wvad_core.methods.adplg`."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from wvad_core.blocks.crops import one_crop_each
from wvad_core.methods.adplg import Config, memory

from ..blocks.attention import LocalAttention, PositionEmbedding
from ..blocks.convolution import Conv1d
from ..blocks.linear import Linear
from ..blocks.losses import binary_cross_entropy, triplet
from ..blocks.normalisation import LayerNorm
from ..blocks.random import Dropout
from ..blocks.transformer import Transformer
from ..network import VideoNetwork
from ..parallel import gathered


class Classifier(nn.Module):
    """linear, ReLU, dropout, linear, sigmoid. x (..., C) -> (...)."""

    def __init__(self, inputs: int, config: Config):
        super().__init__()
        self.fc1, self.fc2 = Linear(inputs, config.classifier_dim), Linear(config.classifier_dim, 1)
        self.dropout = Dropout(p=config.classifier_dropout)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.fc2(self.dropout(F.relu(self.fc1(x))))).squeeze(-1)


class VideoBranch(nn.Module):
    """(2B, T, D), normal videos first -> the attention and the fused features of three pairs: abnormal, cross, normal."""

    def __init__(self, config: Config):
        super().__init__()
        self.q, self.k, self.v = (Conv1d(config.feature_dim, config.hidden, 1) for _ in range(3))
        self.classifier = Classifier(config.hidden, config)

    def forward(self, features: Tensor) -> tuple[tuple[Tensor, Tensor], ...]:
        (q_n, q_a), (k_n, k_a), (v_n, v_a) = (part(features).chunk(2) for part in (self.q, self.k, self.v))
        return attend(q_a, k_a, v_a), attend(q_n, k_a, v_a), attend(q_n, k_n, v_n)


def attend(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """The diagonal attention (B, T) and the fused features (B, E) of q, k, v (B, T, E)."""
    weights = ((q * k).sum(-1) * q.shape[-1] ** -0.5).softmax(-1)
    return weights, (weights[:, None] @ v).squeeze(1)


class LocalTransformer(nn.Module):
    """One window size's view of the embedded features. (B, T, C) -> (B, T, C / sizes)."""

    def __init__(self, config: Config, window: int):
        super().__init__()
        self.position = PositionEmbedding(config.positions, config.channels)
        self.attention = LocalAttention(config.channels, config.local_heads, config.local_head_dim, window)
        self.norm = LayerNorm(config.channels)
        self.project = Linear(config.channels, config.local_channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.position(x)
        return self.project(self.norm(x + self.attention(x)))


class SnippetBranch(nn.Module):
    """Scores (B, T) of (B, T, D)."""

    def __init__(self, config: Config):
        super().__init__()
        self.embedding = Conv1d(config.feature_dim, config.channels, 3)
        self.local = nn.ModuleList([LocalTransformer(config, window) for window in config.window_sizes])
        self.transformer = Transformer(config.channels, config.depth, config.heads, config.head_dim,
                                       config.feed_forward_dim, config.dropout, False)
        self.classifier = Classifier(config.channels, config)

    def forward(self, features: Tensor) -> Tensor:
        return self.classifier(self.transformer(torch.cat(self.local_outputs(features), dim=-1)))

    def local_outputs(self, features: Tensor) -> list[Tensor]:
        embedded = F.relu(self.embedding(features))
        return [local(embedded) for local in self.local]


class Network(VideoNetwork):
    """`memory` holds the pseudo labels' past: every call of `losses` or `terms` is one step of it."""

    extras = ("videos",)
    varying = True  # the snippet branch waits
    graphs = ("video_terms", "snippet_loss")  # around the memory, which is Python's

    def build_layers(self, config: Config) -> None:
        self.video, self.snippet = VideoBranch(config), SnippetBranch(config)
        self.memory = memory(config)

    def forward(self, features: Tensor) -> Tensor:
        """Anomaly scores: (B, T, D) or (B, N, T, D) -> (B, T)."""
        items, crops = one_crop_each(features)
        return self.snippet(items).view(-1, crops, items.shape[1]).mean(1)

    def terms(self, features: Tensor, videos: Tensor | None) -> dict[str, Tensor]:
        items, _ = one_crop_each(features)
        terms, attention = self.video_terms(items)
        labels, counted = self.targets(None if videos is None else gathered(videos), attention)
        snippet = self.snippet_loss(items, labels, counted) if self.memory.warm else attention.new_zeros(())
        return {"total": sum(terms.values()) + snippet} | terms | {"snippet": snippet}

    def targets(self, videos: Tensor | None, attention: Tensor) -> tuple[Tensor, Tensor]:
        """Pseudo labels and which of them count, (2B, T) each; one step of the memory."""
        attention = attention.detach().to(torch.promote_types(attention.dtype, torch.float32))  # NumPy has no bfloat16
        found = self.memory.targets(None if videos is None else videos.cpu().numpy(), attention.cpu().numpy())
        labels, counted = (torch.from_numpy(values).to(attention) for values in found)
        return labels, counted

    def video_terms(self, items: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """The video branch's terms and the abnormal videos' attention (B, T), both of the whole batch."""
        (attention, abnormal), (across, cross), (_, normal) = self.video(items)
        classes = gathered(self.video.classifier(torch.cat([normal, abnormal])))
        labels = (torch.arange(len(classes), device=classes.device) >= len(classes) // 2).to(classes.dtype)
        norms = attention.norm(dim=1) * across.norm(dim=1)
        cosines = gathered((attention * across).sum(1) / norms, 1)
        attention = gathered(attention, 1)
        return {"video": binary_cross_entropy(classes, labels).mean(),
                "triplet": gathered(triplet(normal, cross, abnormal), 1).mean(),
                "cosine": cosines.mean(),
                "smooth": attention.diff(dim=0).square().sum(),
                "sparsity": attention.norm(dim=0).mean()}, attention

    def snippet_loss(self, items: Tensor, labels: Tensor, counted: Tensor) -> Tensor:
        """Cross entropy of the whole batch's snippets counted, without those whose loss is exactly 0."""
        loss = binary_cross_entropy(gathered(self.snippet(items)), labels) * counted
        return loss.sum() / (loss != 0).sum().clamp(min=1)
