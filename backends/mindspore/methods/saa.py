"""SAA in MindSpore. The formulas are in `wvad_core.methods.saa`."""
from __future__ import annotations

from mindspore import Tensor, nn, ops
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


class Attention(nn.Cell):
    """Three convolutions: features (B, T, D) -> anomalous attention (B, T)."""

    def __init__(self, config: Config):
        super().__init__()
        self.conv1 = Conv1d(config.feature_dim, config.attention_dim, 3)
        self.conv2 = Conv1d(config.attention_dim, config.attention_dim, 3)
        self.conv3 = Conv1d(config.attention_dim, 1, 1)
        self.activation, self.dropout = nn.LeakyReLU(config.leaky_slope), Dropout(config.dropout)

    def construct(self, x: Tensor) -> Tensor:
        x = self.dropout(self.activation(self.conv1(x)))
        x = self.activation(self.conv2(x))
        return ops.sigmoid(self.dropout(self.conv3(x))).squeeze(-1)


class Network(VideoNetwork):
    """`memory` counts the steps of training: every call of `losses` is one."""

    extras = ("warming_up",)

    def build_layers(self, config: Config) -> None:
        self.memory = memory(config)
        self.aggregate = PyramidAggregation(config.feature_dim)
        self.attention = Attention(config)
        self.classifier = ScoreHead(config.feature_dim, config.hidden_dims, config.dropout)
        self.dropout = Dropout(config.dropout)

    def branches(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Attention and raw scores, (B, T) each, of (B, T, D)."""
        x = self.aggregate(features)
        return self.attention(x), self.classifier(self.dropout(x))

    def construct(self, features: Tensor) -> Tensor:
        """Anomaly scores: (B, T, D) or (B, N, T, D) -> (B, T)."""
        items, crops = one_crop_each(features)
        attention, raw = self.branches(items)
        return (attention * raw).reshape(-1, crops, items.shape[1]).mean(1)

    def extra(self, batch: Batch, name: str) -> Tensor | None:
        """`warming_up`: whether S guides the attention in this step, 0-d; counts the step."""
        if name != "warming_up":
            return super().extra(batch, name)
        return Tensor(self.memory.step() < self.config.guide_steps)

    def terms(self, features: Tensor, warming_up: Tensor) -> dict[str, Tensor]:
        config = self.config
        items, _ = one_crop_each(features)
        attention, raw = self.branches(items)
        attention, raw = gathered(attention), gathered(raw)
        attended, half = attention * raw, raw.shape[0] // 2
        hard = (raw > config.guide_threshold).astype(raw.dtype)
        target = ops.stop_gradient(ops.where(warming_up, raw, hard))
        target = ops.cat((ops.zeros_like(target[:half]), target[half:]))
        a, s, s_a = attention[half:], raw[half:], attended[half:]
        terms = {"classification": self.classification(attention, raw, attended),
                 "guide": ops.square(attention - target).mean(),
                 "norm": ops.abs(a).mean(),
                 "smooth": (smoothness(s) + smoothness(s_a)).mean(),
                 "sparse": s.mean() + s_a.mean()}
        terms["total"] = (terms["classification"] + terms["guide"] + config.norm_weight * terms["norm"]
                          + config.smooth_weight * terms["smooth"] + config.sparse_weight * terms["sparse"])
        return terms

    def classification(self, attention: Tensor, raw: Tensor, attended: Tensor) -> Tensor:
        """Cross entropy of the four branches' video scores against the labels, averaged over videos."""
        config, k = self.config, raw.shape[1] // self.config.k + 1
        labels = (ops.arange(raw.shape[0]) >= raw.shape[0] // 2).astype(raw.dtype)
        fixed = ops.stop_gradient(attention)
        low, high = ops.amin(fixed, 1, keepdims=True), ops.amax(fixed, 1, keepdims=True)
        remaining = fixed < low + config.suppression * (high - low)
        plain, suppressed = config.branch_weights
        loss = 0.0
        for scores in (raw, attended):
            for mask, weight in ((ops.ones_like(remaining), plain), (remaining, suppressed)):
                of_video = binary_cross_entropy(masked_top_mean(scores, mask, k), labels)
                loss = loss + weight * ops.where(mask.any(1), of_video, 0.0).mean()
        return loss
