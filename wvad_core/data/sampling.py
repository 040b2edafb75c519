"""How training videos of any length come to one number of snippets: samplers, by the name that a recipe has as `sampling`.

A name is looked for among the `SAMPLERS` of the method's specification, then here, then in other packages: in the
entry-point group `wvad.samplers`, NAME = a `Sampler`, or a function (features (N, T, D), S) -> (N, S, D).
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import isfunction

import numpy as np

from ..errors import InputError, one_line
from ..installed import entry_points
from .segments import pick_snippets, pool_or_pad, pool_segments, resize_segments, unit_segments
from .snippets import sample_snippets

Array = np.ndarray
GROUP = "wvad.samplers"


@dataclass(frozen=True)
class Sampler:
    """One of `once` and `anew`, which bring a video to S snippets, or segments; and what they leave of it.

    once: (features (N, T, D), S) -> (N, S, D), of each video when a training set is read; kept in the cache.
    anew: (features (..., T, D), S, abnormal, rng) -> ((..., S, D), length), whenever a video is drawn; the cache has it
        whole.
    length: for `once`, ((..., S, D), T) -> how many of S are the video's, and not behind its end; None where all are.
    cut: whether a batch ends with the longest of its videos, and not after S.
    version: to be raised whenever `once` comes to give other values, so that no older cache is taken for a new one.

    Raises InputError for parts that do not go together.
    """
    once: Callable[[Array, int], Array] | None = None
    anew: Callable[[Array, int, bool, np.random.Generator], tuple[Array, int]] | None = None
    length: Callable[[Array, int], int] | None = None
    cut: bool = False
    version: int = 0

    def __post_init__(self) -> None:
        if (self.once is None) == (self.anew is None):
            raise InputError("a sampler has both of once and anew, or neither, expected one of them")
        if self.anew is not None and (self.length is not None or self.cut) or self.cut and self.length is None:
            raise InputError("a sampler has length or cut that it cannot have: expected length with once, and cut with length")

    def form(self, size: int) -> str | None:
        """What it makes of the videos once, in words, for the name of a cache; None where no words tell: then there is none.

        That is so for a function in a function, a lambda and other objects: two of them may have one name.
        """
        if self.once is None:
            return "whole videos"
        if self.once is pool_segments:
            return f"{size} segments"
        if not isfunction(self.once) or "<" in self.once.__qualname__:
            return None
        version = f" {self.version}" if self.version else ""
        return f"{size} by {self.once.__module__}.{self.once.__qualname__}{version}"


def up_to_its_end(sampled: Array, snippets: int) -> int:
    """min(T, S)."""
    return min(snippets, sampled.shape[-2])


def not_zero(sampled: Array, snippets: int) -> int:
    """How many snippets of (..., S, D) are not all zero, in any crop."""
    return int((sampled != 0).any(axis=-1).reshape(-1, sampled.shape[-2]).any(axis=0).sum())


BUILT_IN = {
    "segments": Sampler(once=pool_segments),
    "segments-or-padded": Sampler(once=pool_or_pad, length=up_to_its_end),
    "resized": Sampler(once=resize_segments),
    "unit-segments": Sampler(once=unit_segments),
    "picked": Sampler(once=pick_snippets, length=not_zero, cut=True),
    "snippets": Sampler(anew=sample_snippets),
}
"""{name: sampler}: averaged into S; the same of longer videos, shorter ones padded; interpolated; averaged between
rounded borders and divided by their norms; S of a longer video at even distances, shorter ones padded, batches cut to
their longest; drawn anew."""


def find_sampler(name: str, of_method: Mapping[str, Sampler] | None = None) -> Sampler:
    """The sampler of a name. of_method: the `SAMPLERS` of a specification. Raises InputError for a name that is none."""
    elsewhere = {entry.name: entry for entry in entry_points(group=GROUP)}
    here = {**BUILT_IN, **(of_method or {})}
    if name not in here and name not in elsewhere:
        known = ", ".join(sorted({*here, *elsewhere}))
        raise InputError(f"setting sampling: expected one of {known}, found {name!r}")
    try:
        found = here[name] if name in here else elsewhere[name].load()
    except ImportError as error:
        raise InputError(f"setting sampling: {name!r} cannot be loaded ({one_line(error)})") from error
    return found if isinstance(found, Sampler) else Sampler(once=found)
