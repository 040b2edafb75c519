"""ADPLG: attention-driven pseudo-label self-training (Yang et al. 2026, Pattern Recognition 113349).

Two branches are trained together. The first learns from video labels where to look; what it looks at in an abnormal
video becomes the snippet labels of the second, which alone scores at test time.

Branch "video": q, k, v are linear in the features. The attention of queries Q and keys K is the diagonal only,

    a = softmax over t of (Q_t . K_t) / sqrt(512),   fused feature = sum_t a_t V_t

of an abnormal video's own Q_a, K_a, V_a; of a normal video's Q_n, K_n, V_n; and across, the i-th normal video's Q_n
with the i-th abnormal one's K_a, V_a. A small classifier says how anomalous a fused feature is. Terms:

    video     bce of the normal and the abnormal fused features' classes
    triplet   max(0, 1 + d(normal, across) - d(normal, abnormal)) of the fused features, d(x, y) = ||x - y + 1e-6||
    cosine    of abnormal attention and attention across, averaged over videos
    smooth    sum (a_(i+1) - a_i)^2 of the abnormal attentions
    sparsity  ||a||_2 of the abnormal attentions, averaged over snippets

Pseudo labels: an abnormal video's attention, min-max normalised, is kept for the last H times it was drawn. The first H
times the attention itself is the (soft) label; then the label is 1 where the mean of the last H, normalised again, reaches
a threshold, else 0, and a snippet whose normalised variance exceeds another one is hard and is left out.

Branch "snippet": convolution, ReLU, four transformers in parallel that attend to windows of 2, 4, 6, 8 snippets, their
outputs side by side into a transformer with global attention, and a classifier of snippets. Term:

    snippet   bce against 0 in normal videos, the pseudo labels in abnormal ones; losses of exactly 0 do not count
    total = video + triplet + cosine + smooth + sparsity + snippet, the last one after `warm_up` steps only

Paper and code: where they differ, this follows the code. Smooth takes its differences between consecutive videos of
the batch, not snippets, and sparsity its norm over the videos. Queries of the local attention are a window ahead in their
rotary positions, and padding takes a share of it (see `wvad_core.blocks.attention.windowed_attention`).
"""
from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from ..blocks import configuration
from ..blocks.activations import relu, sigmoid, softmax
from ..blocks.attention import local_attention, local_attention_parameters, with_positions
from ..blocks.convolution import conv1d, conv1d_parameters
from ..blocks.crops import one_crop_each
from ..blocks.linear import linear, linear_parameters
from ..blocks.losses import binary_cross_entropy, triplet
from ..blocks.normalisation import layer_norm, layer_norm_parameters
from ..blocks.random import dropout
from ..blocks.tensors import Parameter, Scope, count, flatten, published_by_module
from ..blocks.transformer import transformer, transformer_names, transformer_parameters
from ..conventions import Protocol
from ..data.batches import Batch
from ..errors import InputError, one_line
from ..registry import Paper, Published

Array = np.ndarray


@dataclass(frozen=True)
class Config(configuration.Config):
    """The sizes and settings of ADPLG.

    feature_dim: D of the features.
    hidden: width of the video branch's q, k and v.
    channels: width of the snippet branch, a multiple of the number of window sizes.
    window_sizes: of the local attentions side by side, in snippets.
    local_heads, local_head_dim: heads of each local attention, and their width, even.
    positions: learned positions, the longest video in snippets.
    depth, heads, head_dim, feed_forward_dim: of the transformer with global attention.
    classifier_dim: width of the classifiers' hidden layer.
    dropout, classifier_dropout: shares that are zeroed in training, below 1, of the transformer and of the classifiers.
    num_segments: of a training video, at most `positions`.
    history: H, the attentions of a video that make its pseudo label.
    label_threshold, variance_threshold: of the mean and of the variance of these, min-max normalised.
    warm_up: steps before the snippet branch trains; 0 for none.
    """

    feature_dim: int = 1024
    hidden: int = 512
    channels: int = 1024
    window_sizes: tuple[int, ...] = (2, 4, 6, 8)
    local_heads: int = 8
    local_head_dim: int = 64
    positions: int = 6750
    depth: int = 2
    heads: int = 4
    head_dim: int = 256
    feed_forward_dim: int = 1024
    classifier_dim: int = 32
    dropout: float = 0.5
    classifier_dropout: float = 0.7
    num_segments: int = 64
    history: int = 3
    label_threshold: float = 0.25
    variance_threshold: float = 0.4
    warm_up: int = configuration.at_least(0, 1000)

    def __post_init__(self) -> None:
        super().__post_init__()
        configuration.require(bool(self.window_sizes), "window_sizes", [], "at least one size")
        configuration.require(self.channels % len(self.window_sizes) == 0, "channels", self.channels,
                              f"a multiple of the {len(self.window_sizes)} window sizes")
        configuration.require(self.local_head_dim % 2 == 0, "local_head_dim", self.local_head_dim, "an even number")
        configuration.require(self.num_segments <= self.positions, "num_segments", self.num_segments,
                              f"at most positions = {self.positions}")
        for name in ("dropout", "classifier_dropout"):
            configuration.require(getattr(self, name) < 1, name, getattr(self, name), "a share below 1")

    @property
    def training_only(self) -> tuple[str, ...]:
        return ("hidden", "dropout", "classifier_dropout", "num_segments", "history", "label_threshold",
                "variance_threshold", "warm_up")

    @property
    def local_channels(self) -> int:
        """Channels of one window size's output."""
        return self.channels // len(self.window_sizes)


PROBABILITIES = True  # the sigmoid of the snippet branch, trained by cross-entropy
# The authors' results could not be checked, so none are given.
PAPER = Paper("Attention-driven pseudo-label self-training for weakly supervised video anomaly detection",
              "Yang et al.", 2026, "https://www.sciencedirect.com/science/article/abs/pii/S0031320326003146", {})
PROTOCOLS = {"": Protocol(note="as the uniform protocol; how its authors count frames is not known")}
DEMO = Config(feature_dim=32, hidden=256, channels=32, window_sizes=(2, 8), local_heads=2, local_head_dim=16, positions=6000,
              depth=1, heads=2, head_dim=16, feed_forward_dim=64, dropout=0.3, classifier_dropout=0.3, warm_up=60)


_SNIPPET = {"prefix": "snippet.", "learning_rate": 1e-3, "decay": 0.9, "decay_steps": 4000, "warm_up": "warm_up"}
_PUBLISHED = {"segments": 64, "videos": 32, "steps": 20000, "weight_decay": 5e-3,
              "groups": ({"prefix": "video.", "learning_rate": 1e-4}, _SNIPPET)}
_XD = {"history": 5, "label_threshold": 0.15, "variance_threshold": 0.5, "warm_up": 1500}
RECIPES = {"ucf-crime": _PUBLISHED, "xd-violence": _PUBLISHED | {"metric": "ap", "settings": _XD},
           "shanghaitech": _PUBLISHED | {"settings": {"history": 4, "label_threshold": 0.2}},
           "demo": {"segments": DEMO.num_segments, "videos": 20, "steps": 400, "weight_decay": 1e-3, "evaluate_every": 20,
                    "groups": ({"prefix": "video.", "learning_rate": 3e-3},
                               _SNIPPET | {"learning_rate": 6e-3, "decay": 0.6, "decay_steps": 100}),
                    "settings": DEMO.as_dict()}}


def parameters(config: Config) -> dict[str, Parameter]:
    positions = Parameter((config.positions, config.channels), 3**0.5)  # variance 1, as PyTorch's embeddings have
    local = {"position": {"weight": positions},
             "attention": local_attention_parameters(config.channels, config.local_heads, config.local_head_dim),
             "norm": layer_norm_parameters(config.channels),
             "project": linear_parameters(config.channels, config.local_channels, bias=False)}
    return flatten({
        "video": {name: conv1d_parameters(config.feature_dim, config.hidden, 1) for name in ("q", "k", "v")}
        | {"classifier": classifier_parameters(config.hidden, config.classifier_dim)},
        "snippet": {"embedding": conv1d_parameters(config.feature_dim, config.channels, 3),
                    "local": {str(i): local for i in range(len(config.window_sizes))},
                    "transformer": transformer_parameters(config.channels, config.depth, config.heads, config.head_dim,
                                                          config.feed_forward_dim, local=False),
                    "classifier": classifier_parameters(config.channels, config.classifier_dim)}})


def classifier_parameters(inputs: int, hidden: int) -> dict:
    return {"fc1": linear_parameters(inputs, hidden), "fc2": linear_parameters(hidden, 1)}


def published(config: Config) -> Published:
    """The official PyTorch checkpoints: a file for each branch."""
    modules = {f"video.{name}": f"Snippts_Fuse.{name}" for name in ("q", "k", "v")}
    modules |= {f"{ours}.classifier.{fc}": f"{theirs}.{i}" for ours, theirs in
                (("video", "classifier_v"), ("snippet", "classifier_s")) for fc, i in (("fc1", 0), ("fc2", 3))}
    modules |= {"snippet.embedding": "embedding.conv_1.0"}
    modules |= transformer_names("snippet.transformer", "selfatt", config.depth)
    locals_ = {"position": "pos_emb", "attention.norm": "layers.0.0.norm", "attention.qkv": "layers.0.0.to_qkv",
               "attention.out": "layers.0.0.to_out", "norm": "to_logits.0", "project": "to_logits.1"}
    feed_forward = [f"layers.0.1.{name}" for name in ("0.weight", "0.bias", "1.weight", "4.weight")]
    unused = ["norm.weight", "norm.bias", *(f"vars_s.{i}" for i in range(4))]
    for i in range(len(config.window_sizes)):
        modules |= {f"snippet.local.{i}.{ours}": f"LSA{i + 1}.{theirs}" for ours, theirs in locals_.items()}
        unused += [f"LSA{i + 1}.{name}" for name in ("token_emb.weight", *feed_forward)]
    return Published(published_by_module(modules, parameters(config)), unused=frozenset(unused),
                     parts=("video.", "snippet."), training_parts=("video.",))


def forward(features: Array, p: Scope, config: Config) -> Array:
    """Anomaly scores of the snippet branch, crops averaged: (B, T, D) or (B, N, T, D) -> (B, T)."""
    items, crops = one_crop_each(features)
    return snippet_scores(items, p.at("snippet"), config).reshape(-1, crops, items.shape[1]).mean(1)


def snippet_scores(features: Array, p: Scope, config: Config) -> Array:
    """(B, T, D) -> (B, T)."""
    x = np.concatenate(local_outputs(features, p, config), axis=-1)
    x = transformer(x, p.at("transformer"), config.depth, config.heads, config.dropout, local=False)
    return classified(x, p.at("classifier"), config)


def local_outputs(features: Array, p: Scope, config: Config) -> list[Array]:
    """The embedded features (B, T, D) as each window size sees them, (B, T, C / sizes)."""
    embedded, outputs = relu(conv1d(features, **p.at("embedding"))), []
    for i, window in enumerate(config.window_sizes):
        local = p.at("local").at(i)
        a = local.at("attention")
        x = with_positions(embedded, **local.at("position"))
        x = x + local_attention(layer_norm(x, **a.at("norm")), a, config.local_heads, window)
        outputs.append(linear(layer_norm(x, **local.at("norm")), **local.at("project")))
    return outputs


def classified(x: Array, p: Scope, config: Config) -> Array:
    """linear, ReLU, dropout, linear, sigmoid. x (..., C) -> (...)."""
    hidden = dropout(relu(linear(x, **p.at("fc1"))), config.classifier_dropout, p.rng)
    return sigmoid(linear(hidden, **p.at("fc2")))[..., 0]


def attend(q: Array, k: Array, v: Array) -> tuple[Array, Array]:
    """The diagonal attention (B, T) and the fused features (B, E) of q, k, v (B, T, E)."""
    weights = softmax((q * k).sum(-1) * q.shape[-1] ** -0.5)
    return weights, (weights[..., None] * v).sum(1)


def video_branch(features: Array, p: Scope) -> dict[str, tuple[Array, Array]]:
    """(2B, T, D), normal videos first -> attention (B, T) and fused features (B, E): abnormal, cross, normal."""
    (q_n, q_a), (k_n, k_a), (v_n, v_a) = (np.split(conv1d(features, **p.at(name)), 2) for name in ("q", "k", "v"))
    return {"abnormal": attend(q_a, k_a, v_a), "cross": attend(q_n, k_a, v_a), "normal": attend(q_n, k_n, v_n)}


def video_terms(features: Array, p: Scope, config: Config) -> tuple[dict[str, Array], Array]:
    """The terms of (2B, T, D), normal videos first, and the abnormal videos' attention (B, T)."""
    found = video_branch(features, p)
    (attention, abnormal), (across, cross), (_, normal) = (found[name] for name in ("abnormal", "cross", "normal"))
    labels = np.repeat(np.array([0, 1], features.dtype), len(normal))
    classes = classified(np.concatenate([normal, abnormal]), p.at("classifier"), config)
    norms = np.linalg.norm(attention, axis=1) * np.linalg.norm(across, axis=1)
    return {"video": binary_cross_entropy(classes, labels).mean(),
            "triplet": triplet(normal, cross, abnormal).mean(),
            "cosine": ((attention * across).sum(1) / norms).mean(),
            "smooth": (np.diff(attention, axis=0) ** 2).sum(),
            "sparsity": np.linalg.norm(attention, axis=0).mean()}, attention


def snippet_loss(scores: Array, labels: Array, counted: Array) -> Array:
    """Cross entropy of the snippets counted, without those whose loss is exactly 0. All (2B, T)."""
    loss = binary_cross_entropy(scores, labels) * counted
    return loss.sum() / max((loss != 0).sum(), 1)


def losses(batch: Batch, p: Scope, config: Config) -> dict[str, Array]:
    """Training terms of (2B, T, D) or (2B, N, T, D), normal videos first; one step of the memory."""
    items, _ = one_crop_each(batch.features)
    terms, attention = video_terms(items, p.at("video"), config)
    labels, counted = p.memory.targets(batch.videos, attention)
    terms["snippet"] = 0.0
    if p.memory.warm:
        terms["snippet"] = snippet_loss(snippet_scores(items, p.at("snippet"), config), labels, counted)
    return {"total": sum(terms.values())} | terms


def min_max(x: Array) -> Array:
    """(x - min) / (max - min + 1e-8) of each video. x (..., T)."""
    low, high = x.min(-1, keepdims=True), x.max(-1, keepdims=True)
    return (x - low) / (high - low + 1e-8)


def pseudo_labels(history: Array, config: Config) -> tuple[Array, Array]:
    """Labels, 0 or 1, and which snippets are hard, (..., T) each, from the last normalised attentions (H, ..., T)."""
    unbiased = ((history - history.mean(0)) ** 2).sum(0) / max(len(history) - 1, 1)
    labels = (min_max(history.mean(0)) >= config.label_threshold).astype(history.dtype)
    return labels, min_max(unbiased) > config.variance_threshold


class Memory:
    """The last attentions of every abnormal video, by its number, and the steps so far; in NumPy for all backends."""

    def __init__(self, config: Config):
        self.config, self.steps = config, 0
        self.histories: dict[int, Array] = {}  # (at most H, T) each, oldest first

    @property
    def warm(self) -> bool:
        """Whether the snippet branch trains in this step."""
        return self.steps > self.config.warm_up

    def targets(self, videos: Array | None, attention: Array) -> tuple[Array, Array]:
        """One step: labels of a batch's snippets, normal videos first, and 1 for those that count, (2B, T) each.

        videos: (2B / N,), the numbers of the batch's videos, of N crops each; None where not known.
        attention: (B, T), that of the abnormal ones.
        """
        if videos is not None:
            videos = np.repeat(videos, 2 * len(attention) // len(videos))[len(attention):]
        labels, hard = self.update(videos, attention)
        return np.concatenate([np.zeros_like(labels), labels]), np.concatenate([np.ones_like(labels), 1 - hard])

    def update(self, videos: Iterable[int] | None, attention: Array) -> tuple[Array, Array]:
        """One step: labels (B, T) and hard snippets, 1 or 0, (B, T) of attentions (B, T), which are remembered.

        A video that comes twice is drawn twice. Where numbers are not known, nothing is remembered.
        Raises InputError for a video that had another length before.
        """
        self.steps += 1
        current = min_max(attention)
        labels, hard = current.copy(), np.zeros_like(current)
        for i, video in enumerate(videos if videos is not None else ()):
            known = self.histories.get(int(video), current[:0])
            if known.shape[1:] != current.shape[1:]:
                raise InputError(f"training video {video} has {current.shape[1]} snippets, {known.shape[1]} before")
            kept = np.concatenate([known, current[i:i + 1]])[-self.config.history:]
            self.histories[int(video)] = kept
            if len(known) == self.config.history:
                labels[i], hard[i] = pseudo_labels(kept, self.config)
        return labels, hard

    def state(self) -> dict[str, Array]:
        """All that is remembered, as arrays by name."""
        return {"steps": np.array(self.steps)} | {f"video.{video}": kept.copy() for video, kept in self.histories.items()}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Remember what `state()` gave, and nothing else. Raises InputError for anything else."""
        steps = count(state["steps"], "memory.steps")
        for name, kept in state.items():
            if name != "steps" and not (re.fullmatch("video\\.[0-9]{1,9}", name) and kept.dtype.kind == "f" and kept.ndim == 2
                                        and 1 <= len(kept) <= self.config.history and ((kept >= 0) & (kept <= 1)).all()):
                raise InputError(f"memory.{one_line(name, 40)} is {kept.dtype} {kept.shape}, expected memory.video.NUMBER, "
                                 f"1 to {self.config.history} attentions from 0 to 1")
        self.steps = steps
        self.histories = {int(name.removeprefix("video.")): np.array(kept) for name, kept in state.items() if name != "steps"}


def memory(config: Config) -> Memory:
    return Memory(config)
