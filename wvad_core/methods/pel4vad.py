"""PEL4VAD: prompt-enhanced context features (Pu et al. 2024, arXiv:2306.14451).

Every crop is an item of its own, x (T, D), in training too. Its context y is that of `blocks.context_attention`,

    L_ij = q_i . k_j / sqrt(E) + exp(-|w (i - j)^2 - b|)
    y_i  = s sum_j G_ij v_j + (1 - s) sum_j N_ij v_j,   s = sigmoid(alpha),

G the softmax of L_i over all snippets, N that over the W nearest. With `power_norm` (UCF-Crime and ShanghaiTech) y
becomes sign(y) sqrt|y|, and each channel is divided by its L2 norm over time. Then

    z = LayerNorm(x + O y),   h = dropout(GELU(W1 z)),   e = dropout(GELU(W2 h)),   s = sigmoid(causal convolution of e)

Crop scores are averaged, and smoothed at last: `slide` makes s_t the sum of s_t .. s_(t + w - 1), divided by w, with
zeros behind the end; `fixed` the sum over the block of w that t is in, divided by w, the last block filled up with
zeros. So `slide` looks forward, and both damp the last scores.

A batch has items in any order, n the number of an item's rows that are not all zero, and it ends with the longest item.
What is padded takes part everywhere but in the MIL term: in attention, in the norm over time, in f and in g.

    mil     mean over items of bce(mean of the k largest of the first n scores, label), k = n // 16 + 1, 1 if normal
    f, g    sum_t c_t h_t / sum_t c_t, c = exp(10 s) - 1 for f, exp(10 (1 - s)) - 1 for g
    rows    of a normal item (f, text 0, category 0); of an abnormal one (f, its text, its category) and (g, text 0, 0)
    prompt  mean over rows r of KL(target_r || softmax_u exp(logit_scale) cos(feature_r, text_u)), u over all rows,
            target_r = softmax_u 10 [category_r = category_u]
    total = mil + prompt_weight prompt

The texts are the companion `prompts` of a training set, (categories, D // 2), row 0 that of normal videos: for each
category the mean of the CLIP ViT-B/16 text features of its name and of its neighbours in ConceptNet. A video's category
is its first one; its text is the mean of all its categories' on ShanghaiTech, the first one's on XD-Violence.

Paper and code: as in the code, padding is not masked, the term of the distance is added to the logits of both
attentions, alpha begins at 0, and the best weights are chosen by scores that are not smoothed (AUC 86.36 on UCF-Crime
and 98.00 on ShanghaiTech, AP 85.26 on XD-Violence); the published results are of smoothed ones. Where a log softmax is
no number, the code sets the prompt term to 0: here that is an error. So is an item whose rows are all zero, at which
the code stops. More than one head would mix snippets and heads in the code; here there is one.
"""
from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ..blocks import configuration
from ..blocks.activations import gelu, sigmoid
from ..blocks.context_attention import context_attention, context_attention_parameters, power_norm, xavier
from ..blocks.convolution import causal_conv1d, conv1d
from ..blocks.crops import one_crop_each
from ..blocks.linear import linear
from ..blocks.losses import top_cross_entropy
from ..blocks.normalisation import layer_norm, layer_norm_parameters
from ..blocks.random import dropout
from ..blocks.tensors import Parameter, Scope, flatten, published_by_module
from ..conventions import Protocol
from ..data.batches import Batch
from ..errors import Failure, InputError
from ..registry import Paper, Published

Array = np.ndarray
SHARPNESS = 10
"""Of the weights of f and g, and of the targets."""
UCF_CRIME = ("Normal", "Abuse", "Arrest", "Arson", "Assault", "Burglary", "Explosion", "Fighting", "RoadAccidents",
             "Robbery", "Shooting", "Shoplifting", "Stealing", "Vandalism")
XD_VIOLENCE = ("Normal", "B5", "B6", "G", "B1", "B4", "B2")
SHANGHAITECH = ("Normal", "cycling", "chasing", "handcart", "fighting", "skateboarding", "vehicle", "running",
                "jumping", "wandering", "lifting", "robbery", "climbing over", "throwing")


@dataclass(frozen=True)
class Config(configuration.Config):
    """The sizes and settings of PEL4VAD; the defaults are those for UCF-Crime.

    feature_dim: D of the features; h has D // 2.
    attention_dim: E, the width of the attention.
    channels: of e.
    window_size: W, the snippets that the local attention sees.
    kernel_size: K of the causal convolution.
    power_norm: whether the context is power-normalised.
    gamma, bias, temperature: the first values of w, b and 1 / exp(logit_scale).
    dropout: share that is zeroed in training.
    k: the n // k + 1 largest of n scores stand for an abnormal video.
    prompt_weight: of the prompt term.
    categories: as tables name them, the normal one first; the rows of `prompts`.
    texts: what a video of several categories is compared with: the mean of their texts, or the first one's.
    smoothing, smoothing_window: the way in which scores are smoothed, and over how many.
    """

    halves: ClassVar[bool] = False

    feature_dim: int = 1024
    attention_dim: int = 128
    channels: int = 300
    window_size: int = 9
    kernel_size: int = 9
    power_norm: bool = True
    gamma: float = configuration.at_least(None, 0.6)
    bias: float = configuration.at_least(None, 0.2)
    temperature: float = 0.09
    dropout: float = 0.1
    k: int = 16
    prompt_weight: float = 1.0
    categories: tuple[str, ...] = UCF_CRIME
    texts: str = configuration.one_of("mean", "first")
    smoothing: str = configuration.one_of("slide", "fixed")
    smoothing_window: int = 7

    def __post_init__(self) -> None:
        super().__post_init__()
        configuration.require(self.dropout < 1, "dropout", self.dropout, "a share below 1")
        configuration.require(self.temperature > 0, "temperature", self.temperature, "a positive number")
        configuration.require(self.feature_dim > 1, "feature_dim", self.feature_dim, "2 or more")
        configuration.require(len(set(self.categories)) == len(self.categories) > 1, "categories", self.categories,
                              "different ones, two or more")

    @property
    def training_only(self) -> tuple[str, ...]:
        return ("gamma", "bias", "temperature", "dropout", "k", "prompt_weight", "categories", "texts")

    @property
    def hidden_dim(self) -> int:
        """Of h, and of the texts."""
        return self.feature_dim // 2

    def largest(self, labels: Array, lengths: Array) -> Array:
        """How many scores stand for each item, (V,)."""
        return np.minimum(labels * (lengths // self.k) + 1, lengths)


PROBABILITIES = True  # the sigmoid of a classifier, trained by cross-entropy
COMPANIONS = ("prompts",)
PAPER = Paper("Learning Prompt-Enhanced Context Features for Weakly-Supervised Video Anomaly Detection", "Pu et al.",
              2024, "https://arxiv.org/abs/2306.14451",
              {"ucf-crime": {"auc": 86.76, "ap": 33.99}, "xd-violence": {"ap": 85.59, "auc": 94.94},
               "shanghaitech": {"auc": 98.14, "ap": 72.56}})
SMOOTHING = {"ucf-crime": {"smoothing": "slide", "smoothing_window": 7}, "xd-violence": {"smoothing": "fixed", "smoothing_window": 8},
             "shanghaitech": {"smoothing": "slide", "smoothing_window": 3}}
_PROTOCOL = Protocol(metrics={"false_alarm_rate": lambda labels, scores: float(np.mean(scores >= 0.5))},
                     note="as the uniform protocol, smoothed; a score of 0.5 is an alarm")
PROTOCOLS = {"": _PROTOCOL} | {dataset: replace(_PROTOCOL, settings=settings) for dataset, settings in SMOOTHING.items()}
DEMO = Config(feature_dim=32, attention_dim=16, channels=32, k=4, prompt_weight=0.03, smoothing_window=2,
              categories=("Normal", "Arson", "Explosion", "Fighting", "Robbery"))


def _recipe(items: int, seed: int, metric: str = "auc", **settings: object) -> dict:
    """50 of the 60 epochs that the rate would fall to 0 in, which it does epoch by epoch. items: videos times crops."""
    epoch = -(-items // 128)
    return {"segments": 200, "videos": 128, "steps": 50 * epoch, "sampling": "picked", "batches": "items",
            "draw": "epochs-with-rest", "crops": "each", "learning_rate": 5e-4, "weight_decay": 0.0,
            "schedule": "cosine", "decay_steps": 60 * epoch, "schedule_every": epoch, "evaluate_every": epoch,
            "metric": metric, "seed": seed, "settings": settings}


RECIPES = {
    "ucf-crime": _recipe(16100, 9),
    "xd-violence": _recipe(19770, 4, "ap", kernel_size=3, gamma=0.06, bias=0.02, power_norm=False, temperature=0.05,
                           categories=XD_VIOLENCE, texts="first", **SMOOTHING["xd-violence"]),
    "shanghaitech": _recipe(2380, 0, window_size=5, kernel_size=3, gamma=0.08, bias=0.1, temperature=0.2,
                            prompt_weight=9.0, categories=SHANGHAITECH, **SMOOTHING["shanghaitech"]),
    "demo": {"segments": 100, "videos": 64, "steps": 100, "sampling": "picked", "batches": "items",
             "draw": "epochs-with-rest", "crops": "each", "learning_rate": 6e-3, "weight_decay": 0.0,
             "settings": DEMO.as_dict()}}


def parameters(config: Config) -> dict[str, Parameter]:
    dim, hidden = config.feature_dim, config.hidden_dim
    return flatten({
        "attention": context_attention_parameters(dim, config.attention_dim, config.gamma, config.bias),
        "norm": layer_norm_parameters(dim),
        "conv1": xavier((hidden, dim, 1)), "conv2": xavier((config.channels, hidden, 1)),
        "classifier": xavier((1, config.channels, config.kernel_size)),
        "logit_scale": Parameter((), value=math.log(1 / config.temperature))})


def published(config: Config) -> Published:
    """The official PyTorch checkpoints: one for each of this network's tensors."""
    attention = "self_attention.self_attn"
    modules = {f"attention.{name}": f"{attention}.{name}" for name in ("q", "k", "v")}
    modules |= {"attention.out": f"{attention}.o", "attention": attention, "classifier": "classifier"}
    modules |= {ours: f"self_attention.{theirs}" for ours, theirs in (
        ("attention.position", "loc_adj"), ("norm", "norm"), ("conv1", "linear1"), ("conv2", "linear2"))}
    others = (name for name in parameters(config) if name != "logit_scale")
    return Published(published_by_module(modules, others) | {"logit_scale": "logit_scale"})


def classes(config: Config) -> tuple[str, ...]:
    return config.categories


def forward(features: Array, p: Scope, config: Config) -> Array:
    """Anomaly scores before they are smoothed: (B, T, D) or (B, N, T, D) -> (B, T), averaged over crops."""
    items, crops = one_crop_each(features)
    return sigmoid(outputs(items, p, config)[1]).reshape(-1, crops, items.shape[1]).mean(1)


def outputs(x: Array, p: Scope, config: Config) -> tuple[Array, Array]:
    """What the texts are compared with, h (B, T, D // 2), and the logits of the scores, (B, T), of (B, T, D)."""
    y = context_attention(x, p.at("attention"), config.window_size)
    if config.power_norm:
        y = power_norm(y)
    z = layer_norm(x + linear(y, **p.at("attention").at("out")), **p.at("norm"))
    h = dropout(gelu(conv1d(z, **p.at("conv1"))), config.dropout, p.rng)
    e = dropout(gelu(conv1d(h, **p.at("conv2"))), config.dropout, p.rng)
    return h, causal_conv1d(e, **p.at("classifier"))[..., 0]


def postprocess(scores: Array, config: Config) -> Array:
    """A video's scores (T,), smoothed."""
    window, exact = config.smoothing_window, scores.astype(np.float64)
    if config.smoothing == "slide":
        return np.convolve(exact, np.ones(window))[window - 1:] / window
    blocks = np.concatenate([exact, np.zeros(-len(scores) % window)]).reshape(-1, window)
    return np.repeat(blocks.sum(1) / window, window)[:len(scores)]


def losses(batch: Batch, p: Scope, config: Config) -> dict[str, Array]:
    """Training terms of (V, T, D) or (V, N, T, D), in any order: total and its two parts."""
    batch = as_items(batch, config)
    batch = up_to(batch, longest(batch))
    h, logits = outputs(batch.features, p, config)
    counts = config.largest(batch.labels, batch.true_lengths())
    of_items = [top_cross_entropy(row[:length], label, count)
                for row, length, label, count in zip(logits, batch.true_lengths(), batch.labels, counts)]
    scale = np.exp(p["logit_scale"].astype(h.dtype))
    terms = {"mil": np.mean(of_items), "prompt": prompt_loss(h, logits, batch, config, scale)}
    check_prompt(*map(float, terms.values()))
    return {"total": terms["mil"] + config.prompt_weight * terms["prompt"]} | terms


def loss_weights(config: Config) -> dict[str, float]:
    """{term: its weight in the total}, of those whose weight is not 1."""
    return {"prompt": config.prompt_weight}


def as_items(batch: Batch, config: Config) -> Batch:
    """The batch with each crop as an item, and with lengths: where it gives none, how many rows of an item are not all zero.

    Raises InputError for what has no losses: no classes, prompts that do not fit, an item whose rows are all zero.
    """
    prompts, places = batch.companion("prompts"), batch.class_indices(len(config.categories))
    if places is None:
        raise InputError(f"a batch has no classes, expected each video's places among {', '.join(config.categories)}")
    if prompts.ndim != 2 or prompts.shape[1] != config.hidden_dim or len(prompts) <= places.max():
        raise InputError(f"companion prompts has shape {prompts.shape}, expected ({len(config.categories)}, "
                         f"{config.hidden_dim}): the features of a text for each category")
    if batch.features.ndim == 3 and batch.lengths is not None:
        return batch
    features, crops = one_crop_each(batch.features)
    given = batch.lengths
    lengths = (features != 0).any(-1).sum(-1) if given is None else np.repeat(given, crops)
    if empty := np.flatnonzero(lengths == 0).tolist():
        raise InputError(f"batch video {empty[0] // crops}, crop {empty[0] % crops}: all its snippets are zero, "
                         "expected one at least that is not")
    videos = None if batch.videos is None else np.repeat(batch.videos, crops)
    classes = [own for own in batch.classes or () for _ in range(crops)]
    return Batch(features, np.repeat(batch.labels, crops), lengths, videos, classes, batch.companions)


def longest(batch: Batch) -> int:
    return int(batch.true_lengths().max())


def up_to(batch: Batch, steps: int) -> Batch:
    """The batch without what is behind so many snippets."""
    return batch if batch.features.shape[1] == steps else replace(batch, features=batch.features[:, :steps])


def prompt_loss(h: Array, logits: Array, batch: Batch, config: Config, scale: Array) -> Array:
    """The prompt term of h (V, T, D // 2) and the logits of the scores (V, T)."""
    prompts = batch.companion("prompts").astype(h.dtype)
    foreground, background = pooled(h, sigmoid(logits)), pooled(h, sigmoid(-logits))
    rows: list[tuple[Array, Array, int]] = []
    for item, (label, places) in enumerate(zip(batch.labels, batch.classes or ())):
        own = (list(places) if config.texts == "mean" else [places[0]]) if label else [0]
        rows.append((foreground[item], prompts[own].mean(0), own[0]))
        if label:
            rows.append((background[item], prompts[0], 0))
    features, texts, categories = (np.stack(column) for column in zip(*rows))
    z = scale * unit(features) @ unit(texts).T
    target = log_softmax(SHARPNESS * (categories[:, None] == categories).astype(h.dtype))
    return (np.exp(target) * (target - log_softmax(z))).sum(1).mean()


def pooled(h: Array, scores: Array) -> Array:
    """sum_t c_t h_t, c_t = (exp(10 s_t) - 1) / sum_t (exp(10 s_t) - 1). (V, T, C), (V, T) -> (V, C)."""
    c = np.expm1(SHARPNESS * scores)
    with np.errstate(invalid="ignore"):
        return np.einsum("vt,vtc->vc", c / c.sum(1, keepdims=True), h)


def unit(x: Array) -> Array:
    """x / ||x|| over the last axis."""
    with np.errstate(invalid="ignore"):
        return x / np.linalg.norm(x, axis=-1, keepdims=True)


def log_softmax(x: Array) -> Array:
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def check_prompt(mil: float, prompt: float) -> None:
    """Raise Failure for a prompt term that is no number although the scores are."""
    if math.isnan(prompt) and math.isfinite(mil):
        raise Failure("the prompt loss is not a number: a pooled feature, or a text, is all zero and has no direction")
