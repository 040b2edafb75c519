"""AR-Net in PyTorch. The formulas are in `wvad_core.methods.ar_net`."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from wvad_core.blocks.crops import one_crop_each
from wvad_core.methods.ar_net import SCALES, Config

from ..blocks.convolution import Conv1d
from ..blocks.linear import Linear
from ..blocks.losses import binary_cross_entropy, top_mean
from ..blocks.random import Dropout
from ..network import VideoNetwork
from ..parallel import gathered
from ..precision import bf16_instructions


class Single(nn.Module):
    """relu(W x + b). (B, T, D) -> (B, T, D), as all ways to the hidden feature."""

    def __init__(self, size: int):
        super().__init__()
        self.fc = Linear(size, size)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.fc(x))


class Scales(nn.Module):
    """Three convolutions of different kernels."""

    def __init__(self, size: int):
        super().__init__()
        self.scale1, self.scale3, self.scale5 = (Conv1d(size, size, kernel) for kernel in SCALES)

    def each(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """r1, r3 and r5."""
        return F.relu(self.scale1(x)), F.relu(self.scale3(x)), F.relu(self.scale5(x))


class Mean(Scales):
    def forward(self, x: Tensor) -> Tensor:
        r1, r3, r5 = self.each(x)
        return (r1 + r3 + r5) / 3


class Sequence(Scales):
    def __init__(self, size: int):
        super().__init__(size)
        self.inner, self.outer = Conv1d(size, size, 1), Conv1d(size, size, 1)

    def forward(self, x: Tensor) -> Tensor:
        r1, r3, r5 = self.each(x)
        return F.relu(self.outer(F.relu(self.inner(r3 + r5)) + r1))


class Concatenate(Scales):
    def __init__(self, size: int):
        super().__init__(size)
        self.fc = Linear(3 * size, size)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.fc(torch.cat(self.each(x), dim=-1)))


class LSTM(nn.LSTM):
    """One layer, forwards in time."""

    def __init__(self, size: int):
        super().__init__(size, size, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        exporting = torch.compiler.is_compiling() and not torch.compiler.is_dynamo_compiling()
        if exporting:
            return self.scanned(x)
        if x.device.type == "cpu" and torch.is_autocast_enabled("cpu") and not bf16_instructions():
            with torch.autocast("cpu", enabled=False):  # oneDNN emulates products in bfloat16, and has no such LSTM
                return super().forward(x.float())[0]
        return super().forward(x)[0]

    def scanned(self, x: Tensor) -> Tensor:
        """The same step by step: the kernel would be exported for one length alone."""
        from torch._higher_order_ops import scan

        recurrent = self.weight_hh_l0.t()

        def step(state: tuple[Tensor, Tensor], projected: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
            h, c = state
            i, f, g, o = (projected + h @ recurrent).chunk(4, dim=-1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            return (h, c), h.clone()

        projected = F.linear(x, self.weight_ih_l0, self.bias_ih_l0 + self.bias_hh_l0).transpose(0, 1)
        zeros = x.new_zeros(len(x), self.hidden_size)
        return scan(step, (zeros, zeros.clone()), projected)[1].transpose(0, 1)


class Filter(nn.Module):
    """Features (B, T, D) -> foreground weights (B, T)."""

    def __init__(self, config: Config):
        super().__init__()
        self.conv1, self.conv2 = Conv1d(config.feature_dim, config.filter_dim, 1), Conv1d(config.filter_dim, 1, 1)
        self.slope = config.leaky_slope

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.conv2(F.leaky_relu(self.conv1(x), self.slope))).squeeze(-1)


class ClassActivation(nn.Module):
    """Features (B, T, D) -> activations (B, T, classes + 1), the background last."""

    def __init__(self, config: Config):
        super().__init__()
        self.conv1 = Conv1d(config.feature_dim, config.cas_dim, 3)
        self.conv2 = Conv1d(config.cas_dim, config.cas_dim, 3)
        self.conv3 = Conv1d(config.cas_dim, config.classes + 1, 1, bias=False)
        self.slope, self.dropout = config.leaky_slope, Dropout(p=config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.conv1(x), self.slope)
        x = F.leaky_relu(self.conv2(x), self.slope)
        return self.conv3(self.dropout(x))


HIDDEN = {"single": Single, "mean": Mean, "sequence": Sequence, "concatenate": Concatenate, "lstm": LSTM}


class Network(VideoNetwork):
    extras = ("true_lengths",)

    def build_layers(self, config: Config) -> None:
        if config.variant == "bas":
            self.filter, self.cas = Filter(config), ClassActivation(config)
        else:
            self.hidden = HIDDEN[config.variant](config.feature_dim)
            self.classifier, self.dropout = Linear(config.feature_dim, 1), Dropout(p=config.dropout)

    def forward(self, features: Tensor) -> Tensor:
        """Anomaly scores: (B, T, D) or (B, N, T, D) -> (B, T)."""
        items, crops = one_crop_each(features)
        return self.scores(items).view(-1, crops, items.shape[1]).mean(1)

    def scores(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Scores (B, T) of (B, T, D). lengths: (B,), which pack the LSTM in training."""
        if self.config.variant == "bas":
            return self.cas(self.filter(x)[..., None] * x).softmax(-1)[..., :-1].sum(-1)
        h = self.hidden(x)
        if self.config.variant == "lstm" and lengths is not None:
            h = h * within(lengths, x.shape[1])[..., None]
        return torch.sigmoid(self.classifier(self.dropout(h))).squeeze(-1)

    def terms(self, features: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        items, crops = one_crop_each(features)
        if self.config.variant == "bas":
            return self.suppression_terms(items)
        lengths = lengths.repeat_interleave(crops)
        found, lengths = gathered(self.scores(items, lengths)), gathered(lengths)
        terms = {"mil": k_max_loss(found, lengths, self.config.k), "center": center_loss(found[:len(found) // 2])}
        return {"total": terms["mil"] + self.config.center_weight * terms["center"]} | terms

    def branches(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Variant bas: the activations (B, T, C) of (B, T, D), base and suppressed, and the foreground weights (B, T)."""
        weights = self.filter(x)
        return self.cas(x), self.cas(weights[..., None] * x), weights

    def suppression_terms(self, items: Tensor) -> dict[str, Tensor]:
        """The terms of variant bas."""
        *both, weights = self.branches(items)
        base, suppressed = (gathered(video_scores(cas, self.config)) for cas in both)
        labels = (torch.arange(len(base), device=items.device) >= len(base) // 2).to(items.dtype)[:, None]
        of_classes = labels.expand(-1, self.config.classes)
        of_base = binary_cross_entropy(base, torch.cat([of_classes, torch.ones_like(labels)], dim=1))
        of_suppressed = binary_cross_entropy(suppressed, torch.cat([of_classes, torch.zeros_like(labels)], dim=1))
        terms = {"base": of_base.mean(), "suppressed": of_suppressed.mean(), "norm": gathered(weights.sum(1)).mean()}
        return {"total": terms["base"] + terms["suppressed"] + self.config.norm_weight * terms["norm"]} | terms


def video_scores(cas: Tensor, config: Config) -> Tensor:
    """Softmax over classes of the mean of each class's highest activations. (B, T, C) -> (B, C)."""
    return top_mean(cas.transpose(1, 2), config.highest).softmax(-1)


def within(lengths: Tensor, steps: int) -> Tensor:
    """Whether each of the steps lies within its video's length. (B,) -> (B, steps)."""
    return torch.arange(steps, device=lengths.device) < lengths[:, None]


def k_max_loss(scores: Tensor, lengths: Tensor, k: int) -> Tensor:
    """Cross entropy of the ceil(length / k) highest scores of each video, all picks averaged. (2B, T), (2B,) -> ()."""
    steps = scores.shape[1]
    highest = scores.masked_fill(~within(lengths, steps), -1).topk(-(-steps // k), dim=1).values
    picked = within((lengths + k - 1) // k, highest.shape[1])
    labels = (torch.arange(len(scores), device=scores.device) >= len(scores) // 2).to(scores.dtype)[:, None]
    each = binary_cross_entropy(highest.masked_fill(~picked, 0.5), labels.expand_as(highest))
    return each.masked_fill(~picked, 0).sum() / picked.sum()


def center_loss(normal: Tensor) -> Tensor:
    """The unbiased variance of each video's scores, averaged; 0 for single snippets. (B, T) -> ()."""
    centred = normal - normal.mean(1, keepdim=True)
    return (centred.square().sum(1) / max(normal.shape[1] - 1, 1)).mean()
