"""A video's snippets as clips of its crops, one after the other, in constant memory."""
from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from ..data.prefetch import ahead
from .cropping import crop
from .opening import open
from .recipe import SNIPPET, Recipe, find_recipe
from .resizing import resize
from .source import Source

WORKERS = 2
"""Threads that resize and crop: Pillow takes longer to shrink a large frame than the decoder to make it."""


def snippets(source: Source | str | Path | Iterable[Any],
             recipe: Recipe | str | Path) -> Generator[np.ndarray, None, None]:
    """The clips of a video, one for each snippet t = 0 .. T - 1: (N, F, crop, crop, C) uint8, N crops of F = 16 frames,
    or of the first one of the snippet, as the recipe has it; C = 3, RGB, or 2, flow.

    source: a `Source`, or what `open` makes one of. recipe: a `Recipe`, the name of a published one, or a file.

        for clip in wv.video.snippets("Abuse028.mp4", "roc-ng"):
            rows.append(extractor.features(clip))

    One clip is made in the background while the caller works on the one before; memory does not grow with the video.
    Closing the iterator, or an error or interrupt of who uses it, ends the threads and closes the file. What the source
    counted is in `source.frames`, `source.damaged` and `source.remarks()` afterwards.
    Raises InputError, at its place in the order, for what cannot be read, has no frames, or does not fit the recipe.
    """
    recipe = recipe if isinstance(recipe, Recipe) else find_recipe(recipe)
    return ahead(_clips(open(source), recipe), 1)  # type: ignore[arg-type]  # opening a Source gives it as it is


def _clips(source: Source, recipe: Recipe) -> Generator[np.ndarray, None, None]:
    given = 0
    with closing(_Clip(source.name, recipe)) as clip, closing(iter(source)) as frames:  # type: ignore[type-var]
        for frame, _ in frames:
            if clip.frames == SNIPPET:  # one that waited for the frame behind it
                yield clip.finished()
                given += 1
            clip.add(frame)
            if clip.frames == SNIPPET and recipe.tail != "drop-last":
                yield clip.finished()
                given += 1
        wanted = clip.frames and recipe.tail in ("repeat", "partial")
        if wanted or not given:
            yield clip.finished(partial=recipe.tail == "partial")


class _Clip:
    """The clip at hand, whose frames are resized and cropped as they come, a few at a time."""

    def __init__(self, name: str, recipe: Recipe):
        self.name, self.recipe, self.frames = name, recipe, 0
        self._kept = SNIPPET if recipe.sampling == "all" else 1
        self._pool = ThreadPoolExecutor(WORKERS)
        self._pending: deque[Future] = deque()
        self._crops = np.empty(0, np.uint8)

    def add(self, frame: np.ndarray) -> None:
        if not self.frames:
            side = self.recipe.crop
            self._crops = np.empty((self.recipe.count, self._kept, side, side, frame.shape[2]), np.uint8)
        if self.frames < self._kept:
            self._pending.append(self._pool.submit(self._crop, frame, self._crops[:, self.frames]))
            if len(self._pending) > 2 * WORKERS:  # frames may be large
                self._pending.popleft().result()
        self.frames += 1

    def _crop(self, frame: np.ndarray, crops: np.ndarray) -> None:
        crop(resize(frame, self.recipe, self.name), self.recipe, crops, self.name)

    def finished(self, partial: bool = False) -> np.ndarray:
        """The clip; one of fewer frames ends there where it is partial, else with its last frame repeated."""
        while self._pending:
            self._pending.popleft().result()
        there, self.frames = min(self.frames, self._kept), 0
        if partial:
            return self._crops[:, :there]
        self._crops[:, there:] = self._crops[:, there - 1:there]
        return self._crops

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
