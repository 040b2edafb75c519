"""The features of one video on disk: its files, which are looked at again whenever they are read."""
from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import numpy as np

from ..errors import InputError, listing
from . import npy
from .arrays import first_not_finite

READERS = 2
"""Threads: one waits for the disk while the other computes; more get in each other's way."""
Header = tuple[int, ...] | str
"""The shape that a file's header gives, or else what is wrong with the file."""


@dataclass(frozen=True)
class VideoFeatures:
    """The features of one video on disk.

    files: one for each crop, or one for all.
    shape: (N, T, D), from the headers.
    crop_axis: the axis of the crops in a file that holds them all; None where every crop has its own file.
    """

    files: tuple[Path, ...]
    shape: tuple[int, int, int]
    crop_axis: int | None = None

    def read(self) -> np.ndarray:
        """The features, (N, T, D) float32, C-contiguous, read from disk at every call.

        Raises InputError, which names the file and the snippet, when they contain NaN or infinity; Unreadable, which is one
        too, for a file that is not as it was when the folder was opened.
        """
        features = self._copy()
        if flaw := self._first_not_finite(features):
            raise InputError(f"{self.files[0].parent}: {flaw}")
        return features

    def flaw(self) -> str | None:
        """Where the features are first not finite: "a__3.npy has nan in snippet 7 (crop 3)"; None where nowhere.

        Raises Unreadable as `read`. Takes little memory, however long the video is.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            if all(np.isfinite(values.sum(dtype=np.float32)) for file in self.files for values in self._blocks(file)):
                return None
        return self._first_not_finite(self._copy())

    def _blocks(self, path: Path) -> Iterator[np.ndarray]:
        """The values of a file in its own order, some at a time; each is overwritten by the next."""
        with self._opened(path) as (file, header):
            file.seek(header.offset)
            for block, _ in npy.blocks(header.shape[::-1] if header.fortran else header.shape, header.dtype):
                npy.fill(block, file)
                yield block

    def _copy(self) -> np.ndarray:
        features = np.empty(self.shape, np.float32)
        targets = {None: features, 0: [features], 1: [features.swapaxes(0, 1)]}[self.crop_axis]
        for target, path in zip(targets, self.files):
            with self._opened(path) as (file, header):
                npy.read_into(target, file, header)
        return features

    @contextmanager
    def _opened(self, path: Path) -> Iterator[tuple[FileIO, npy.Header]]:
        """A file, checked again, with its header. Raises Unreadable for one that has changed, then or while it is read."""
        crops, snippets, dim = self.shape
        expected = {None: (snippets, dim), 0: (crops, snippets, dim), 1: (snippets, crops, dim)}[self.crop_axis]
        try:
            with npy.opened(path) as file:
                found = checked_header(file)
                if isinstance(found, str):
                    raise npy.Unreadable(f"{path} {found}")
                if found.shape != expected:
                    raise npy.Unreadable(f"{path} has shape {found.shape}, expected {expected} as when it was opened")
                yield file, found
        except OSError as error:
            raise npy.Unreadable(f"{path} cannot be read ({error.strerror})") from error
        except EOFError as error:
            raise npy.Unreadable(f"{path} was cut short while it was read, expected files that stay") from error

    def _first_not_finite(self, features: np.ndarray) -> str | None:
        if (flaw := first_not_finite(features)) is None:
            return None
        crop, snippet, value = flaw
        file = self.files[crop if self.crop_axis is None else 0]
        return f"{file.name} has {value} in snippet {snippet} (crop {crop})"


def header(path: Path) -> Header:
    """The shape of a file's array, or else what is wrong with it."""
    try:
        with npy.opened(path) as file:
            found = checked_header(file)
            return found if isinstance(found, str) else found.shape
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def checked_header(file: FileIO) -> npy.Header | str:
    """The header of a file of features, or else what is wrong with it."""
    try:
        found = npy.read_header(file)
    except ValueError:
        return "is not a .npy file" if os.fstat(file.fileno()).st_size else "is empty (0 bytes)"
    if found.dtype.hasobject:
        return "holds pickled Python objects, which are never loaded, expected an array of float32"
    if found.dtype.kind != "f":
        what = found.dtype if found.dtype.kind != "V" else "records"
        return f"holds {what}, expected float32, float16 or float64"
    if len(found.shape) not in (2, 3) or 0 in found.shape:
        return f"has shape {found.shape}, expected (T, D), (T, N, D) or (N, T, D) without a 0"
    if found.size < found.expected:
        return f"is cut short: {found.size} bytes, expected {found.expected}"
    if found.expected > npy.MOST:
        return f"has shape {found.shape}, {found.expected / 1e9:.1f} GB, expected a video of {npy.MOST / 1e9:.1f} GB at most"
    return found


def check_finite(features: Mapping[str, VideoFeatures], progress: Callable[[Iterable], Iterable] = iter) -> None:
    """Read all the features once, as fast as the disk gives them.

    progress: wraps the videos' names as they are done, e.g. tqdm.
    Raises InputError with every video that has NaN or infinity, and where.
    """
    with ThreadPoolExecutor(READERS) as pool:
        found = pool.map(_flaw, features.values())
        flaws = [(flaw[0], f"{name}: {flaw[1]}") for name, flaw in zip(progress(features), found) if flaw]
    refuse(flaws, len(features))


def _flaw(features: VideoFeatures) -> tuple[str, str] | None:
    try:
        flaw = features.flaw()
    except npy.Unreadable as error:
        return "cannot be read", str(error)
    return ("are not finite", flaw) if flaw else None


def refuse(flaws: Sequence[tuple[str, str]], videos: int) -> None:
    """Raise InputError with all flaws of one kind, if there are any. flaws: of some of the videos, (kind, line)."""
    for kind in dict.fromkeys(kind for kind, _ in flaws):
        lines = [line for of, line in flaws if of == kind]
        raise InputError(f"{len(lines)} of {videos} videos have features that {kind}\n  {listing(lines)}")
