"""AR-Net in MindSpore. The formulas are in `wvad_core.methods.ar_net`."""
from __future__ import annotations

import numpy as np

import mindspore as ms
from mindspore import Tensor, nn, ops
from wvad_core.blocks.crops import one_crop_each
from wvad_core.methods.ar_net import SCALES, Config

from ..blocks.convolution import Conv1d
from ..blocks.linear import Linear
from ..blocks.losses import binary_cross_entropy, top_mean
from ..blocks.random import Dropout
from ..network import VideoNetwork
from ..parallel import gathered


class Single(nn.Cell):
    """relu(W x + b). (B, T, D) -> (B, T, D), as all ways to the hidden feature."""

    def __init__(self, size: int):
        super().__init__()
        self.fc = Linear(size, size)

    def construct(self, x: Tensor) -> Tensor:
        return ops.relu(self.fc(x))


class Scales(nn.Cell):
    """Three convolutions of different kernels."""

    def __init__(self, size: int):
        super().__init__()
        self.scale1, self.scale3, self.scale5 = [Conv1d(size, size, kernel) for kernel in SCALES]

    def each(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """r1, r3 and r5."""
        return ops.relu(self.scale1(x)), ops.relu(self.scale3(x)), ops.relu(self.scale5(x))


class Mean(Scales):
    def construct(self, x: Tensor) -> Tensor:
        r1, r3, r5 = self.each(x)
        return (r1 + r3 + r5) / 3


class Sequence(Scales):
    def __init__(self, size: int):
        super().__init__(size)
        self.inner, self.outer = Conv1d(size, size, 1), Conv1d(size, size, 1)

    def construct(self, x: Tensor) -> Tensor:
        r1, r3, r5 = self.each(x)
        return ops.relu(self.outer(ops.relu(self.inner(r3 + r5)) + r1))


class Concatenate(Scales):
    def __init__(self, size: int):
        super().__init__(size)
        self.fc = Linear(3 * size, size)

    def construct(self, x: Tensor) -> Tensor:
        return ops.relu(self.fc(ops.cat(self.each(x), -1)))


class LSTM(nn.LSTM):
    """One layer, forwards in time."""

    def __init__(self, size: int):
        state = np.random.get_state()  # MindSpore draws first weights, which nobody needs, from NumPy's global generator
        super().__init__(size, size, batch_first=True)
        np.random.set_state(state)

    def construct(self, x: Tensor) -> Tensor:
        return super().construct(x)[0]


class Filter(nn.Cell):
    """Features (B, T, D) -> foreground weights (B, T)."""

    def __init__(self, config: Config):
        super().__init__()
        self.conv1, self.conv2 = Conv1d(config.feature_dim, config.filter_dim, 1), Conv1d(config.filter_dim, 1, 1)
        self.activation = nn.LeakyReLU(config.leaky_slope)

    def construct(self, x: Tensor) -> Tensor:
        return ops.sigmoid(self.conv2(self.activation(self.conv1(x)))).squeeze(-1)


class ClassActivation(nn.Cell):
    """Features (B, T, D) -> activations (B, T, classes + 1), the background last."""

    def __init__(self, config: Config):
        super().__init__()
        self.conv1 = Conv1d(config.feature_dim, config.cas_dim, 3)
        self.conv2 = Conv1d(config.cas_dim, config.cas_dim, 3)
        self.conv3 = Conv1d(config.cas_dim, config.classes + 1, 1, bias=False)
        self.activation, self.dropout = nn.LeakyReLU(config.leaky_slope), Dropout(config.dropout)

    def construct(self, x: Tensor) -> Tensor:
        x = self.activation(self.conv1(x))
        x = self.activation(self.conv2(x))
        return self.conv3(self.dropout(x))


HIDDEN = {"single": Single, "mean": Mean, "sequence": Sequence, "concatenate": Concatenate, "lstm": LSTM}


class Network(VideoNetwork):
    extras = ("true_lengths",)

    def build_layers(self, config: Config) -> None:
        if config.variant == "bas":
            self.filter, self.cas = Filter(config), ClassActivation(config)
        else:
            self.hidden = HIDDEN[config.variant](config.feature_dim)
            self.classifier, self.dropout = Linear(config.feature_dim, 1), Dropout(config.dropout)

    def construct(self, features: Tensor) -> Tensor:
        """Anomaly scores: (B, T, D) or (B, N, T, D) -> (B, T)."""
        items, crops = one_crop_each(features)
        return self.scores(items).reshape(-1, crops, items.shape[1]).mean(1)

    def scores(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Scores (B, T) of (B, T, D). lengths: (B,), which pack the LSTM in training."""
        if self.config.variant == "bas":
            suppressed = self.cas(self.filter(x).expand_dims(-1) * x)
            return ops.softmax(suppressed, -1)[..., :-1].sum(-1)
        h = self.hidden(x)
        if self.config.variant == "lstm" and lengths is not None:
            h = h * within(lengths, x.shape[1]).astype(h.dtype).expand_dims(-1)
        return ops.sigmoid(self.classifier(self.dropout(h))).squeeze(-1)

    def terms(self, features: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        items, crops = one_crop_each(features)
        if self.config.variant == "bas":
            return self.suppression_terms(items)
        lengths = ops.tile(lengths.reshape(-1, 1), (1, crops)).reshape(-1)
        found, lengths = gathered(self.scores(items, lengths)), gathered(lengths)
        terms = {"mil": k_max_loss(found, lengths, self.config.k), "center": center_loss(found[:found.shape[0] // 2])}
        terms["total"] = terms["mil"] + self.config.center_weight * terms["center"]
        return terms

    def branches(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Variant bas: the activations (B, T, C) of (B, T, D), base and suppressed, and the foreground weights (B, T)."""
        weights = self.filter(x)
        return self.cas(x), self.cas(weights.expand_dims(-1) * x), weights

    def suppression_terms(self, items: Tensor) -> dict[str, Tensor]:
        """The terms of variant bas."""
        base, suppressed, weights = self.branches(items)
        base, suppressed = gathered(video_scores(base, self.config)), gathered(video_scores(suppressed, self.config))
        labels = (ops.arange(base.shape[0]) >= base.shape[0] // 2).astype(items.dtype).reshape(-1, 1)
        of_classes = ops.tile(labels, (1, self.config.classes))
        of_base = binary_cross_entropy(base, ops.cat((of_classes, ops.ones_like(labels)), 1))
        of_suppressed = binary_cross_entropy(suppressed, ops.cat((of_classes, ops.zeros_like(labels)), 1))
        terms = {"base": of_base.mean(), "suppressed": of_suppressed.mean(), "norm": gathered(weights.sum(1)).mean()}
        terms["total"] = terms["base"] + terms["suppressed"] + self.config.norm_weight * terms["norm"]
        return terms


def video_scores(cas: Tensor, config: Config) -> Tensor:
    """Softmax over classes of the mean of each class's highest activations. (B, T, C) -> (B, C)."""
    return ops.softmax(top_mean(cas.swapaxes(1, 2), config.highest), -1)


def within(lengths: Tensor, steps: int) -> Tensor:
    """Whether each of the steps lies within its video's length. (B,) -> (B, steps)."""
    return ops.arange(steps, dtype=ms.int32) < lengths.reshape(-1, 1)


def k_max_loss(scores: Tensor, lengths: Tensor, k: int) -> Tensor:
    """Cross entropy of the ceil(length / k) highest scores of each video, all picks averaged. (2B, T), (2B,) -> ()."""
    videos, steps = scores.shape
    highest, _ = ops.topk(ops.where(within(lengths, steps), scores, -1.0), -(-steps // k))
    picked = within((lengths + k - 1) // k, highest.shape[1])
    labels = (ops.arange(videos) >= videos // 2).astype(scores.dtype).reshape(-1, 1)
    each = binary_cross_entropy(ops.where(picked, highest, 0.5), ops.tile(labels, (1, highest.shape[1])))
    return ops.where(picked, each, 0.0).sum() / picked.astype(scores.dtype).sum()


def center_loss(normal: Tensor) -> Tensor:
    """The unbiased variance of each video's scores, averaged; 0 for single snippets. (B, T) -> ()."""
    centred = normal - normal.mean(1, keep_dims=True)
    return (ops.square(centred).sum(1) / max(normal.shape[1] - 1, 1)).mean()
