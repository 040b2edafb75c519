"""AR-Net: anomaly regression with center-guided discriminative learning (Wan et al. 2020, arXiv:2104.07268).

Each snippet has one feature, RGB and flow side by side. A hidden feature h of the same size is classified,

    score = sigmoid(w . dropout(h) + b),

and the published code has five ways to h (setting `variant`), with r1, r3, r5 = relu(Conv1d) of kernels 1, 3, 5:

    single          h = relu(W x + b), the default
    mean            h = (r1 + r3 + r5) / 3
    sequence        h = relu(outer(relu(inner(r3 + r5)) + r1)), inner and outer convolutions of kernel 1
    concatenate     h = relu(W [r1, r3, r5] + b)
    lstm            h = a one-layer LSTM, forwards in time although the published class calls it bidirectional

Training, for a video with label y, L snippets and zeros behind them up to the batch's T:

    mil = mean of bce(s, y) over the ceil(L / 4) highest scores s of every video, all videos' picks averaged together
    center = mean over normal videos of the unbiased variance of their scores over all T
    total = mil + 20 center

In training the LSTM's h is 0 behind L; in evaluation it runs over all that it is given. Crops, which the paper does not
have, are items of their own in training, and their scores are averaged.

The sixth variant, bas, is BaS-Net (Lee et al. 2020, arXiv:1911.09963), background suppression: a filter gives each
snippet a foreground weight f in [0, 1], and one stack of convolutions turns x, and again f x, into activations of the
foreground classes and, last, of the background (class activation sequences, base and suppressed).

    score = softmax over classes of the suppressed sequence, one minus the background's

A branch's video scores are the softmax over classes of the mean of each class's num_segments // 8 highest activations.

    base = bce(base video scores, [labels, 1]), suppressed = bce(suppressed video scores, [labels, 0])
    norm = mean over videos of sum_t f
    total = base + suppressed + 1e-4 norm

with bce averaged over videos and classes. Labels are those of videos here, normal or abnormal: every foreground class
has its video's label. BaS-Net has no lengths: padding would count as snippets, so train it on segments.

Paper and code: where they differ, this follows the code. The variance counts the padding too. With T = 1 the code gives
NaN; here the center loss is then 0. The class that it calls a bidirectional LSTM runs forwards alone.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..blocks import configuration
from ..blocks.activations import leaky_relu, relu, sigmoid, softmax
from ..blocks.convolution import conv1d, conv1d_parameters
from ..blocks.crops import one_crop_each
from ..blocks.linear import linear, linear_parameters
from ..blocks.losses import binary_cross_entropy, top_mean
from ..blocks.random import dropout
from ..blocks.tensors import Parameter, Scope, flatten, published_by_module
from ..conventions import Protocol
from ..data.batches import Batch
from ..registry import Paper, Published

Array = np.ndarray
VARIANTS = ("single", "mean", "sequence", "concatenate", "lstm", "bas")
SCALES = (1, 3, 5)
"""Kernels of the convolutions side by side."""


@dataclass(frozen=True)
class Config(configuration.Config):
    """The sizes and settings of AR-Net.

    variant: one of VARIANTS.
    feature_dim: D of the features.
    dropout: share that is zeroed in training.
    k: the ceil(L / k) highest scores of a video of L snippets stand for it.
    center_weight: of the center loss.
    classes: foreground classes, of variant bas, as all that follow.
    num_segments: of a training video; no published value is known.
    filter_dim, cas_dim: widths of what gives the foreground weights, and of the class activations.
    leaky_slope: of the leaky ReLU.
    norm_weight: of the sum of the foreground weights.
    """

    layout: ClassVar[str] = "single"

    variant: str = configuration.one_of(*VARIANTS)
    feature_dim: int = 2048
    dropout: float = 0.7
    k: int = 4
    center_weight: float = 20.0
    classes: int = 1
    num_segments: int = 300
    filter_dim: int = 512
    cas_dim: int = 2048
    leaky_slope: float = 0.01
    norm_weight: float = 1e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        configuration.require(self.dropout < 1, "dropout", self.dropout, "a share below 1")

    @property
    def training_only(self) -> tuple[str, ...]:
        of_bas = () if self.variant == "bas" else ("classes", "filter_dim", "cas_dim", "leaky_slope")
        return ("dropout", "k", "center_weight", "num_segments", "norm_weight", *of_bas)

    @property
    def highest(self) -> int:
        """How many activations of each class variant bas averages in a video."""
        return max(self.num_segments // 8, 1)


PROBABILITIES = True  # a sigmoid, or the softmax of all classes but the background, trained by cross-entropy
PAPER = Paper("Weakly Supervised Video Anomaly Detection via Center-Guided Discriminative Learning", "Wan et al.", 2020,
              "https://arxiv.org/abs/2104.07268", {"shanghaitech": {"auc": 91.24}})
PROTOCOLS = {"": Protocol(note="as the uniform protocol, without crops; how frames behind the last snippet count is not known")}
DEMO = Config(variant="concatenate", feature_dim=32, dropout=0.3)
# The number of steps is not published; 1000 deal out the 63 abnormal videos of ShanghaiTech 476 times.
RECIPES = {"shanghaitech": {"segments": 300, "videos": 30, "steps": 1000, "weight_decay": 5e-4, "sampling": "snippets"},
           "demo": {"segments": 100, "videos": 16, "steps": 200, "learning_rate": 3e-3, "weight_decay": 5e-3,
                    "sampling": "snippets", "settings": DEMO.as_dict()}}


def parameters(config: Config) -> dict[str, Parameter]:
    dim = config.feature_dim
    scales = {f"scale{kernel}": conv1d_parameters(dim, dim, kernel) for kernel in SCALES}
    if config.variant == "bas":
        inner = config.cas_dim
        return flatten({
            "filter": {"conv1": conv1d_parameters(dim, config.filter_dim, 1),
                       "conv2": conv1d_parameters(config.filter_dim, 1, 1)},
            "cas": {"conv1": conv1d_parameters(dim, inner, 3), "conv2": conv1d_parameters(inner, inner, 3),
                    "conv3": conv1d_parameters(inner, config.classes + 1, 1, bias=False)}})
    hidden = {"single": {"fc": linear_parameters(dim, dim)},
              "mean": scales,
              "sequence": scales | {name: conv1d_parameters(dim, dim, 1) for name in ("inner", "outer")},
              "concatenate": scales | {"fc": linear_parameters(3 * dim, dim)},
              "lstm": lstm_parameters(dim)}
    return flatten({"hidden": hidden[config.variant], "classifier": linear_parameters(dim, 1)})


def lstm_parameters(size: int) -> dict:
    """PyTorch's names and start: everything uniform within 1 / sqrt(size)."""
    shapes = {"weight_ih_l0": (4 * size, size), "weight_hh_l0": (4 * size, size),
              "bias_ih_l0": (4 * size,), "bias_hh_l0": (4 * size,)}
    return {name: Parameter(shape, size**-0.5) for name, shape in shapes.items()}


def published(config: Config) -> Published:
    """The official PyTorch checkpoints. Those of variant mean also hold the layers of two others, which it never uses."""
    modules = {"hidden.fc": "fc", "hidden.inner": "conv_b2", "hidden.outer": "conv_b1", "hidden": "bidirectlstm",
               "classifier": "classifier"}
    modules |= {f"hidden.scale{kernel}": f"conv{i}" for i, kernel in enumerate(SCALES, 1)}
    modules |= {f"filter.conv{i}": f"filter_module.conv_{i}.0" for i in (1, 2)}
    modules |= {f"cas.conv{i}": f"cas_module.conv_{i}.0" for i in (1, 2, 3)}
    unused = {f"{module}.{tensor}" for module in ("fc", "conv_b1", "conv_b2") for tensor in ("weight", "bias")}
    return Published(published_by_module(modules, parameters(config)),
                     unused=frozenset(unused if config.variant == "mean" else ()))


def forward(features: Array, p: Scope, config: Config) -> Array:
    """Anomaly scores: (B, T, D) or (B, N, T, D) -> (B, T), averaged over crops."""
    items, crops = one_crop_each(features)
    return scores(items, p, config).reshape(-1, crops, items.shape[1]).mean(1)


def scores(x: Array, p: Scope, config: Config, lengths: Array | None = None) -> Array:
    """Features (B, T, D) -> scores (B, T). lengths: (B,), which pack the LSTM in training."""
    if config.variant == "bas":
        suppressed = activations(foreground(x, p, config)[..., None] * x, p, config)
        return softmax(suppressed)[..., :-1].sum(-1)
    h = hidden(x, p, config)
    if config.variant == "lstm" and lengths is not None:
        h = np.where(np.arange(x.shape[1])[:, None] < lengths[:, None, None], h, 0)
    return sigmoid(linear(dropout(h, config.dropout, p.rng), **p.at("classifier")))[..., 0]


def hidden(x: Array, p: Scope, config: Config) -> Array:
    """The feature h that is classified. (B, T, D) -> (B, T, D)."""
    p = p.at("hidden")
    if config.variant == "single":
        return relu(linear(x, **p.at("fc")))
    if config.variant == "lstm":
        return lstm(x, **p)
    r1, r3, r5 = (relu(conv1d(x, **p.at(f"scale{kernel}"))) for kernel in SCALES)
    if config.variant == "mean":
        return (r1 + r3 + r5) / 3
    if config.variant == "sequence":
        return relu(conv1d(relu(conv1d(r3 + r5, **p.at("inner"))) + r1, **p.at("outer")))
    return relu(linear(np.concatenate([r1, r3, r5], axis=-1), **p.at("fc")))


def lstm(x: Array, weight_ih_l0: Array, weight_hh_l0: Array, bias_ih_l0: Array, bias_hh_l0: Array) -> Array:
    """Long short-term memory (Hochreiter and Schmidhuber 1997), gates in PyTorch's order. x (B, T, I) -> (B, T, C).

    i, f, g, o = W_ih x_t + b_ih + W_hh h_(t-1) + b_hh;  c_t = sigmoid(f) c_(t-1) + sigmoid(i) tanh(g);
    h_t = sigmoid(o) tanh(c_t);  h and c are 0 before the first step.
    """
    projected = linear(x, weight_ih_l0, bias_ih_l0) + bias_hh_l0
    recurrent = np.ascontiguousarray(weight_hh_l0.T)
    out = np.empty((*x.shape[:2], len(recurrent)), projected.dtype)
    h = c = np.zeros((len(x), len(recurrent)), projected.dtype)
    for t in range(x.shape[1]):
        i, f, g, o = np.split(projected[:, t] + h @ recurrent, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        out[:, t] = h = sigmoid(o) * np.tanh(c)
    return out


def foreground(x: Array, p: Scope, config: Config) -> Array:
    """The weight of each snippet that variant bas takes for foreground. (B, T, D) -> (B, T)."""
    p = p.at("filter")
    inner = leaky_relu(conv1d(x, **p.at("conv1")), config.leaky_slope)
    return sigmoid(conv1d(inner, **p.at("conv2")))[..., 0]


def activations(x: Array, p: Scope, config: Config) -> Array:
    """The class activation sequence, the background last. (B, T, D) -> (B, T, classes + 1)."""
    p = p.at("cas")
    for name in ("conv1", "conv2"):
        x = leaky_relu(conv1d(x, **p.at(name)), config.leaky_slope)
    return conv1d(dropout(x, config.dropout, p.rng), **p.at("conv3"))


def video_scores(cas: Array, config: Config) -> Array:
    """Softmax over classes of the mean of each class's highest activations. (B, T, C) -> (B, C)."""
    return softmax(top_mean(cas.swapaxes(1, 2), config.highest))


def losses(batch: Batch, p: Scope, config: Config) -> dict[str, Array]:
    """Training terms of (2B, T, D) or (2B, N, T, D), normal videos first: total and its parts."""
    items, crops = one_crop_each(batch.features)
    if config.variant == "bas":
        return suppression_terms(items, p, config)
    lengths = np.repeat(batch.true_lengths(), crops)
    found = scores(items, p, config, lengths)
    terms = {"mil": k_max_loss(found, lengths, config.k), "center": center_loss(found[:len(found) // 2])}
    return {"total": terms["mil"] + config.center_weight * terms["center"]} | terms


def loss_weights(config: Config) -> dict[str, float]:
    """{term: its weight in the total}, of those whose weight is not 1."""
    return {"norm": config.norm_weight} if config.variant == "bas" else {"center": config.center_weight}


def k_max_loss(scores: Array, lengths: Array, k: int) -> Array:
    """Cross entropy of the ceil(length / k) highest scores of each video, all picks averaged. (2B, T), (2B,) -> ()."""
    labels = np.repeat([0, 1], len(scores) // 2)
    return np.concatenate([binary_cross_entropy(np.sort(row[:length])[-(-(-length // k)):], label)
                           for row, length, label in zip(scores, lengths, labels)]).mean()


def center_loss(normal: Array) -> Array:
    """The unbiased variance of each video's scores, averaged; 0 for single snippets. (B, T) -> ()."""
    centred = normal - normal.mean(1, keepdims=True)
    return ((centred**2).sum(1) / max(normal.shape[1] - 1, 1)).mean()


def suppression_terms(items: Array, p: Scope, config: Config) -> dict[str, Array]:
    """The terms of variant bas."""
    weights = foreground(items, p, config)
    labels = np.repeat(np.array([0, 1], items.dtype), len(items) // 2)[:, None].repeat(config.classes + 1, axis=1)
    terms = {}
    for name, x, background in (("base", items, 1), ("suppressed", weights[..., None] * items, 0)):
        labels[:, -1] = background
        found = video_scores(activations(x, p, config), config)
        terms[name] = binary_cross_entropy(found, labels).mean()
    terms["norm"] = weights.sum(1).mean()
    return {"total": terms["base"] + terms["suppressed"] + config.norm_weight * terms["norm"]} | terms
