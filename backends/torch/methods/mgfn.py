"""MGFN in PyTorch. The formulas are in `wvad_core.methods.mgfn`."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from wvad_core.blocks.crops import one_crop_each
from wvad_core.blocks.magnitude import EVALUATION_BLOCK, with_crops
from wvad_core.methods.mgfn import CHANNEL_NORM_EPS, DISTANCE_EPS, Config, loss_weights

from ..blocks.attention import softmax_attention
from ..blocks.convolution import Conv1d, over_time
from ..blocks.crops import in_blocks
from ..blocks.linear import Linear, linear
from ..blocks.losses import binary_cross_entropy, smoothness
from ..blocks.magnitude import select
from ..blocks.normalisation import BatchNorm, LayerNorm
from ..blocks.random import Dropout
from ..kernels import eager_cpu
from ..network import VideoNetwork
from ..parallel import gathered

ROWS = HIDDEN = 2048
"""Snippets, and hidden channels of theirs, that a feed-forward computes at a time in evaluation (backends/torch/routes.py)."""


class ChannelNorm(nn.Module):
    """(x - mean) / (sd + 1e-5) * weight + bias over the last axis."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.empty(channels)), nn.Parameter(torch.empty(channels))

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        deviation = centred.norm(dim=-1, keepdim=True) * x.shape[-1] ** -0.5
        return centred / (deviation + CHANNEL_NORM_EPS) * self.weight + self.bias


class Glance(nn.Module):
    """Softmax attention to the whole video. x (B, T, C) -> (B, T, C)."""

    def __init__(self, channels: int, config: Config):
        super().__init__()
        self.head_dim = config.head_dim
        self.norm = ChannelNorm(channels)
        self.qkv, self.out = Linear(channels, 3 * channels, bias=False), Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        batch, steps, _ = x.shape
        q, k, v = self.qkv(self.norm(x)).view(batch, steps, 3, -1, self.head_dim).permute(2, 0, 3, 1, 4)
        return self.out(softmax_attention(q, k, v).transpose(1, 2).reshape(x.shape))


class Filter(nn.Module):
    """A filter over time with one kernel a head, of which channel c belongs to head c mod H. x (B, T, C) -> (B, T, C)."""

    def __init__(self, channels: int, config: Config):
        super().__init__()
        heads = channels // config.head_dim
        self.repeats = config.head_dim
        self.weight, self.bias = nn.Parameter(torch.empty(heads, 1, config.kernel_size)), nn.Parameter(torch.empty(heads))

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight.to(x.dtype).repeat(self.repeats, 1, 1), self.bias.to(x.dtype).repeat(self.repeats)
        return over_time(x, weight, bias, groups=len(weight))


class Focus(nn.Module):
    """A filter over time between two linear maps. x (B, T, C) -> (B, T, C)."""

    def __init__(self, channels: int, config: Config):
        super().__init__()
        self.norm = BatchNorm(channels)
        self.value, self.out = Linear(channels, channels, bias=False), Linear(channels, channels)
        self.filter = Filter(channels, config)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.filter(self.value(self.norm(x))))


class FeedForward(nn.Module):
    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.linear1, self.linear2 = Linear(channels, hidden), Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        if self.training or not eager_cpu(x):
            return self.linear2(F.gelu(self.linear1(self.norm(x))))
        return in_blocks(self.in_parts, x.flatten(0, 1), 0, ROWS).view(x.shape)

    def in_parts(self, x: Tensor) -> Tensor:
        """A sum over parts of the hidden channels. (R, C) -> (R, C)."""
        x = self.norm(x)
        (weight1, bias1), (weight2, bias2) = ((layer.weight, layer.bias) for layer in (self.linear1, self.linear2))
        parts = zip(weight1.split(HIDDEN), bias1.split(HIDDEN), weight2.split(HIDDEN, 1))
        return sum((linear(F.gelu(linear(x, first, bias)), second) for first, bias, second in parts), bias2)


class Layer(nn.Module):
    def __init__(self, channels: int, kind: str, config: Config):
        super().__init__()
        self.convolution = Conv1d(channels, channels, 3)
        self.block = {"glance": Glance, "focus": Focus}[kind](channels, config)
        self.feed_forward = FeedForward(channels, config.expansion * channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.convolution(x)
        x = x + self.block(x)
        return x + self.feed_forward(x)


class Next(nn.Module):
    """From one stage's width to the next one's."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.norm, self.linear = ChannelNorm(inputs), Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.norm(x))


class Stage(nn.Module):
    def __init__(self, number: int, config: Config):
        super().__init__()
        width = config.channels[number]
        self.layers = nn.ModuleList(Layer(width, config.blocks[number], config) for _ in range(config.depths[number]))
        self.next = Next(*config.channels[number:number + 2]) if number + 1 < len(config.channels) else None

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x if self.next is None else self.next(x)


class Network(VideoNetwork):
    def build_layers(self, config: Config) -> None:
        first, last = config.channels[0], config.channels[-1]
        self.embedding, self.length_embedding = Conv1d(config.feature_dim, first, 3), Conv1d(1, first, 3)
        self.stages = nn.ModuleList(Stage(number, config) for number in range(len(config.channels)))
        self.norm, self.classifier, self.dropout = LayerNorm(last), Linear(last, 1), Dropout(p=config.dropout)

    def embed(self, items: Tensor) -> Tensor:
        """F of crops on their own: (B, T, D) -> (B, T, C)."""
        lengths = items.norm(dim=-1, keepdim=True)
        x = self.embedding(items) + self.config.magnitude_ratio * self.length_embedding(lengths)
        for stage in self.stages:
            x = stage(x)
        return self.norm(x)

    def scores(self, x: Tensor) -> Tensor:
        """(..., C) -> (...)."""
        return torch.sigmoid(self.classifier(x)).squeeze(-1)

    def item_scores(self, items: Tensor) -> Tensor:
        """Scores (B, T) of crops on their own, (B, T, D)."""
        return self.scores(self.embed(items))

    def forward(self, features: Tensor) -> Tensor:
        """Anomaly scores: (B, T, D) or (B, N, T, D) -> (B, T), averaged over crops."""
        items, crops = one_crop_each(features)
        size = len(items) if self.training else 1 + EVALUATION_BLOCK // items.shape[1]
        scores = in_blocks(self.item_scores, items, 0, size)
        return scores.view(-1, crops, items.shape[1]).mean(1)

    def branches(self, clips: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, N, T, D) -> F (B, N, T, C), scores (B, T) and magnitudes (B, T)."""
        x = self.embed(clips.flatten(0, 1)).unflatten(0, clips.shape[:2])
        return x, self.scores(x).mean(1), x.norm(dim=-1).mean(1)

    def terms(self, features: Tensor) -> dict[str, Tensor]:
        config, clips = self.config, with_crops(features)
        config.check_training(*clips.shape[1:3])
        x, scores, magnitudes = self.branches(clips)
        picks = select(magnitudes * self.dropout(torch.ones_like(magnitudes)), config.k)
        selected = x.transpose(1, 2)[torch.arange(len(x), device=x.device)[:, None], picks]  # (2B, k, N, C)
        sums, of_videos = gathered(selected.abs().sum(-1).transpose(1, 2)), gathered(scores.gather(1, picks).mean(1))
        scores = gathered(scores)
        half, parts = len(scores) // 2, sums.shape[1] // 2
        labels = (torch.arange(len(scores), device=x.device) >= half).to(scores.dtype)
        far = distance(sums[half:], sums[:half])
        within = distance(sums[:, parts:], sums[:, :parts]).square()
        terms = {"classification": binary_cross_entropy(of_videos, labels).mean(),
                 "contrast": F.relu(config.margin - far).square().mean(),
                 "compact_normal": within[:half].mean(), "compact_abnormal": within[half:].mean(),
                 "smooth": config.smooth_weight * smoothness(scores).sum(),
                 "sparsity": config.sparsity_weight * scores[:half].norm()}
        weights = loss_weights(config)
        return {"total": sum(weights.get(name, 1) * term for name, term in terms.items())} | terms


def distance(a: Tensor, b: Tensor) -> Tensor:
    """||a - b + 1e-6|| over the last axis."""
    return (a - b + DISTANCE_EPS).norm(dim=-1)
