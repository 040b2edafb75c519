"""A small method in the form of another package's: classes, a companion, batches of items, smoothed scores, settings of
all kinds."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from wvad_core.blocks import configuration
from wvad_core.blocks.tensors import Parameter
from wvad_core.data.batches import Batch
from wvad_core.data.sampling import Sampler
from wvad_core.data.segments import pool_segments

Array = np.ndarray


@dataclass(frozen=True)
class Config(configuration.Config):
    """shift: what is added to the logits. smoothing: over how many snippets. biased, extra: whether there are more tensors.
    squared: the text term's form. branch: which output is the score."""
    halves: ClassVar[bool] = False
    feature_dim: int = 8
    categories: tuple[str, ...] = ("Normal", "Fight", "Riot")
    shift: float = configuration.at_least(None, -0.5)
    smoothing: int | None = None
    squared: bool = True
    biased: bool = True
    extra: int | None = None
    branch: str = configuration.one_of("classifier", "classes")


def parameters(config: Config) -> dict[str, Parameter]:
    dim, count = config.feature_dim, len(config.categories)
    found = {"score": Parameter((dim,), 0.5), "tags": Parameter((count, dim), 0.5)}
    if config.biased:
        found["bias"] = Parameter((count,), 0.1)
    if config.extra is not None:
        found["extra"] = Parameter((config.extra, dim), 0.5)
    return found


def classes(config: Config) -> tuple[str, ...]:
    return config.categories


def classify(features: Array, p: Any, config: Config) -> Array:
    logits = features @ p["tags"].T + (p["bias"] if config.biased else 0)
    exponents = np.exp(logits - logits.max(-1, keepdims=True))
    return exponents / exponents.sum(-1, keepdims=True)


def forward(features: Array, p: Any, config: Config) -> Array:
    if config.branch == "classes":
        return 1 - classify(features, p, config)[..., 0]
    return 1 / (1 + np.exp(-(features @ p["score"] + config.shift)))


def score_and_classify(features: Array, p: Any, config: Config) -> tuple[Array, Array]:
    probabilities = classify(features, p, config)
    return 1 - probabilities[..., 0] if config.branch == "classes" else forward(features, p, config), probabilities


def losses(batch: Batch, p: Any, config: Config) -> dict[str, Array]:
    """mil: cross entropy of a video's mean score over its length; tag: of its first class; text: towards that class's text."""
    within = np.arange(batch.features.shape[1]) < batch.true_lengths()[:, None]
    video = (forward(batch.features, p, config) * within).sum(1) / within.sum(1)
    first = batch.class_indices(len(config.categories))[:, 0]
    mil = -np.where(batch.labels == 1, np.log(video), np.log(1 - video)).mean()
    tag = -np.log(classify(batch.features, p, config).mean(1)[np.arange(len(first)), first]).mean()
    distance = p["tags"][first] - batch.companion("prompts")[first]
    text = (distance**2).sum(1).mean() if config.squared else np.abs(distance).sum(1).mean()
    return {"total": mil + tag + 0.1 * text, "mil": mil, "tag": tag, "text": text}


def postprocess(scores: Array, config: Config) -> Array:
    """The mean of each score and the next ones, which are 0 behind the end."""
    if config.smoothing is None:
        return scores
    padded = np.concatenate([scores, np.zeros(config.smoothing - 1, scores.dtype)])
    return np.stack([padded[i:i + len(scores)] for i in range(config.smoothing)]).sum(0) / config.smoothing


def halved(features: Array, size: int) -> Array:
    return pool_segments(features, size) / 2


def install(site: Path) -> None:
    """Make a folder a package that brings this method, as pip installs it; to be on the path."""
    about = site / "tagger-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: tagger\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("".join(
        f"[{group}]\ntagger = {module}\n" for group, module in (
            ("wvad.methods", "tagger"), ("wvad.methods.torch", "tagger_torch"), ("wvad.methods.mindspore", "tagger_mindspore"))))


COMPANIONS = ("prompts",)
SAMPLERS = {"halved": Sampler(once=halved)}
RECIPES = {"ucf-crime": {"segments": 4, "videos": 16, "steps": 12, "sampling": "halved", "crops": "each", "batches": "items",
                         "draw": "epochs-with-rest", "learning_rate": 0.05}}
