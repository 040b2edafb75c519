"""DeepMIL: deep multiple-instance ranking (Sultani, Chen and Shah 2018, arXiv:1801.04264).

Three linear layers score each snippet by itself; the second has no activation:

    score = sigmoid(W3 dropout(W2 dropout(relu(W1 x + b1)) + b2) + b3), averaged over crops

A training video is 32 segments of L2 norm 1 (`wvad_core.data.segments.unit_segments`). In a batch of B normal and B
abnormal videos the largest score m of each abnormal video is to lie above that of each normal one; with s the scores of
an abnormal video,

    hinge    = 1/B sum over all B x B pairs of max(0, 1 - m_abnormal + m_normal)
    smooth   = 8e-5 sum over abnormal videos and t of (s_(t+1) - s_t)^2
    sparsity = 8e-5 sum over abnormal videos and t of s_t
    weights  = 1e-3 (||W1||^2 + ||W2||^2 + ||W3||^2), without the biases
    total = hinge + smooth + sparsity + weights

The network does not normalise what it scores: the published features are normalised segments. `normalise` divides each
snippet by its L2 norm first, so that features as they come from an extractor are scored at the scale that the network was
trained at. It is on in the recipes, off otherwise, and changes nothing of normalised features.

The published evaluation (PROTOCOLS) scores the same 32 segments of each test video and spreads the scores over its frames.

Paper and code: this follows the code. The hinge is over all pairs of a batch and divided by B, not by B^2: about B times
the paper's, which is for one pair. Smooth and sparsity are sums over the batch, not means. The norms of the weight term are
squared and weighted by 1e-3 (the paper: not squared, 0.01), the rate is 0.01 (0.001), and clips are averaged before they are
normalised (after). A port to PyTorch, whose checkpoints are read too, pairs videos one to one, takes means, does not square
the norms, and has Adadelta.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..blocks import configuration
from ..blocks.activations import relu, sigmoid
from ..blocks.crops import one_crop_each
from ..blocks.linear import linear, linear_parameters
from ..blocks.losses import hinge, smoothness, top_mean
from ..blocks.normalisation import unit
from ..blocks.random import dropout
from ..blocks.tensors import Parameter, Scope, flatten
from ..conventions import Protocol
from ..data.batches import Batch
from ..data.segments import unit_borders, unit_segments
from ..registry import Paper

if TYPE_CHECKING:
    from ..data.annotations import Video

Array = np.ndarray
LAYERS = ("fc1", "fc2", "fc3")
SEGMENTS = 32  # of a video that the published evaluation scores
CLIP = 16  # frames


@dataclass(frozen=True)
class Config(configuration.Config):
    """The sizes and settings of DeepMIL.

    feature_dim: D of the features.
    num_segments: S of a training video.
    hidden_dims: outputs of the first two layers.
    dropout: share that is zeroed behind each of them in training.
    margin: of the hinge.
    smooth_weight, sparsity_weight: of these terms.
    norm_weight: of the squared norms of the three weight matrices.
    normalise: whether each snippet is divided by its L2 norm before it is scored.
    """

    feature_dim: int = 4096
    num_segments: int = 32
    hidden_dims: tuple[int, int] = (512, 32)
    dropout: float = 0.6
    margin: float = 1.0
    smooth_weight: float = 8e-5
    sparsity_weight: float = 8e-5
    norm_weight: float = 1e-3
    normalise: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        configuration.require(self.dropout < 1, "dropout", self.dropout, "a share below 1")

    @property
    def training_only(self) -> tuple[str, ...]:
        return "num_segments", "dropout", "margin", "smooth_weight", "sparsity_weight", "norm_weight"

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """(inputs, outputs) of each layer."""
        return tuple(zip((self.feature_dim, *self.hidden_dims), (*self.hidden_dims, 1)))


PAPER = Paper("Real-world Anomaly Detection in Surveillance Videos", "Sultani et al.", 2018,
              "https://arxiv.org/abs/1801.04264", {"ucf-crime": {"auc": 75.41}})
# With few videos the published margin soon leads to scores of 0 and 1, which have no gradient, while pairs are not apart yet.
DEMO = Config(feature_dim=32, num_segments=6, hidden_dims=(128, 32), dropout=0.3, margin=0.3, norm_weight=0.01, normalise=True)
# Adagrad as in Keras: eps added to the root, sums from 0. The weight term is in the loss, and no weight decay beside it.
_PUBLISHED = {"segments": 32, "videos": 30, "steps": 20000, "sampling": "unit-segments", "draw": "afresh",
              "optimiser": "adagrad", "learning_rate": 0.01, "eps": 1e-8, "weight_decay": 0.0,
              "settings": {"normalise": True}}
RECIPES = {"ucf-crime": _PUBLISHED,
           "demo": _PUBLISHED | {"segments": 6, "steps": 300, "optimiser": "adam", "settings": DEMO.as_dict()}}


def parameters(config: Config) -> dict[str, Parameter]:
    return flatten({name: linear_parameters(*sizes, normal=True) for name, sizes in zip(LAYERS, config.sizes)})


def from_keras(state: Mapping[str, Array]) -> dict[str, Array] | None:
    """The official weights_L1L2.mat: by the numbers of Keras's layers, of which 1 and 3 are dropouts, a cell each of a kernel
    (in, out) and a bias (1, out). None for another file."""
    held = {name: value for name, value in state.items() if np.size(value)}
    named = {f"{2 * number}.{place}": f"{layer}.{tensor}" for number, layer in enumerate(LAYERS)
             for place, tensor in enumerate(("weight", "bias"))}
    if set(held) != set(named) or any(np.ndim(value) != 2 for value in held.values()):
        return None
    return {named[name]: value.T if name.endswith(".0") else value.reshape(-1) for name, value in held.items()}


RELEASES = {"weights_L1L2.mat's": from_keras}


def forward(features: Array, p: Scope, config: Config) -> Array:
    """Anomaly scores: (B, T, D) or (B, N, T, D) -> (B, T), averaged over crops."""
    items, crops = one_crop_each(features)
    x = unit(items) if config.normalise else items
    x = dropout(relu(linear(x, **p.at("fc1"))), config.dropout, p.rng)
    x = dropout(linear(x, **p.at("fc2")), config.dropout, p.rng)
    scores = sigmoid(linear(x, **p.at("fc3")))[..., 0]
    return scores.reshape(-1, crops, items.shape[1]).mean(1)


def losses(batch: Batch, p: Scope, config: Config) -> dict[str, Array]:
    """Training terms of (2B, T, D) or (2B, N, T, D), normal videos first: total and its four parts, weighted."""
    scores = forward(batch.features, p, config)
    half, largest = len(scores) // 2, top_mean(scores, 1)
    normal, abnormal, anomalous = largest[:half, None], largest[half:], scores[half:]
    terms = {"hinge": hinge(normal, abnormal, config.margin).sum() / half,
             "smooth": config.smooth_weight * smoothness(anomalous).sum(),
             "sparsity": config.sparsity_weight * anomalous.sum(),
             "weights": config.norm_weight * sum(np.square(p.at(name)["weight"], dtype=scores.dtype).sum() for name in LAYERS)}
    return {"total": sum(terms.values())} | terms


def clip_scores(score: Callable[[Array], Array], features: Array) -> Array:
    """What the published evaluation gives the clips of a video, (N, T, D) -> (T,).

    Of 32 segments, `unit_segments`, number i gives its score to the clips from border i up to border i + 1, or, empty, to the
    clip at border i, where the next one's takes its place. A clip that none reaches has 0: the last one, where T > 17.
    """
    borders, found = unit_borders(features.shape[-2], SEGMENTS), np.zeros(features.shape[-2])
    for value, start, end in zip(score(unit_segments(features, SEGMENTS)), borders, borders[1:]):
        found[start:max(end, start + 1)] = value
    return found


def frame_truth(video: Video, clips: int) -> Array:
    """Which frames of a video are abnormal, (F,): the first frame is number 1, and both ends of an interval count.

    The library's own tables have the numbers of the annotation, which it takes for [start, end) from frame 0.
    """
    truth = np.zeros(video.frames or CLIP * clips, bool)
    for start, end in video.intervals:
        truth[max(start - 1, 0):max(end, 0)] = True
    return truth


def frame_auc(labels: Array, scores: Array) -> float:
    """The area under the ROC curve of frames in a stable order of falling scores, equal scores as steps of their own.

    So frames of one score count in the order that they have, and abnormal ones that come first as ranked above the others.
    NaN unless both classes occur.
    """
    labels = np.asarray(labels, bool)[np.argsort(-np.asarray(scores), kind="stable")]
    above = np.cumsum(labels)
    pairs = int(above[-1]) * int(len(labels) - above[-1])
    return int(above[~labels].sum()) / pairs if pairs else float("nan")


PROTOCOLS = {"": Protocol(snippet_scores=clip_scores, frame_labels=frame_truth, metrics={"auc": frame_auc}, note=(
    "32 normalised segments are scored and spread over the frames of their clips, the last clip scores 0 where there are 18 or "
    "more; all of the table's frames count, intervals from frame 1 with both ends; AUC with equal scores in their order"))}
