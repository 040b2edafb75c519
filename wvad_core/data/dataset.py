"""A dataset: the videos of one split of a table, with their features and their ground truth."""
from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..blocks.configuration import Config
from ..errors import InputError, listing
from ..origin import Origin
from .annotations import SPLITS, Video, abnormal_fraction, bundled_timeline, load_table, split_timeline
from .companions import read_companions
from .features import open_features
from .npy import read_array
from .origins import read_origins
from .prefetch import ahead
from .segment_classes import class_segments
from .video_features import VideoFeatures, check_finite

LOGGER = logging.getLogger("wvad")


@dataclass(frozen=True, eq=False)
class Item:
    """One video of a dataset.

    features: a handle on the files: `shape` is (N, T, D), `read()` gives the array.
    abnormal: the label, by the category, or by the abnormal frames where the category is unknown.
    abnormal_fraction: of each snippet, which part of its frames is abnormal, (T,) float64; None in the train split.
    class_segments: ((category, start, end), ...), the frames [start, end) of each class; None in the train split and where they
        are not known.
    frame_rate: frames a second, of the table or of what extracted the features; None where neither says.
    """

    video: Video
    features: VideoFeatures
    abnormal: bool
    abnormal_fraction: np.ndarray | None
    frame_rate: float | None = None
    class_segments: tuple[tuple[str, int, int], ...] | None = None


class Dataset(Sequence):
    """The videos of one split as `Item`s, in the table's order.

    name: the bundled table's name, or the path of the CSV file.
    companions: {name: array} of what belongs to it and to none of its videos (see companions.py).
    origin: what the features are made by; None where that is not known.
    folder: where they are, for messages.
    """

    def __init__(self, name: str, items: Sequence[Item], companions: Mapping[str, Any] | None = None, origin: Origin | None = None,
                 folder: str = "") -> None:
        self.name, self.origin, self.folder = name, origin, folder or name
        self.companions = read_companions(companions)
        self._items = tuple(items)
        self._finite = False
        self._parts: dict[tuple[int, int], Dataset] = {}

    @classmethod
    def open(cls, name_or_csv: str | Path, features: str | Path, split: str = "test",
             ground_truth: str | Path | np.ndarray | None = None, feature_dim: int | None = None,
             companions: Mapping[str, str | Path | np.ndarray] | None = None) -> Dataset:
        """Open a table and a folder of features, and check them against each other. No values are read yet.

        name_or_csv: a bundled table's name, or a CSV file of one's own (see annotations.py).
        features: the folder (see features.py).
        ground_truth: for the test split, 0 or 1 for each frame, (F,), or a .npy file of that, the videos end to end
            in the table's order. Without one, the table's intervals count, or the timeline beside a bundled table.
        feature_dim: the D that is needed, where one is.
        companions: {name: array, or a .npy file of one}, which every training batch has; they are read here.
        Raises InputError with all that does not fit.
        """
        if split not in SPLITS:
            raise InputError(f"split {split!r}, expected {' or '.join(SPLITS)}")
        if split == "train" and ground_truth is not None:
            raise InputError("a ground truth was given for the train split, expected one for the test split only")
        companions = read_companions(companions)  # small, unlike what is checked below
        table = load_table(name_or_csv)
        videos = [video for video in table if video.split == split]
        if not videos:
            raise InputError(f"{name_or_csv}: no {split} videos among its {len(table)}, expected at least one")
        others = [video for video in table if video.split != split]
        handles = open_features(features, videos, others, feature_dim)
        origin, rates = read_origins(features, handles)
        LOGGER.debug("%s: features of the %d %s videos of %s", features, len(videos), split, name_or_csv)
        if split == "train":
            _refuse(name_or_csv, "train videos without a label, expected a category", filter(_unknown, videos))
            fractions = [None] * len(videos)
        else:
            fractions = _fractions(name_or_csv, ground_truth, videos, [handles[video.name].shape[1] for video in videos])
        segments = {} if split == "train" else class_segments(name_or_csv, table)
        items = [Item(video, handles[video.name], _label(video, fraction), fraction, video.frame_rate or rates.get(video.name),
                      segments.get(video.name)) for video, fraction in zip(videos, fractions)]
        return cls(str(name_or_csv), items, companions, origin, str(features))

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index):
        return self._items[index]

    @property
    def feature_dim(self) -> int:
        """D, the same for all videos."""
        return self[0].features.shape[2]

    def dealt(self, rank: int, size: int) -> Dataset:
        """The part of the rank-th of so many processes, about as long for everyone: see `deal`."""
        if size == 1:
            return self
        if (rank, size) not in self._parts:
            places = deal([item.features.shape[1] for item in self], size)[rank]
            self._parts[rank, size] = Dataset(self.name, [self[place] for place in places], self.companions, self.origin, self.folder)
        return self._parts[rank, size]

    def check_crops(self, config: Config, later: int = 0, crops: int | None = None) -> None:
        """Raise InputError with every video whose crop axis is not one that a configuration takes (`Config.crops_of`).

        later: patches at the end of the axis that are left out.
        """
        lines = []
        for item in self:
            try:
                config.crops_of(item.features.shape[0] - later, crops)
            except InputError as error:
                lines.append(f"{item.video.name}: {error}")
        if lines:
            raise InputError(f"{self.name}: {len(lines)} of {len(self)} videos have features that are not for this detector"
                             f"\n  {listing(lines, 3)}")

    def check_finite(self, progress: Callable[[Iterable], Iterable] = iter) -> None:
        """Raise InputError with every video whose features have NaN or infinity. Once passed, it is not repeated.

        progress: wraps the videos' names as they are done, e.g. tqdm.
        """
        if not self._finite:
            check_finite({item.video.name: item.features for item in self}, progress)
            self._finite = True

    def prefetched(self) -> Iterator[tuple[Item, np.ndarray]]:
        """Give each item with its features, (N, T, D) float32, while a thread reads the next video's.

        All features are checked to be finite before the first is given. Closing the iterator stops the thread.
        """
        self.check_finite()
        yield from ahead(((item, item.features.read()) for item in self), 1)


def deal(lengths: Sequence[int], size: int) -> list[np.ndarray]:
    """The places of what each of `size` processes takes: dealt out longest first, and each part in order."""
    order = np.argsort(-np.asarray(lengths), kind="stable")
    return [np.sort(order[rank::size]) for rank in range(size)]


def _label(video: Video, fraction: np.ndarray | None) -> bool:
    if video.abnormal is not None:
        return video.abnormal
    return bool(video.intervals if fraction is None else fraction.any())


def _fractions(name_or_csv: str | Path, ground_truth: str | Path | np.ndarray | None, videos: Sequence[Video],
               snippets: Sequence[int]) -> list[np.ndarray]:
    """Each test video's abnormal fractions, by the ground truth given, else the bundled timeline, else the intervals."""
    if ground_truth is not None:
        if isinstance(ground_truth, (str, Path)):
            ground_truth = read_array(ground_truth, str(ground_truth), "0 or 1 for each frame")
        fractions = split_timeline(ground_truth, videos, snippets)
        _refuse(name_or_csv, "Normal videos with abnormal frames in the ground truth, expected the table's order",
                (video for video, fraction in zip(videos, fractions) if video.abnormal is False and fraction.any()))
        return fractions
    timeline = bundled_timeline(name_or_csv)
    if timeline is None:
        _refuse(name_or_csv, "test videos without ground truth, expected intervals or --ground-truth gt.npy",
                (video for video in videos if _unknown(video) or (video.abnormal and not video.intervals)))
        return [abnormal_fraction(video, count) for video, count in zip(videos, snippets)]
    try:
        return split_timeline(timeline, videos, snippets)
    except InputError as error:
        raise InputError(f"{name_or_csv}: {error}; for another ground truth, --ground-truth gt.npy") from error


def _unknown(video: Video) -> bool:
    return video.abnormal is None and not video.intervals and video.frames is None


def _refuse(name_or_csv: str | Path, fault: str, videos: Iterable[Video]) -> None:
    """Raise InputError with all of `videos`, if there are any."""
    names = [video.name for video in videos]
    if names:
        raise InputError(f"{name_or_csv}: {fault}\n  {listing(names)}")
