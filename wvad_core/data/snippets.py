"""Videos of any length, sampled to at most so many snippets for training."""
from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from .batches import Batch, TrainingSet, fill, labels_of
from .cache import cached, parts

if TYPE_CHECKING:
    from .dataset import Dataset


def sample_snippets(features: np.ndarray, most: int, abnormal: bool, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """Bring the snippets (..., T, D) to (..., M, D), M = most; and the length, min(T, M), behind which there are zeros.

    An abnormal video of T > M snippets gives one of each of M equal parts, snippet int((j + u_j) T / M) for j from 0,
    u_j uniform in [0, 1): what happens in it is kept, in its order. A normal one gives M snippets in a row, from a start
    drawn uniformly. A shorter video is whole. (Wan et al. 2020, arXiv:2104.07268.)
    Raises InputError unless T and M are at least 1.
    """
    snippets = features.shape[-2]
    if snippets < 1 or most < 1:
        raise InputError(f"{snippets} snippets cannot be sampled to {most} at most, expected 1 or more")
    if snippets <= most:
        sampled = np.zeros((*features.shape[:-2], most, features.shape[-1]), features.dtype)
        sampled[..., :snippets, :] = features
        return sampled, snippets
    if abnormal:
        picks = ((np.arange(most) + rng.random(most)) * (snippets / most)).astype(int)
        return features[..., np.minimum(picks, snippets - 1), :], most  # rounding up may reach T
    start = rng.integers(snippets - most + 1)
    return features[..., start:start + most, :], most


class SnippetTrainingSet(TrainingSet):
    """The training videos, whole, each sampled anew to at most M snippets whenever it is drawn.

    cache: the folder of a file that the features are kept in and mapped from (see cache.py); None for memory.
    features: a list of (N, T, D) float32, one a video, 4 N T D bytes each.
    labels: (V,), 0 normal, 1 abnormal.

    A `batch` is that of a TrainingSet with M in place of S, and with `lengths`. All crops of a video have the same
    snippets. Raises InputError with every video that has NaN or infinity, or when a class has no videos.
    """

    def __init__(self, dataset: Dataset, most: int, progress: Callable[[Iterable], Iterable] = iter,
                 cache: str | Path | None = None) -> None:
        self.labels, self.names, self.most = labels_of(dataset), [item.video.name for item in dataset], most
        shapes = [item.features.shape for item in dataset]
        flat = cached(cache, dataset, "whole videos", (sum(map(math.prod, shapes)),),
                      lambda flat: fill(parts(flat, shapes), dataset, np.asarray, progress))
        self.features = parts(flat, shapes)

    def _read(self, videos: np.ndarray, picks: list, rngs: list[np.random.Generator]) -> Batch:
        sampled, lengths = zip(*(sample_snippets(self.features[video][pick], self.most, self.labels[video] == 1, rng)
                                 for video, pick, rng in zip(videos, picks, rngs)))
        return Batch(np.stack(sampled), self.labels[videos], np.array(lengths), videos)
