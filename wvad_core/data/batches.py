"""Training batches: as many normal as abnormal videos, the same in every framework for the same seed."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError, listing
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


def balanced_batches(normal: np.ndarray, abnormal: np.ndarray, size: int,
                     rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Draw `size` normal and `size` abnormal videos again and again, for ever: pairs of (size,) arrays.

    Each class is dealt out like a shuffled pack, without replacement; a pack that runs out is shuffled anew,
    whatever the other one does. A class may have fewer videos than `size`.
    """
    if not len(normal) or not len(abnormal):
        raise InputError(f"{len(normal)} normal and {len(abnormal)} abnormal videos to draw from, expected both")
    return zip(_deal(np.asarray(normal), size, rng), _deal(np.asarray(abnormal), size, rng))


def _deal(videos: np.ndarray, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    hand = videos[:0]
    while True:
        while len(hand) < size:
            hand = np.concatenate([hand, rng.permutation(videos)])
        yield hand[:size]
        hand = hand[size:]


class TrainingSet:
    """The training videos in memory, each averaged into S segments.

    features: (V, N, S, D) float32, 4 V N S D bytes.
    labels: (V,), 0 normal, 1 abnormal.

    Raises InputError with every video that has NaN or infinity, or when a class has no videos.
    """

    def __init__(self, dataset: Dataset, segments: int, progress: Callable[[Iterable], Iterable] = iter) -> None:
        self.labels = labels_of(dataset)
        crops, _, dim = dataset[0].features.shape
        self.features = np.empty((len(dataset), crops, segments, dim), np.float32)
        fill(self.features, dataset, lambda features: pool_segments(features, segments), progress)

    def batches(self, size: int, seed: int, normal_first: bool = True, crops: str = "random") -> Iterator[Batch]:
        """Endless batches of `size` normal and `size` abnormal videos.

        normal_first: which half comes first; all else is the same.
        crops: "random" takes one crop of each video at random, (2B, S, D); "all" takes them all, (2B, N, S, D).
        """
        if size < 1:
            raise InputError(f"batch size {size}, expected 1 or more")
        if crops not in ("random", "all"):
            raise InputError(f"crops {crops!r}, expected 'random' or 'all'")
        return self._batches(size, np.random.default_rng(seed), normal_first, crops)

    def _batches(self, size: int, rng: np.random.Generator, normal_first: bool, crops: str) -> Iterator[Batch]:
        normal, abnormal = np.flatnonzero(self.labels == 0), np.flatnonzero(self.labels == 1)
        for halves in balanced_batches(normal, abnormal, size, rng):
            videos = np.concatenate(halves)
            picks = rng.integers(self.features[0].shape[0], size=2 * size)
            drawn = self._draw(videos, None if crops == "all" else picks, rng)
            yield drawn if normal_first else drawn.reordered(np.roll(np.arange(2 * size), size))

    def _draw(self, videos: np.ndarray, picks: np.ndarray | None, rng: np.random.Generator) -> Batch:
        """The batch of these videos, (2B,), with one crop of each, (2B,), or with all of them."""
        features = self.features[videos] if picks is None else self.features[videos, picks]
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
