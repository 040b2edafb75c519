"""MGFN in MindSpore. The formulas are in `wvad_core.methods.mgfn`."""
from __future__ import annotations

import mindspore as ms
from mindspore import Tensor, nn, ops
from wvad_core.blocks.crops import one_crop_each
from wvad_core.blocks.magnitude import EVALUATION_BLOCK, with_crops
from wvad_core.methods.mgfn import CHANNEL_NORM_EPS, DISTANCE_EPS, Config, loss_weights

from ..blocks.activations import gelu
from ..blocks.attention import SoftmaxAttention
from ..blocks.convolution import Conv1d
from ..blocks.crops import in_blocks
from ..blocks.head_axes import Heads, Merged
from ..blocks.linear import Linear
from ..blocks.losses import binary_cross_entropy, smoothness
from ..blocks.magnitude import select
from ..blocks.normalisation import BatchNorm, LayerNorm
from ..blocks.parameters import zeros
from ..blocks.random import Dropout
from ..network import VideoNetwork
from ..parallel import gathered

SMALLEST = 1e-30
"""Of a variance: its root is as nothing beside the eps of a deviation."""


class ChannelNorm(nn.Cell):
    """(x - mean) / (sd + 1e-5) * weight + bias over the last axis."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight, self.bias = zeros(channels), zeros(channels)
        self.add = ops.BiasAdd()

    def construct(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        centred = rows - rows.mean(-1, keep_dims=True)
        variance = ops.square(centred).mean(-1, keep_dims=True)
        deviation = ops.sqrt(ops.maximum(variance, SMALLEST))  # whose gradient at 0 is 0, not NaN
        scaled = centred / (deviation + CHANNEL_NORM_EPS) * ops.tile(self.weight, (rows.shape[0], 1))
        return self.add(scaled, self.bias).reshape(x.shape)


class Glance(nn.Cell):
    """Softmax attention to the whole video. x (B, T, C) -> (B, T, C)."""

    def __init__(self, channels: int, config: Config):
        super().__init__()
        heads = channels // config.head_dim
        self.apart, self.merged = Heads(3, heads, config.head_dim), Merged(heads, config.head_dim)
        self.norm = ChannelNorm(channels)
        self.qkv, self.out = Linear(channels, 3 * channels, bias=False), Linear(channels, channels)
        self.attention = SoftmaxAttention()

    def construct(self, x: Tensor) -> Tensor:
        q, k, v = self.apart(self.qkv(self.norm(x)))
        return self.out(self.merged(self.attention(q, k, v)))


class Filter(nn.Cell):
    """A filter over time with one kernel a head, of which channel c belongs to head c mod H. x (B, T, C) -> (B, T, C).

    H entries, and the heads' taps, lie side by side as often as there are rows: what multiplies them is tiled, not broadcast.
    """

    def __init__(self, channels: int, config: Config):
        super().__init__()
        self.heads, self.taps = channels // config.head_dim, config.kernel_size
        self.weight, self.bias = zeros(self.heads, 1, self.taps), zeros(self.heads)
        self.add = ops.BiasAdd()

    def construct(self, x: Tensor) -> Tensor:
        batch, steps, channels = x.shape
        ends = ops.zeros((batch, self.taps // 2, channels), x.dtype)
        padded, y = ops.cat((ends, x, ends), 1), 0
        for k in range(self.taps):
            seen = padded[:, k:k + steps].reshape(-1, self.heads)
            y = y + seen * ops.tile(self.weight[:, 0, k], (seen.shape[0], 1))
        return self.add(y, self.bias).reshape(x.shape)


class Focus(nn.Cell):
    """A filter over time between two linear maps. x (B, T, C) -> (B, T, C)."""

    def __init__(self, channels: int, config: Config):
        super().__init__()
        self.norm = BatchNorm(channels)
        self.value, self.out = Linear(channels, channels, bias=False), Linear(channels, channels)
        self.filter = Filter(channels, config)

    def construct(self, x: Tensor) -> Tensor:
        return self.out(self.filter(self.value(self.norm(x))))


class FeedForward(nn.Cell):
    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.linear1, self.linear2 = Linear(channels, hidden), Linear(hidden, channels)

    def construct(self, x: Tensor) -> Tensor:
        return self.linear2(gelu(self.linear1(self.norm(x))))


class Layer(nn.Cell):
    def __init__(self, channels: int, kind: str, config: Config):
        super().__init__()
        self.convolution = Conv1d(channels, channels, 3)
        self.block = {"glance": Glance, "focus": Focus}[kind](channels, config)
        self.feed_forward = FeedForward(channels, config.expansion * channels)

    def construct(self, x: Tensor) -> Tensor:
        x = x + self.convolution(x)
        x = x + self.block(x)
        return x + self.feed_forward(x)


class Next(nn.Cell):
    """From one stage's width to the next one's."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.norm, self.linear = ChannelNorm(inputs), Linear(inputs, outputs)

    def construct(self, x: Tensor) -> Tensor:
        return self.linear(self.norm(x))


class Stage(nn.Cell):
    def __init__(self, number: int, config: Config):
        super().__init__()
        width = config.channels[number]
        self.layers = nn.CellList([Layer(width, config.blocks[number], config) for _ in range(config.depths[number])])
        self.next = Next(*config.channels[number:number + 2]) if number + 1 < len(config.channels) else None

    def construct(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x if self.next is None else self.next(x)


class Network(VideoNetwork):
    def build_layers(self, config: Config) -> None:
        first, last = config.channels[0], config.channels[-1]
        self.embedding, self.length_embedding = Conv1d(config.feature_dim, first, 3), Conv1d(1, first, 3)
        self.stages = nn.CellList([Stage(number, config) for number in range(len(config.channels))])
        self.norm, self.classifier, self.dropout = LayerNorm(last), Linear(last, 1), Dropout(config.dropout)

    def embed(self, items: Tensor) -> Tensor:
        """F of crops on their own: (B, T, D) -> (B, T, C)."""
        lengths = ops.norm(items, dim=-1, keepdim=True)
        x = self.embedding(items) + self.config.magnitude_ratio * self.length_embedding(lengths)
        for stage in self.stages:
            x = stage(x)
        return self.norm(x)

    def scores(self, x: Tensor) -> Tensor:
        """(..., C) -> (...)."""
        return ops.sigmoid(self.classifier(x)).squeeze(-1)

    def item_scores(self, items: Tensor) -> Tensor:
        """Scores (B, T) of crops on their own, (B, T, D)."""
        return self.scores(self.embed(items))

    def construct(self, features: Tensor) -> Tensor:
        """Anomaly scores: (B, T, D) or (B, N, T, D) -> (B, T), averaged over crops."""
        items, crops = one_crop_each(features)
        count, steps = items.shape[:2]
        size = count if self.training else 1 + EVALUATION_BLOCK // steps  # a graph for any length has no max
        return in_blocks(self.item_scores, items, 0, size).reshape(-1, crops, steps).mean(1)

    def branches(self, clips: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, N, T, D) -> F (B, N, T, C), scores (B, T) and magnitudes (B, T)."""
        x = self.embed(clips.reshape((-1,) + clips.shape[2:])).reshape(clips.shape[:3] + (-1,))
        return x, self.scores(x).mean(1), ops.norm(x, dim=-1).mean(1)

    def terms(self, features: Tensor) -> dict[str, Tensor]:
        config, clips = self.config, with_crops(features)
        _check_training(config, clips.shape[1], clips.shape[2])
        x, scores, magnitudes = self.branches(clips)
        mask = self.dropout(ops.ones_like(magnitudes))
        picks = select(ops.stop_gradient(magnitudes) * mask, config.k)
        places = picks.expand_dims(1).broadcast_to((-1, clips.shape[1], -1))
        sums = ops.gather_elements(ops.abs(x).sum(-1), 2, places)  # (2B, N, k)
        sums, of_videos = gathered(sums), gathered(ops.gather_elements(scores, 1, picks).mean(1))
        scores = gathered(scores)
        half, parts = scores.shape[0] // 2, sums.shape[1] // 2
        labels = (ops.arange(scores.shape[0]) >= half).astype(scores.dtype)
        far = distance(sums[half:], sums[:half])
        within = ops.square(distance(sums[:, parts:], sums[:, :parts]))
        terms = {"classification": binary_cross_entropy(of_videos, labels).mean(),
                 "contrast": ops.square(ops.relu(config.margin - far)).mean(),
                 "compact_normal": within[:half].mean(), "compact_abnormal": within[half:].mean(),
                 "smooth": config.smooth_weight * smoothness(scores).sum(),
                 "sparsity": config.sparsity_weight * ops.norm(scores[:half].reshape(1, -1))}
        weights = loss_weights(config)
        total = terms["classification"] + terms["smooth"] + terms["sparsity"]
        for name in ("contrast", "compact_normal", "compact_abnormal"):
            total = total + weights[name] * terms[name]
        terms["total"] = total
        return terms


@ms.constexpr
def _check_training(config: Config, crops: int, steps: int) -> bool:
    config.check_training(crops, steps)
    return True


def distance(a: Tensor, b: Tensor) -> Tensor:
    """||a - b + 1e-6|| over the last axis."""
    return ops.norm(a - b + DISTANCE_EPS, dim=-1)
