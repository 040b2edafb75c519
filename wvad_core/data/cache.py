"""Training features that are prepared once and kept on disk: a memory-mapped file for each training set.

    features = cached(cache_folder(), dataset, "200 segments", (V, N, S, D), fill)

A file is NAME-FORM-SET-STATE.npy. SET stands for the files that are read and what is made of them, STATE for these
files' sizes and times of change as well. So a changed source gives another file, and the one in its place is known by
its SET and removed; runs that have it open keep it until they close it.

A file appears whole or not at all. The run that builds it holds a lock, which ends with its process however that ends;
others that want the file wait for it. Pages are read when they are used, so that a file may be larger than the memory.
"""
from __future__ import annotations

import errno
import hashlib
import logging
import math
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from .features import PARSING

if TYPE_CHECKING:
    from .dataset import Dataset

LOGGER = logging.getLogger("wvad")
FORMAT = 1
"""To be raised whenever the same sources give other contents, so that no older file is taken for a new one."""
UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
"""How a file system says that it cannot reserve space."""
BLOCK = 1 << 24
"""Bytes that are written at once where it cannot."""


def cache_folder() -> Path:
    """$WVAD_CACHE, else $XDG_CACHE_HOME/wvad, else ~/.cache/wvad."""
    if folder := os.environ.get("WVAD_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "wvad")


def cached(folder: str | Path | None, dataset: Dataset, form: str, shape: tuple[int, ...],
           fill: Callable[[np.ndarray], None], say: Callable[[str], None] = LOGGER.info) -> np.ndarray:
    """An array of float32, read-only and memory-mapped, that `fill` has written once for all runs.

    folder: where the files are; None keeps the array in memory, and `fill` is called every time.
    form: what is made of the videos, in words that decide the contents together with the dataset's files.
    fill: writes all values into the array that it is given. What it raises is raised here, and no file is left.
    say: takes a line on the size before the file is built, and one when another run is waited for.
    Raises InputError when the folder cannot be written or has too little space, or when the dataset's files cannot be
    read or change while they are.
    """
    if folder is None:
        features = np.empty(shape, np.float32)
        fill(features)
        return features
    stem, state = _names(dataset, form)
    path = Path(folder, f"{stem}-{state}.npy")
    features = _opened(path, shape)
    if features is not None:
        LOGGER.debug("%s: cached before", path)
        return features
    with _locked(path.with_name(f".{stem}.lock"), say):
        if (features := _opened(path, shape)) is None:  # else another run has built it meanwhile
            _remove(path.parent.glob(f".{stem}-*.part"))  # of runs that were killed: the lock is ours
            _check_space(path.parent, f"{len(dataset)} videos as {form}", 4 * math.prod(shape), say)
            with _written(path, shape) as places:
                fill(places)
                if _names(dataset, form) != (stem, state):
                    raise InputError(f"{dataset.name}: the features changed while they were read, expected files that stay")
            _remove(old for old in path.parent.glob(f"{stem}-*.npy") if old != path)
            features = _opened(path, shape)
    if features is None:
        raise InputError(f"{path}: is gone or damaged as soon as it was written, expected a folder that keeps its files")
    return features


def parts(flat: np.ndarray, shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    """Views of an array, (sum of their sizes,), one of each shape, end to end."""
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    return [values.reshape(shape) for values, shape in zip(np.split(flat, ends[:-1]), shapes)]


def _names(dataset: Dataset, form: str) -> tuple[str, str]:
    """The beginning of a file's name, NAME-FORM-SET, and its end, STATE."""
    videos = [(item.video.name, [os.path.abspath(file) for file in item.features.files]) for item in dataset]
    layouts = [(item.features.shape, item.features.crop_axis) for item in dataset]
    try:
        stats = [os.stat(file) for _, files in videos for file in files]
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from error
    state = [(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for stat in stats]  # copying with times sets the second
    words = re.sub(r"[^A-Za-z0-9]+", "-", f"{Path(dataset.name).stem}-{form}")
    return f"{words[-80:]}-{_hash(form, videos)}", _hash(FORMAT, layouts, state)


def _hash(*values: object) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()[:16]


def _opened(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The file's array; None where there is no file, or one that is not whole."""
    try:
        with PARSING:
            features = np.lib.format.open_memmap(path, mode="r")
        whole = path.stat().st_size == features.offset + features.nbytes
    except (OSError, ValueError):
        return None
    fits = (features.shape, features.dtype, features.flags.c_contiguous) == (shape, np.float32, True)
    return np.asarray(features) if whole and fits else None


@contextmanager
def _locked(path: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold a lock that one process has at a time. Its file stays: to remove it would race with those who open it."""
    from filelock import FileLock, Timeout  # imports much that nothing else needs

    lock = FileLock(path)
    with _writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
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
        raise InputError(f"{folder}: caching {what} needs {_amount(size)} and {_amount(free)} are free, "
                         "expected as much or another folder")
    say(f"caching {what}: {_amount(size)} in {folder}")


def _amount(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


@contextmanager
def _written(path: Path, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Give an array to fill; it is the file's when the block ends well, and gone when it does not."""
    partial = path.with_name(f".{path.stem}.part")
    try:
        with _writing(path.parent):
            features = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float32, shape=shape)
            _reserve(partial, features.offset, features.nbytes)
        yield np.asarray(features)
        with _writing(path.parent):
            features.flush()  # to the disk, else a crash may leave a whole file of zeros
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _reserve(path: Path, offset: int, size: int) -> None:
    """Claim the space of the values: a disk that is full when a memory map is written ends the process by a signal."""
    with open(path, "r+b") as file:
        try:
            return os.posix_fallocate(file.fileno(), offset, size)
        except AttributeError:
            pass  # a system that has no such call
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
        file.seek(offset)
        for start in range(0, size, BLOCK):
            file.write(bytes(min(BLOCK, size - start)))


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror or error})") from error


def _remove(paths: Iterable[Path]) -> None:
    """What cannot be removed is in nobody's way."""
    for path in paths:
        with suppress(OSError):
            path.unlink()
