"""Training features that are prepared once and kept on disk: a file for each training set.

    features = cached(cache_folder(), dataset, "200 segments", shapes, fill)
    features[7][3]        # crop 3 of video 7, (T, D); features[7][:] are all its crops

A file is NAME-FORM-SET-STATE.npy (see cache_file.py). SET stands for the files that are read and what is made of them,
STATE for these files' sizes, inodes and times of change as well. So a changed source gives another file, and the one in its
place is known by its SET and removed; runs that have it open keep it until they close it.

A file appears whole or not at all. The run that builds it holds a lock, which ends with its process however that ends;
others that want the file wait for it. Values are read when they are used, so that a file may be larger than the memory;
what was altered since it was written is not given out: the file is built anew. The folder is the user's alone, and no link
in it is followed.
"""
from __future__ import annotations

import hashlib
import logging
import math
import os
import re
import shutil
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import Failure, InputError
from ..files import writing
from . import cache_file
from .cache_file import CacheFile, Layout, Shape, Store

if TYPE_CHECKING:
    from .dataset import Dataset

LOGGER = logging.getLogger("wvad")
FORMAT = 2
"""To be raised whenever the same sources give other contents, so that no older file is taken for a new one."""
Array = np.ndarray


def cache_folder() -> Path:
    """$WVAD_CACHE, else $XDG_CACHE_HOME/wvad, else ~/.cache/wvad."""
    if folder := os.environ.get("WVAD_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "wvad")


def private(folder: Path) -> Path:
    """The folder, which is made where it is not there, for the user alone.

    Raises InputError where it cannot be made, belongs to somebody else, or can be written to by others.
    """
    with writing(folder):
        folder.mkdir(0o700, parents=True, exist_ok=True)
        state = folder.stat()
    flaw = None
    if hasattr(os, "geteuid") and state.st_uid != os.geteuid():
        flaw = f"belongs to user {state.st_uid}, not {os.geteuid()}"
    elif os.name == "posix" and state.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        flaw = f"can be written to by others (mode {stat.S_IMODE(state.st_mode):o})"
    if flaw:
        raise InputError(f"{folder}: {flaw}, expected a folder of your own, mode 700; WVAD_CACHE names another")
    return folder


def cached(folder: str | Path | None, dataset: Dataset, form: str, shapes: Sequence[Shape], fill: Callable[[Store], None],
           say: Callable[[str], None] = LOGGER.info) -> Array | list[Array] | CachedVideos:
    """The videos of a dataset in float32, as `fill` has made them once for all runs.

    folder: where the files are; None keeps the videos in memory, and `fill` is called every time.
    form: what is made of the videos, in words that decide the contents together with the dataset's files.
    shapes: of what is made of each, (N, T, D). Of one shape, those in memory are one array.
    fill: calls what it is given with each video's number and values. What it raises is raised here, and no file is left.
    say: takes a line on the size before a file is built, one when another run is waited for, one for a damaged file.
    Raises InputError when the folder cannot be written, or is not the user's own, or when the dataset's files cannot be read
    or change while they are; Failure when the disk is full, or has too little space.
    """
    if folder is not None:
        return CachedVideos(Path(folder), dataset, form, Layout(shapes), fill, say)
    alike = len(set(shapes)) == 1
    made = np.empty((len(shapes), *shapes[0]), np.float32) if alike else [np.empty(shape, np.float32) for shape in shapes]

    def store(video: int, values: Array) -> None:
        made[video][:] = values

    fill(store)
    return made


def copy_into(target: Array, features: Array | CachedVideo, crops: int | slice) -> None:
    """Copy one crop or several of a video's features (N, T, D) into a C-contiguous array."""
    if isinstance(features, CachedVideo):
        features.read(crops, target)
    else:
        target[:] = features[crops]


class Room:
    """Memory that videos are read into one after another: to ask for new memory each time takes as long as to read."""

    def __init__(self) -> None:
        self._values = np.empty(0, np.float32)

    def taken(self, features: Array | CachedVideo, crops: int | slice) -> Array:
        """One crop of a video (N, T, D), or all, `slice(None)`; what was read before is overwritten."""
        if not isinstance(features, CachedVideo):
            return features[crops]
        shape = features.shape if isinstance(crops, slice) else features.shape[1:]
        if self._values.size < (size := math.prod(shape)):
            self._values = np.empty(size, np.float32)
        target = self._values[:size].reshape(shape)
        features.read(crops, target)
        return target


@dataclass(frozen=True)
class CachedVideo:
    """A video in a cache, which is read when it is indexed, by a crop's number or a slice of them.

    shape: (N, T, D). checksums: those of its crops.
    """
    videos: CachedVideos
    number: int

    @property
    def shape(self) -> Shape:
        return self.videos.layout.shapes[self.number]

    @property
    def checksums(self) -> tuple[bytes, ...]:
        return self.videos.file.checksums(self.number)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, crops: int | slice) -> Array:
        count = () if not isinstance(crops, slice) else (len(range(*crops.indices(len(self)))),)
        target = np.empty((*count, *self.shape[1:]), np.float32)
        self.read(crops, target)
        return target

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self[:].astype(dtype or np.float32, copy=False)

    def read(self, crops: int | slice, target: Array) -> None:
        """Read one crop, (T, D), or several, into a C-contiguous array. Raises as `CachedVideos.read`."""
        if isinstance(crops, slice):
            for crop, own in zip(range(*crops.indices(len(self))), target):
                self.videos.read(self.number, crop, own)
        else:
            self.videos.read(self.number, range(len(self))[crops], target)


class CachedVideos(Sequence):
    """The videos in a file of the cache, which is opened, or built, at once. See `cached`."""

    def __init__(self, folder: Path, dataset: Dataset, form: str, layout: Layout, fill: Callable[[Store], None],
                 say: Callable[[str], None]) -> None:
        self.dataset, self.form, self.layout, self.fill, self.say = dataset, form, layout, fill, say
        self.stem, self.state = _names(dataset, form)
        self.path = private(folder) / f"{self.stem}-{self.state}.npy"
        self._renewing = threading.Lock()
        self.file = self._opened_or_built()

    def __len__(self) -> int:
        return len(self.layout.shapes)

    def __getitem__(self, video):
        return CachedVideo(self, range(len(self))[video])

    def __reduce__(self):
        return list, ([np.asarray(video) for video in self],)

    def read(self, video: int, crop: int, target: Array) -> None:
        """Read a crop, (T, D); from a file that is built anew where this one was altered.

        Raises InputError where the dataset's files have changed meanwhile, Failure for a folder that keeps no files.
        """
        file = self.file
        if file.read(video, crop, target):
            return
        with self._renewing:
            if self.file is file:
                self.say(f"{self.path}: {self.dataset[video].video.name} is not as it was cached; it is built anew")
                self.file = self._opened_or_built(file)
        if not self.file.read(video, crop, target):
            raise Failure(f"{self.path}: altered as soon as it was written, expected a folder that keeps its files")

    def _opened_or_built(self, altered: CacheFile | None = None) -> CacheFile:
        """The file. altered: one that is not to be taken any more."""
        if altered is None and (file := self._opened(self.say)) is not None:
            LOGGER.debug("%s: cached before", self.path)
            return file
        with _locked(self.path.with_name(f".{self.stem}.lock"), self.say):
            if altered is not None and altered.is_at(self.path):
                _remove([self.path])
            if (file := self._opened()) is not None:  # another run has built it meanwhile
                return file
            self._build()
            _remove(old for old in self.path.parent.glob(f"{self.stem}-*.npy") if old != self.path)
        if (file := self._opened()) is None:
            raise Failure(f"{self.path}: is gone or damaged as soon as it was written, "
                          "expected a folder that keeps its files")
        return file

    def _opened(self, say: Callable[[str], None] = LOGGER.debug) -> CacheFile | None:
        """The file; None where there is none, or one that is not whole, of which `say` takes a line."""
        try:
            return CacheFile(self.path, self.layout)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, EOFError) as error:
            what = error.strerror if isinstance(error, OSError) else "not as it was written"
            say(f"{self.path}: damaged ({what}); it is built anew")
            return None

    def _build(self) -> None:
        """Write the file. The lock is ours, so temporary files are those of runs that were killed."""
        folder, partial = self.path.parent, self.path.with_name(f".{self.path.stem}.part")
        if _names(self.dataset, self.form) != (self.stem, self.state):
            raise InputError(f"{self.dataset.name}: the features changed since they were cached, expected files that stay")
        _remove(folder.glob(f".{self.stem}-*.part"))
        _check_space(folder, f"{len(self)} videos as {self.form}", self.layout.size, self.say)
        try:
            with writing(folder):
                with cache_file.writing(partial, self.layout) as store:
                    self.fill(store)
                if _names(self.dataset, self.form) != (self.stem, self.state):
                    raise InputError(f"{self.dataset.name}: the features changed while they were read, "
                                     "expected files that stay")
                partial.replace(self.path)
        finally:
            _remove([partial])


def _names(dataset: Dataset, form: str) -> tuple[str, str]:
    """The beginning of a file's name, NAME-FORM-SET, and its end, STATE."""
    videos = [(item.video.name, [os.path.abspath(file) for file in item.features.files]) for item in dataset]
    layouts = [(item.features.shape, item.features.crop_axis) for item in dataset]
    try:
        stats = [os.stat(file) for _, files in videos for file in files]
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from error
    # Who writes a file and sets back its time of modification cannot set the third; what takes its place has another inode.
    state = [(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino) for stat in stats]
    words = re.sub(r"[^A-Za-z0-9]+", "-", f"{Path(dataset.name).stem}-{form}")
    return f"{words[-80:]}-{_hash(form, videos)}", _hash(FORMAT, layouts, state)


def _hash(*values: object) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()[:16]


@contextmanager
def _locked(path: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold a lock that one process has at a time. Its file stays: to remove it would race with those who open it."""
    from filelock import FileLock, Timeout  # imports much that nothing else needs

    if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
        raise InputError(f"{path}: is no file, expected one that only this library makes; remove it")
    lock = FileLock(path)
    with writing(path.parent):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say(f"waiting for another run that caches the same features in {path.parent}")
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _check_space(folder: Path, what: str, size: int, say: Callable[[str], None]) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        raise Failure(f"{folder}: caching {what} needs {_amount(size)} and {_amount(free)} are free, "
                      "expected as much or another folder")
    say(f"caching {what}: {_amount(size)} in {folder}")


def _amount(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _remove(paths: Iterable[Path]) -> None:
    """What cannot be removed is in nobody's way."""
    for path in paths:
        with suppress(OSError):
            path.unlink()
