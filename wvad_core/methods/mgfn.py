"""MGFN: magnitude-contrastive glance-and-focus network (Chen et al. 2023, AAAI, arXiv:2211.15098).

Glancing at the whole video comes first, focusing on a few snippets follows. Each crop passes the network by itself. To the
features x of a snippet their length joins:

    stem      conv(x) + 0.1 conv(||x||), kernels of 3 to 64 channels

then three stages of 3, 3 and 2 layers, 64, 128 and 1024 wide; between two of them a channel norm and a linear map. A layer:

    x + conv(x), then x + block(x), then x + linear(gelu(linear(channel norm(x))))
    channel norm      g (x - mean) / (sd + 1e-5) + b, over a snippet's channels
    glance, stage 1   softmax attention of heads of 64 to the whole video, behind a channel norm
    focus, stage 2, 3 linear, filter, linear behind a BatchNorm; the filter over time has a kernel of 5 for each of C / 64
                      heads, and channel c belongs to head c mod H

and F = layer norm(x), score = sigmoid(linear(F)), averaged over crops.

In training the magnitude ||F||, averaged over crops and masked by dropout, ranks a video's snippets; the 3 largest stand for
it: the mean of their scores for the label, and for each crop u = their sums of |F|, in the order of the ranking. With distances
d(a, b) = ||a - b + 1e-6||:

    classification    bce of the mean score
    contrast          mean max(0, 200 - d(u abnormal, u normal))^2 over pairs (abnormal video i, normal video i, same crop)
    compact_normal    mean d(u of crop c + N/2, u of crop c)^2 over normal videos and c < N/2; compact_abnormal of abnormal ones
    smooth            8e-4 sum_t (s_(t+1) - s_t)^2 within each video, of all videos
    sparsity          8e-3 ||s||_2 of all normal videos' scores as one vector
    total = classification + 0.001 (0.001 contrast + compact_normal + compact_abnormal) + smooth + sparsity

Paper and code: where they differ, this follows the code. The paper calls the filter an attention, but nothing in it depends
on the input; its compactness is of pairs of videos, the code's of two crops of one; sparsity is of the normal videos. The code
has this smoothness and sparsity since April 2023; the released weights are older, and were probably trained by RTFM's. The
code demands ten crops; here any even number trains, an odd one is an error, and any number scores. It also selects where it
only scores, and so fails below three snippets; here one is enough. Where all of a snippet's channels are alike, the code's
gradient of the channel norm is NaN; here that of the deviation is 0.
"""
from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..blocks import configuration
from ..blocks.activations import gelu, sigmoid
from ..blocks.attention import softmax_attention
from ..blocks.convolution import conv1d, conv1d_parameters, shifted
from ..blocks.crops import in_blocks, one_crop_each
from ..blocks.linear import linear, linear_parameters
from ..blocks.losses import binary_cross_entropy, smoothness
from ..blocks.magnitude import EVALUATION_BLOCK, select, with_crops
from ..blocks.normalisation import batch_norm, batch_norm_parameters, layer_norm, layer_norm_parameters
from ..blocks.random import dropout
from ..blocks.tensors import Parameter, Scope, affine, flatten
from ..conventions import Protocol
from ..data.batches import Batch
from ..errors import InputError
from ..registry import Paper, Published

Array = np.ndarray
CHANNEL_NORM_EPS = 1e-5
DISTANCE_EPS = 1e-6
LAYER = re.compile(r"stages\.(?P<stage>\d+)(\.0)?\.layers\.(?P<layer>\d+)\.(?P<glance>(block|1)\.(to_)?qkv)?")
"""The beginning of a tensor's name in a layer, here and in the authors' files."""


@dataclass(frozen=True)
class Config(configuration.Config):
    """The sizes and settings of MGFN.

    feature_dim: D of the features.
    channels, depths, blocks: width, layers, and block ("glance" or "focus") of each stage.
    head_dim: width of a head, of which every width is a multiple.
    kernel_size: snippets that the filter of a focus block sees, odd.
    expansion: how much wider the hidden layer of a feed-forward is.
    magnitude_ratio: share of the lengths in the stem.
    dropout: share that is zeroed of the mask of the selection, below 1.
    k: how many snippets stand for a video.
    margin: of contrast.
    contrast_weight: of contrast beside the compactness.
    magnitude_weight: of these three together.
    smooth_weight, sparsity_weight: of the other terms.
    """

    feature_dim: int = 2048
    channels: tuple[int, ...] = (64, 128, 1024)
    depths: tuple[int, ...] = (3, 3, 2)
    blocks: tuple[str, ...] = ("glance", "focus", "focus")
    head_dim: int = 64
    kernel_size: int = 5
    expansion: int = 4
    magnitude_ratio: float = 0.1
    dropout: float = 0.7
    k: int = 3
    margin: float = 200.0
    contrast_weight: float = 0.001
    magnitude_weight: float = 0.001
    smooth_weight: float = 8e-4
    sparsity_weight: float = 8e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        stages = len(self.channels)
        configuration.require(stages > 0, "channels", self.channels, "the width of at least one stage")
        for name in ("depths", "blocks"):
            value = getattr(self, name)
            configuration.require(len(value) == stages, name, value, f"one for each of {stages} stages")
        for block in self.blocks:
            configuration.require(block in ("glance", "focus"), "blocks", block, "glance or focus")
        for width in self.channels:
            configuration.require(width % self.head_dim == 0, "channels", width, f"a multiple of head_dim = {self.head_dim}")
        configuration.require(self.kernel_size % 2 == 1, "kernel_size", self.kernel_size, "an odd number")
        configuration.require(self.dropout < 1, "dropout", self.dropout, "a share below 1")

    @property
    def training_only(self) -> tuple[str, ...]:
        return ("dropout", "k", "margin", "contrast_weight", "magnitude_weight", "smooth_weight", "sparsity_weight")

    def check_training(self, crops: int, steps: int) -> None:
        """Raise InputError for videos that no batch of training may have."""
        if crops % 2:
            raise InputError(f"training videos have N = {crops} crops, expected an even number: its losses compare two of them")
        if steps < self.k:
            raise InputError(f"training videos have T = {steps} snippets, expected at least k = {self.k}")


PROBABILITIES = True  # the sigmoid of the classifier, trained by cross-entropy
PAPER = Paper("MGFN: Magnitude-Contrastive Glance-and-Focus Network for Weakly-Supervised Video Anomaly Detection", "Chen et al.",
              2023, "https://arxiv.org/abs/2211.15098", {"ucf-crime": {"auc": 86.98}, "xd-violence": {"ap": 80.11}})
PROTOCOLS = {"": Protocol()}
# Features of 32 channels: fewer and narrower stages, and sums of |F| over 64 channels rather than 1024.
DEMO = Config(feature_dim=32, channels=(32, 64), depths=(1, 1), blocks=("glance", "focus"), head_dim=16, expansion=2, k=6,
              margin=12)
# 810 abnormal and 800 normal videos, in the order of the files: 50 steps an epoch, 1000 epochs.
RECIPES = {"ucf-crime": {"segments": 32, "videos": 16, "steps": 50000, "learning_rate": 1e-3, "weight_decay": 5e-4,
                         "crops": "all", "draw": "file-order", "evaluate_every": 50},
           "demo": {"segments": 64, "videos": 16, "steps": 200, "learning_rate": 3e-3, "weight_decay": 2e-2, "crops": "all",
                    "evaluate_every": 25, "settings": DEMO.as_dict()}}


def parameters(config: Config) -> dict[str, Parameter]:
    first, last = config.channels[0], config.channels[-1]
    return flatten({
        "embedding": conv1d_parameters(config.feature_dim, first, 3), "length_embedding": conv1d_parameters(1, first, 3),
        "stages": {str(i): stage_parameters(i, config) for i in range(len(config.channels))},
        "norm": layer_norm_parameters(last), "classifier": linear_parameters(last, 1)})


def stage_parameters(stage: int, config: Config) -> dict:
    width, heads = config.channels[stage], config.channels[stage] // config.head_dim
    hidden = config.expansion * width
    block = {"norm": layer_norm_parameters(width), "qkv": linear_parameters(width, 3 * width, bias=False),
             "out": linear_parameters(width, width)} if config.blocks[stage] == "glance" else {
        "norm": batch_norm_parameters(width), "value": linear_parameters(width, width, bias=False),
        "filter": affine((heads, 1, config.kernel_size), True), "out": linear_parameters(width, width)}
    layer = {"convolution": conv1d_parameters(width, width, 3), "block": block,
             "feed_forward": {"norm": layer_norm_parameters(width), "linear1": linear_parameters(width, hidden),
                              "linear2": linear_parameters(hidden, width)}}
    made: dict = {"layers": {str(i): layer for i in range(config.depths[stage])}}
    if stage + 1 < len(config.channels):
        made["next"] = {"norm": layer_norm_parameters(width), "linear": linear_parameters(width, config.channels[stage + 1])}
    return made


def infer_names(names: Iterable[str]) -> dict[str, Any]:
    """The stages: their depths and blocks, and as many widths, which are not theirs yet."""
    found = [match for match in map(LAYER.match, names) if match]
    layers = {(int(match["stage"]), int(match["layer"])) for match in found}
    glances = {int(match["stage"]) for match in found if match["glance"]}
    stages = range(1 + max(stage for stage, _ in layers))
    return {"channels": (Config.head_dim,) * len(stages),
            "depths": tuple(sum(stage == of for of, _ in layers) for stage in stages),
            "blocks": tuple("glance" if stage in glances else "focus" for stage in stages)}


def infer(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """All sizes, but head_dim and kernel_size where no block is a focus."""
    made = infer_names(shapes)
    first = [f"stages.{stage}.layers.0" for stage in range(len(made["depths"]))]
    channels = tuple(shapes[f"{layer}.convolution.weight"][0] for layer in first)
    made |= {"feature_dim": shapes["embedding.weight"][1], "channels": channels,
             "expansion": shapes[f"{first[0]}.feed_forward.linear1.weight"][0] // channels[0]}
    for layer, width in zip(first, channels):
        if filters := shapes.get(f"{layer}.block.filter.weight"):
            made |= {"head_dim": width // filters[0], "kernel_size": filters[2]}
    return made


def published(config: Config) -> Published:
    """The official PyTorch checkpoints: one for each of this network's tensors. A channel norm's are called g and b there."""
    modules = {"embedding": "to_tokens", "length_embedding": "to_mag", "norm": "to_logits.0", "classifier": "fc"}
    channel_norms = set()
    for stage, (depth, block) in enumerate(zip(config.depths, config.blocks)):
        for layer in range(depth):
            ours, theirs = f"stages.{stage}.layers.{layer}", f"stages.{stage}.0.layers.{layer}"
            modules |= {f"{ours}.convolution": f"{theirs}.0", f"{ours}.block.norm": f"{theirs}.1.norm",
                        f"{ours}.block.qkv": f"{theirs}.1.to_qkv", f"{ours}.block.value": f"{theirs}.1.to_v",
                        f"{ours}.block.filter": f"{theirs}.1.rel_pos", f"{ours}.block.out": f"{theirs}.1.to_out",
                        f"{ours}.feed_forward.norm": f"{theirs}.2.0", f"{ours}.feed_forward.linear1": f"{theirs}.2.1",
                        f"{ours}.feed_forward.linear2": f"{theirs}.2.4"}
            channel_norms |= {f"{ours}.feed_forward.norm", *([f"{ours}.block.norm"] if block == "glance" else [])}
        modules |= {f"stages.{stage}.next.norm": f"stages.{stage}.1.0", f"stages.{stage}.next.linear": f"stages.{stage}.1.1"}
        channel_norms.add(f"stages.{stage}.next.norm")
    names = {}
    for name in parameters(config):
        module, _, tensor = name.rpartition(".")
        theirs = {"weight": "g", "bias": "b"}[tensor] if module in channel_norms else tensor
        names[f"{modules[module]}.{theirs}"] = name
    return Published(names)


def forward(features: Array, p: Scope, config: Config) -> Array:
    """Anomaly scores: (B, T, D) or (B, N, T, D) -> (B, T), averaged over crops."""
    items, crops = one_crop_each(features)
    size = 1 + EVALUATION_BLOCK // items.shape[1]
    scores = in_blocks(lambda some: item_scores(embed(some, p, config), p), items, 0, size)
    return scores.reshape(-1, crops, items.shape[1]).mean(1)


def embed(items: Array, p: Scope, config: Config) -> Array:
    """F of crops on their own: (B, T, D) -> (B, T, C)."""
    lengths = np.linalg.norm(items, axis=-1, keepdims=True)
    x = conv1d(items, **p.at("embedding")) + config.magnitude_ratio * conv1d(lengths, **p.at("length_embedding"))
    for stage, (depth, kind) in enumerate(zip(config.depths, config.blocks)):
        scope = p.at("stages").at(stage)
        for layer in (scope.at("layers").at(i) for i in range(depth)):
            x = x + conv1d(x, **layer.at("convolution"))
            x = x + (glance if kind == "glance" else focus)(x, layer.at("block"), config.head_dim)
            x = x + feed_forward(x, layer.at("feed_forward"))
        if stage + 1 < len(config.depths):
            x = linear(channel_norm(x, **scope.at("next").at("norm")), **scope.at("next").at("linear"))
    return layer_norm(x, **p.at("norm"))


def item_scores(x: Array, p: Scope) -> Array:
    """(..., C) -> (...)."""
    return sigmoid(linear(x, **p.at("classifier")))[..., 0]


def channel_norm(x: Array, weight: Array, bias: Array) -> Array:
    """(x - mean) / (sd + 1e-5) * weight + bias over the last axis: eps joins the deviation, not the variance."""
    centred = x - x.mean(-1, keepdims=True)
    deviation = np.linalg.norm(centred, axis=-1, keepdims=True) * x.shape[-1] ** -0.5
    return centred / (deviation + CHANNEL_NORM_EPS) * weight + bias


def glance(x: Array, p: Scope, head_dim: int) -> Array:
    """Softmax attention to the whole video. x (B, T, C) -> (B, T, C)."""
    batch, steps, width = x.shape
    projected = linear(channel_norm(x, **p.at("norm")), **p.at("qkv")).reshape(batch, steps, 3, -1, head_dim)
    q, k, v = np.moveaxis(projected, (2, 3), (0, 2))
    return linear(softmax_attention(q, k, v).swapaxes(1, 2).reshape(x.shape), **p.at("out"))


def focus(x: Array, p: Scope, head_dim: int) -> Array:
    """A filter over time, one kernel a head, between two linear maps. x (B, T, C) -> (B, T, C)."""
    return linear(filtered(linear(batch_norm(x, p.at("norm")), **p.at("value")), **p.at("filter")), **p.at("out"))


def filtered(x: Array, weight: Array, bias: Array) -> Array:
    """y_t,c = b_h + sum_k w_h,k x_(t + k - K // 2),c with head h = c mod H, zeros outside. x (B, T, C), weight (H, 1, K)."""
    steps, repeats, taps = x.shape[1], x.shape[2] // len(weight), weight.shape[-1]
    y = np.zeros_like(x) + np.tile(bias, repeats)
    for k in range(taps):
        target, source = shifted(steps, max(-steps, min(k - taps // 2, steps)))
        y[:, target] += x[:, source] * np.tile(weight[:, 0, k], repeats)
    return y


def feed_forward(x: Array, p: Scope) -> Array:
    return linear(gelu(linear(channel_norm(x, **p.at("norm")), **p.at("linear1"))), **p.at("linear2"))


def branches(clips: Array, p: Scope, config: Config) -> tuple[Array, Array, Array]:
    """(B, N, T, D) -> F (B, N, T, C), scores (B, T) and magnitudes (B, T)."""
    x = embed(clips.reshape(-1, *clips.shape[2:]), p, config).reshape(*clips.shape[:3], -1)
    return x, item_scores(x, p).mean(1), np.linalg.norm(x, axis=-1).mean(1)


def losses(batch: Batch, p: Scope, config: Config) -> dict[str, Array]:
    """Training terms of (2B, N, T, D) with N even, normal videos first: total, and its parts without the weights of
    `loss_weights`."""
    clips = with_crops(batch.features)
    config.check_training(*clips.shape[1:3])
    x, s, magnitudes = branches(clips, p, config)
    picks = select(magnitudes * dropout(np.ones_like(magnitudes), config.dropout, p.rng), config.k)
    sums = np.abs(np.take_along_axis(x, picks[:, None, :, None], 2)).sum(-1)  # (2B, N, k)
    half, parts = len(s) // 2, sums.shape[1] // 2
    labels = np.repeat(np.array([0, 1], s.dtype), half)
    far = distance(sums[half:], sums[:half])
    within = distance(sums[:, parts:], sums[:, :parts]) ** 2
    terms = {"classification": binary_cross_entropy(np.take_along_axis(s, picks, 1).mean(1), labels).mean(),
             "contrast": (np.maximum(0, config.margin - far) ** 2).mean(),
             "compact_normal": within[:half].mean(), "compact_abnormal": within[half:].mean(),
             "smooth": config.smooth_weight * smoothness(s).sum(),
             "sparsity": config.sparsity_weight * np.linalg.norm(s[:half])}
    weights = loss_weights(config)
    return {"total": sum(weights.get(name, 1) * term for name, term in terms.items())} | terms


def distance(a: Array, b: Array) -> Array:
    """||a - b + 1e-6|| over the last axis."""
    return np.linalg.norm(a - b + DISTANCE_EPS, axis=-1)


def loss_weights(config: Config) -> dict[str, float]:
    """{term: its weight in the total}, of those whose weight is not 1."""
    return {"contrast": config.magnitude_weight * config.contrast_weight, "compact_normal": config.magnitude_weight,
            "compact_abnormal": config.magnitude_weight}
