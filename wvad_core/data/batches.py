"""Training batches: what the losses of all methods take, in every framework."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np

from ..errors import InputError
from .arrays import first_not_finite

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Batch:
    """Training videos, in whichever order. B normal and B abnormal ones where a method's losses take halves.

    features: (V, T, D), or (V, N, T, D) with N crops; V = 2B in halves.
    labels: (V,), 0 normal, 1 abnormal.
    lengths: (V,), the snippets of each video before it was padded to T; None where none was.
    videos: (V,), which of the training videos each one is, for methods that remember them; None where not known.
    classes: for each video the places of its categories in the method's list of classes, in the table's order, as
        ((0,), (3,), (1, 4)); None where the method has no classes.
    companions: {name: array} of what belongs to the dataset and to no video, such as features of texts.

        Batch(features, [0, 0, 1, 1], classes=[[0], [0], [2], [1, 3]], companions={"prompts": texts})

    Raises InputError when these do not fit together, and for features that are not finite.
    """

    features: Array
    labels: Array
    lengths: Array | None = None
    videos: Array | None = None
    classes: Sequence[Sequence[int]] | None = None
    companions: Mapping[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.features.ndim not in (3, 4):
            raise InputError(f"batch features have shape {tuple(self.features.shape)}, "
                             "expected (2B, T, D) or (2B, N, T, D)")
        for name in ("labels", "lengths", "videos"):
            values = getattr(self, name)
            if values is not None:
                object.__setattr__(self, name, np.asarray(values))
                self._check_shape(name)
        if not len(self.labels):
            raise InputError("a batch has no videos, expected at least one")
        self._check_finite()
        if not np.isin(self.labels, (0, 1)).all():
            raise InputError(f"batch labels are {np.unique(self.labels).tolist()}, expected only 0 and 1")
        snippets = self.features.shape[-2]
        if self.lengths is not None and not ((self.lengths >= 1) & (self.lengths <= snippets)).all():
            raise InputError(f"batch lengths run from {self.lengths.min()} to {self.lengths.max()}, "
                             f"expected 1 to {snippets}")
        if self.classes is not None:
            object.__setattr__(self, "classes", tuple(tuple(map(int, places)) for places in self.classes))
            if len(self.classes) != len(self.labels):
                raise InputError(f"batch classes are of {len(self.classes)} videos, expected {len(self.labels)}")

    def halves(self) -> tuple[Array, Array]:
        """The places of the normal and of the abnormal videos, (B,) each, in the batch's order.

        Raises InputError unless there are as many of each.
        """
        normal, abnormal = np.flatnonzero(self.labels == 0), np.flatnonzero(self.labels == 1)
        if len(normal) != len(abnormal):
            raise InputError(f"a batch has {len(normal)} normal and {len(abnormal)} abnormal videos, "
                             "expected as many of each, at least one")
        return normal, abnormal

    def normal_first(self) -> Batch:
        """The batch with the normal half first; each half keeps its order. Raises InputError where it has no halves."""
        order = np.concatenate(self.halves())
        if (np.diff(order) > 0).all():
            return self
        return self.reordered(order)

    def reordered(self, order: Array) -> Batch:
        """The batch of the videos at these places, in their order."""
        lengths, videos = (None if values is None else values[order] for values in (self.lengths, self.videos))
        classes = None if self.classes is None else tuple(self.classes[place] for place in order)
        return Batch(self.features[order], self.labels[order], lengths, videos, classes, self.companions)

    def shard(self, rank: int, size: int, halves: bool = True) -> Batch:
        """The part of the rank-th of so many processes, as many videos for everyone, in order: of each half, or of all.

        Raises InputError where it cannot be shared out evenly.
        """
        groups = self.halves() if halves else (np.arange(len(self.labels)),)
        count = len(groups[0])
        if count % size:
            raise InputError(f"a batch of {count} " + ("normal and as many abnormal videos" if halves else "videos")
                             + f", expected a multiple of the {size} processes")
        return self.reordered(np.concatenate([np.split(group, size)[rank] for group in groups]))

    def without_last(self, rows: int) -> Batch:
        """The batch without so many rows at the end of the crop axis."""
        return replace(self, features=self.features[:, :-rows]) if rows else self

    def true_lengths(self) -> Array:
        """(V,), `lengths`; where none are given, each video goes up to its last snippet that is not all zero."""
        if self.lengths is not None:
            return self.lengths
        axes = tuple(axis for axis in range(1, self.features.ndim) if axis != self.features.ndim - 2)
        seen = (self.features != 0).any(axis=axes)
        return np.where(seen, np.arange(1, seen.shape[1] + 1), 1).max(axis=1)

    def class_indices(self, count: int) -> Array | None:
        """(V, K), `classes` in rows, behind them -1, of a method with K = `count` classes; None where it has none.

        Column 0 is each video's first class; (places[..., None] == arange(K)).any(1) has 1 for each of its classes.
        Raises InputError for a place that is not from 0 to K - 1, and for one that is there twice.
        """
        if self.classes is None:
            return None
        places = np.full((len(self.classes), count), -1)
        for row, (video, own) in zip(places, enumerate(self.classes)):
            if not own or len(set(own)) < len(own) or not 0 <= min(own) <= max(own) < count:
                raise InputError(f"batch classes of video {video} are {list(own)}, "
                                 f"expected different ones of 0 to {count - 1}")
            row[:len(own)] = own
        return places

    def named(self, name: str, classes: int = 0) -> Array | None:
        """What a loss asks for by name: an attribute or what a method of it gives, one row a video; "classes" as
        `class_indices` of so many; a companion as "companions.NAME". None where the batch has none."""
        if name == "classes":
            return self.class_indices(classes)
        if name.startswith("companions."):
            return self.companion(name.removeprefix("companions."))
        value = getattr(self, name)
        return cast("Array | None", value() if callable(value) else value)

    def companion(self, name: str) -> Array:
        """The companion of a name. Raises InputError where there is none."""
        if name not in self.companions:
            others = ", ".join(self.companions) or "none"
            raise InputError(f"a batch has no companion {name!r} (found {others}), expected the dataset to bring it: "
                             f"companions={{{name!r}: array or .npy file}}")
        return self.companions[name]

    def _check_finite(self) -> None:
        """A number that is not finite would reach all weights in one step."""
        for video, features in enumerate(self.features if isinstance(self.features, np.ndarray) else ()):
            if flaw := first_not_finite(features.reshape(-1, *features.shape[-2:])):
                crop, snippet, value = flaw
                raise InputError(f"batch features have {value} in snippet {snippet} (crop {crop}) of video {video}, "
                                 "expected finite numbers")

    def _check_shape(self, name: str) -> None:
        shape, videos = getattr(self, name).shape, len(self.features)
        if shape != (videos,):
            raise InputError(f"batch {name} have shape {shape}, expected ({videos},): one for each video")
