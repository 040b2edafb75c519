"""The training videos of a dataset, and the batches drawn from them: the same in every framework for the same seed."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from .arrays import first_not_finite
from .batches import Batch
from .cache import CachedVideo, CachedVideos, Room, cached, copy_into
from .cache_file import Shape, Store
from .draws import BATCHES, DRAWS
from .npy import Unreadable
from .segment_classes import train_categories
from .sampling import BUILT_IN, Sampler
from .video_features import READERS, refuse

if TYPE_CHECKING:
    from .dataset import Dataset, Item

Array = np.ndarray
LEFT_OUT = -1
"""The label of a training video that is not drawn."""
CROPS = ("random", "all", "each")
"""What a batch has of a video: one crop, drawn at random; all of them; one, where each crop is a video of its own."""


class TrainingSet:
    """The training videos, each brought to S = `size` snippets, or at most S, by a sampler; by default averaged.

    features: (V, N, S, D) float32, 4 V N S D bytes; of a sampler that draws anew a list of (N, T, D), each video whole. With a
        cache a sequence of such videos, each of which is read when it is indexed.
    labels: (V,), 0 normal, 1 abnormal, LEFT_OUT. names: the videos'.
    classes: for each video the places of its categories among `class_names`; None without these.
    companions: the dataset's, which every batch has.
    origin: the dataset's.
    cache: the folder of a file that the features are kept in and read from (see cache.py); None for memory.

    Raises InputError with every video that has NaN or infinity or that cannot be sampled; with one whose category is
    not among the class names; when there are no normal or no abnormal videos.
    """

    def __init__(self, dataset: Dataset, size: int, progress: Callable[[Iterable], Iterable] = iter,
                 cache: str | Path | None = None, sampler: Sampler = BUILT_IN["segments"],
                 class_names: Sequence[str] = ()) -> None:
        self.labels, self.names = labels_of(dataset), [item.video.name for item in dataset]
        self.classes = indices_of_classes(dataset, class_names) if class_names else None
        self.companions, self.origin = getattr(dataset, "companions", {}), getattr(dataset, "origin", None)
        self.size, self.sampler = size, sampler
        self.snippets = [item.features.shape[1] for item in dataset]
        self.features = self._read_all(dataset, progress, cache)
        self._lengths: dict[tuple[int, object], int] = {}

    def _read_all(self, dataset: Dataset, progress: Callable[[Iterable], Iterable],
                  cache: str | Path | None) -> Array | list[Array] | CachedVideos:
        form, once = self.sampler.form(self.size), self.sampler.once
        shapes = [item.features.shape for item in dataset]
        if once is not None:
            crops, _, dim = shapes[0]
            shapes = [(crops, self.size, dim)] * len(dataset)

        def made(features: Array) -> Array:
            return features if once is None else once(features, self.size)

        return cached(cache if form else None, dataset, form or "", shapes,
                      lambda store: fill(store, shapes, dataset, made, progress))

    def batch(self, step: int, size: int, seed: int, crops: str = "random", rank: int = 0, ranks: int = 1,
              batches: str = "halves", draw: str = "packs") -> Batch:
        """The batch of a step, counted from 0: `size` normal and behind them `size` abnormal videos, or `size` items.

        It depends on the step and the seed alone, so training may begin at any step.
        crops: "random" takes one crop of each video at random, (V, S, D); "all" takes them all, (V, N, S, D); with
            "each", each crop is drawn as a video of its own, (V, S, D), in the order of the videos.
        rank, ranks: only the rank-th of so many equal parts of each half, or of the items, is read and given.
        batches: "halves", or "items" of any label. draw: the way in which videos are drawn (see draws.py).
        """
        for name, value, words in (("crops", crops, CROPS), ("batches", batches, BATCHES), ("draw", draw, DRAWS)):
            if value not in words:
                *others, last = map(repr, words)
                raise InputError(f"{name} {value!r}, expected {', '.join(others)} or {last}")
        if size < 1 or size % ranks:
            raise InputError(f"batch size {size}, expected a positive multiple of the {ranks} processes")
        groups = DRAWS[draw](self._groups(crops, batches), size, step, seed)
        if len(groups[0]) % ranks:
            raise InputError(f"the batch of step {step + 1} has {len(groups[0])} items, expected a multiple of the "
                             f"{ranks} processes; draw=epochs leaves short batches out")
        items = np.concatenate(groups)
        part = np.arange(len(items)).reshape(len(groups), ranks, -1)[:, rank].ravel()
        rngs = [np.random.default_rng([seed, step, row]) for row in range(len(items))]
        videos, picks = self._picks(items, crops, rngs)
        longest = max(map(self._length, videos, picks)) if self.sampler.cut else self.size
        return self._read(videos[part], [picks[row] for row in part], [rngs[row] for row in part], longest)

    def counts(self, crops: str, batches: str) -> dict[str, int]:
        """{group that batches are drawn from, in words: how many videos it has, or crops where each is one}."""
        return dict(zip(BATCHES[batches], map(len, self._groups(crops, batches))))

    def leave_out(self, videos: Array) -> None:
        """Draw these videos, by their numbers, no more."""
        self.labels = self.labels.copy()
        self.labels[videos] = LEFT_OUT

    def contradictions(self) -> list[tuple[str, str]]:
        """The names of a normal and an abnormal video that have the same features, for each such pair."""
        alike: dict[object, list[int]] = {}
        for video, features in enumerate(self.features):
            key = features.checksums if isinstance(features, CachedVideo) else features[0, 0].tobytes()
            alike.setdefault(key, []).append(video)
        return [(self.names[one], self.names[other]) for videos in alike.values()
                for one in videos for other in videos if (self.labels[one], self.labels[other]) == (0, 1)
                and np.array_equal(self.features[one], self.features[other])]

    def _groups(self, crops: str, batches: str) -> list[Array]:
        """What is drawn from: the numbers of videos, or of crops in the order of the videos, in their groups."""
        labels = np.repeat(self.labels, len(self.features[0])) if crops == "each" else self.labels
        if batches == "items":
            return [np.flatnonzero(labels != LEFT_OUT)]
        return [np.flatnonzero(labels == label) for label in (0, 1)]

    def _picks(self, items: Array, crops: str, rngs: Sequence[np.random.Generator]) -> tuple[Array, list]:
        """The videos that items are, and the place of a crop in each, or a slice."""
        count = len(self.features[0])
        if crops == "each":
            videos, picks = np.divmod(items, count)
            return videos, picks.tolist()
        return items, [slice(None) if crops == "all" else int(rng.integers(count)) for rng in rngs]

    def _length(self, video: int, pick: int | slice) -> int:
        """How many snippets of what `once` made of a video are the video's."""
        key = int(video), repr(pick)
        if self.sampler.length is None:
            return self.size
        if key not in self._lengths:
            self._lengths[key] = self.sampler.length(self.features[video][pick], self.snippets[video])
        return self._lengths[key]

    def _read(self, videos: Array, picks: list, rngs: list[np.random.Generator], longest: int) -> Batch:
        """The batch of these videos, with the crop or the crops picked of each."""
        crops, _, dim = self.features[0].shape
        features = np.empty((len(videos), *(crops,) * isinstance(picks[0], slice), self.size, dim), np.float32)
        lengths = None
        if self.sampler.anew is not None:
            lengths = self._draw_anew(features, videos, picks, rngs)
        else:
            for own, video, pick in zip(features, videos, picks):
                copy_into(own, self.features[video], pick)
            features = np.ascontiguousarray(features[..., :longest, :])
            if self.sampler.length is not None:
                lengths = [self._length(video, pick) for video, pick in zip(videos, picks)]
        classes = None if self.classes is None else [self.classes[video] for video in videos]
        return Batch(features, self.labels[videos], None if lengths is None else np.array(lengths), videos, classes,
                     self.companions)

    def _draw_anew(self, targets: Array, videos: Array, picks: list, rngs: list[np.random.Generator]) -> list[int]:
        """Sample whole videos, or the crops picked of them, into a row each; gives their lengths."""
        assert self.sampler.anew is not None
        lengths, room = [], Room()
        for target, video, pick, rng in zip(targets, videos, picks, rngs):
            sampled, length = self.sampler.anew(room.taken(self.features[video], pick), self.size, self.labels[video] == 1, rng)
            if sampled.shape != target.shape:
                raise InputError(f"{self.names[video]}: sampled to shape {sampled.shape}, expected {target.shape}")
            target[:] = sampled
            lengths.append(length)
        return lengths


def labels_of(dataset: Dataset) -> Array:
    """(V,), 0 normal, 1 abnormal. Raises InputError when a class has no videos."""
    labels = np.array([int(item.abnormal) for item in dataset])
    for label, kind in enumerate(("normal", "abnormal")):
        if label not in labels:
            raise InputError(f"{dataset.name} has no {kind} training videos, expected at least one")
    return labels


def indices_of_classes(dataset: Dataset, class_names: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """For each video the places of its categories among the class names, in the table's order, each once.

    Where the table does not tell anomalies apart, the categories are those of `train_categories`. Raises InputError with a
    video that has no category, or one that is not among the names.
    """
    known, of = {name: place for place, name in enumerate(class_names)}, train_categories(dataset.name)
    categories = {item.video.name: of[item.video.name] if item.video.name in of else item.video.categories
                  for item in dataset}
    unknown = [(video, [name for name in own if name not in known] or ["none"])
               for video, own in categories.items() if not own or not known.keys() >= set(own)]
    if unknown:
        (video, found), others = unknown[0], f" (and {len(unknown) - 1} more videos)" if len(unknown) > 1 else ""
        raise InputError(f"{dataset.name}: {video}: category {', '.join(found)}{others}, "
                         f"expected of {', '.join(class_names)}")
    return tuple(tuple(dict.fromkeys(known[name] for name in own)) for own in categories.values())


def fill(store: Store, shapes: Sequence[Shape], dataset: Dataset, prepare: Callable[[Array], Array],
         progress: Callable[[Iterable], Iterable]) -> None:
    """Read the features of all videos, (N, T, D), and store them in their shapes as `prepare` makes them.

    Raises InputError with every video whose features cannot be read, are not finite, or cannot be prepared.
    """
    def read(number: int, item: Item) -> tuple[str, str] | None:
        try:
            features = item.features.read()
        except Unreadable as error:
            return "cannot be read", str(error)
        except InputError as error:
            return "are not finite", str(error)
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                made = prepare(features)
        except InputError as error:
            return "cannot be sampled", str(error)
        if made.shape != shapes[number]:
            return "cannot be sampled", f"{features.shape} became {made.shape}, expected {shapes[number]}"
        if first_not_finite(made):
            return "cannot be sampled", "finite values became others, expected smaller ones"
        store(number, made)
        return None

    with ThreadPoolExecutor(READERS) as pool:
        filled = pool.map(read, range(len(dataset)), dataset)
        flaws = [(flaw[0], f"{item.video.name}: {flaw[1]}") for item, flaw in zip(progress(dataset), filled) if flaw]
    refuse(flaws, len(dataset))
