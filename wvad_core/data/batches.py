"""Training batches: as many normal as abnormal videos, the same in every framework for the same seed."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError, listing
from .cache import cached
from .features import READERS
from .segments import pool_segments

if TYPE_CHECKING:
    from .dataset import Dataset, Item


@dataclass(frozen=True, eq=False)
class Batch:
    """B normal and B abnormal videos, in whichever order.

    features: (2B, T, D), or (2B, N, T, D) with N crops.
    labels: (2B,), 0 normal, 1 abnormal.
    lengths: (2B,), the snippets of each video before it was padded to T; None where none was.
    videos: (2B,), which of the training videos each one is, for methods that remember them; None where not known.
    Raises InputError when these do not fit together.
    """

    features: np.ndarray
    labels: np.ndarray
    lengths: np.ndarray | None = None
    videos: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.features.ndim not in (3, 4):
            raise InputError(f"batch features have shape {tuple(self.features.shape)}, "
                             "expected (2B, T, D) or (2B, N, T, D)")
        for name in ("labels", "lengths", "videos"):
            values = getattr(self, name)
            if values is not None:
                object.__setattr__(self, name, np.asarray(values))
                self._check_shape(name)
        normal, abnormal = self.halves()
        if len(normal) + len(abnormal) != len(self.labels):
            raise InputError(f"batch labels are {np.unique(self.labels).tolist()}, expected only 0 and 1")
        if len(normal) != len(abnormal) or not len(normal):
            raise InputError(f"a batch has {len(normal)} normal and {len(abnormal)} abnormal videos, "
                             "expected as many of each, at least one")
        snippets = self.features.shape[-2]
        if self.lengths is not None and not ((self.lengths >= 1) & (self.lengths <= snippets)).all():
            raise InputError(f"batch lengths run from {self.lengths.min()} to {self.lengths.max()}, "
                             f"expected 1 to {snippets}")

    def halves(self) -> tuple[np.ndarray, np.ndarray]:
        """The places of the normal and of the abnormal videos, (B,) each, in the batch's order."""
        return np.flatnonzero(self.labels == 0), np.flatnonzero(self.labels == 1)

    def normal_first(self) -> Batch:
        """The batch with the normal half first; each half keeps its order."""
        order = np.concatenate(self.halves())
        if (np.diff(order) > 0).all():
            return self
        return self.reordered(order)

    def reordered(self, order: np.ndarray) -> Batch:
        """The batch with its videos in another order, (2B,)."""
        lengths, videos = (None if values is None else values[order] for values in (self.lengths, self.videos))
        return Batch(self.features[order], self.labels[order], lengths, videos)

    def shard(self, rank: int, size: int) -> Batch:
        """The part of the rank-th of so many processes: of each half, in order, as many videos for everyone."""
        if len(self.labels) // 2 % size:
            raise InputError(f"a batch of {len(self.labels) // 2} normal and as many abnormal videos, expected a "
                             f"multiple of the {size} processes")
        return self.reordered(np.concatenate([np.split(half, size)[rank] for half in self.halves()]))

    def without_last(self, rows: int) -> Batch:
        """The batch without so many rows at the end of the crop axis."""
        return replace(self, features=self.features[:, :-rows]) if rows else self

    def true_lengths(self) -> np.ndarray:
        """(2B,), `lengths`; where none are given, each video goes up to its last snippet that is not all zero."""
        if self.lengths is not None:
            return self.lengths
        axes = tuple(axis for axis in range(1, self.features.ndim) if axis != self.features.ndim - 2)
        seen = (self.features != 0).any(axis=axes)
        return np.where(seen, np.arange(1, seen.shape[1] + 1), 1).max(axis=1)

    def _check_shape(self, name: str) -> None:
        shape, videos = getattr(self, name).shape, len(self.features)
        if shape != (videos,):
            raise InputError(f"batch {name} have shape {shape}, expected ({videos},): one for each video")


LEFT_OUT = -1
"""The label of a training video that is not drawn."""


def drawn(videos: np.ndarray, size: int, step: int, seed: int) -> np.ndarray:
    """The `size` videos of one class that a step takes, counted from 0.

    The class is dealt out like shuffled packs, one after another and without replacement, each shuffled by the seed and
    its number alone. So any step can be asked for, in any order; a class may have fewer videos than `size`.
    """
    packs, places = np.divmod(np.arange(step * size, (step + 1) * size), len(videos))
    shuffled = {pack: np.random.default_rng([seed, pack]).permutation(videos) for pack in np.unique(packs).tolist()}
    return np.array([shuffled[pack][place] for pack, place in zip(packs.tolist(), places.tolist())])


class TrainingSet:
    """The training videos, each averaged into S segments.

    features: (V, N, S, D) float32, 4 V N S D bytes.
    labels: (V,), 0 normal, 1 abnormal, LEFT_OUT. names: the videos'.
    cache: the folder of a file that the features are kept in and mapped from (see cache.py); None for memory.

    Raises InputError with every video that has NaN or infinity, or when a class has no videos.
    """

    def __init__(self, dataset: Dataset, segments: int, progress: Callable[[Iterable], Iterable] = iter,
                 cache: str | Path | None = None) -> None:
        self.labels, self.names = labels_of(dataset), [item.video.name for item in dataset]
        crops, _, dim = dataset[0].features.shape

        def pooled(places: np.ndarray) -> None:
            fill(places, dataset, lambda features: pool_segments(features, segments), progress)

        self.features = cached(cache, dataset, f"{segments} segments", (len(dataset), crops, segments, dim), pooled)

    def batch(self, step: int, size: int, seed: int, crops: str = "random", rank: int = 0, ranks: int = 1) -> Batch:
        """The batch of a step, counted from 0: `size` normal and behind them `size` abnormal videos.

        It depends on the step and the seed alone, so training may begin at any step.
        crops: "random" takes one crop of each video at random, (2B, S, D); "all" takes them all, (2B, N, S, D).
        rank, ranks: only the rank-th of so many equal parts of each half is read and given.
        """
        if size < 1 or size % ranks:
            raise InputError(f"batch size {size}, expected a positive multiple of the {ranks} processes")
        if crops not in ("random", "all"):
            raise InputError(f"crops {crops!r}, expected 'random' or 'all'")
        videos = np.concatenate([drawn(np.flatnonzero(self.labels == label), size, step, 2 * seed + label)
                                 for label in (0, 1)])
        part = np.arange(2 * size).reshape(2, ranks, -1)[:, rank].ravel()
        rngs = [np.random.default_rng([seed, step, row]) for row in part.tolist()]
        picks = [slice(None) if crops == "all" else rng.integers(self.features[0].shape[0]) for rng in rngs]
        return self._read(videos[part], picks, rngs)

    def leave_out(self, videos: np.ndarray) -> None:
        """Draw these videos, by their numbers, no more."""
        self.labels = self.labels.copy()
        self.labels[videos] = LEFT_OUT

    def contradictions(self) -> list[tuple[str, str]]:
        """The names of a normal and an abnormal video that have the same features, for each such pair."""
        alike: dict[bytes, list[int]] = {}
        for video, features in enumerate(self.features):
            alike.setdefault(features[0, 0].tobytes(), []).append(video)
        return [(self.names[one], self.names[other]) for videos in alike.values()
                for one in videos for other in videos if (self.labels[one], self.labels[other]) == (0, 1)
                and np.array_equal(self.features[one], self.features[other])]

    def _read(self, videos: np.ndarray, picks: list, rngs: list[np.random.Generator]) -> Batch:
        """The batch of these videos, (2B,), with the crop or the crops picked of each."""
        features = np.stack([self.features[video][pick] for video, pick in zip(videos, picks)])
        return Batch(features, self.labels[videos], videos=videos)


def labels_of(dataset: Dataset) -> np.ndarray:
    """(V,), 0 normal, 1 abnormal. Raises InputError when a class has no videos."""
    labels = np.array([int(item.abnormal) for item in dataset])
    for label, kind in enumerate(("normal", "abnormal")):
        if label not in labels:
            raise InputError(f"{dataset.name} has no {kind} training videos, expected at least one")
    return labels


def fill(places: Sequence[np.ndarray], dataset: Dataset, prepare: Callable[[np.ndarray], np.ndarray],
         progress: Callable[[Iterable], Iterable]) -> None:
    """Read the features of all videos, (N, T, D), into an array for each, as `prepare` makes them.

    Raises InputError with every video whose features are not finite.
    """
    def read(place: np.ndarray, item: Item) -> str | None:
        try:
            place[:] = prepare(item.features.read())
        except InputError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(READERS) as pool:
        filled = pool.map(read, places, dataset)
        flaws = [f"{item.video.name}: {flaw}" for item, flaw in zip(progress(dataset), filled) if flaw]
    if flaws:
        raise InputError(f"{len(flaws)} of {len(dataset)} videos have features that are not finite\n  {listing(flaws)}")
