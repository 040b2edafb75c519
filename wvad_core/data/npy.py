"""Arrays in .npy files, read by plain reads.

A memory map would end the process by a signal where somebody cuts the file short meanwhile; NumPy's parser of headers,
which is Python's, can be kept busy by one that is made for it, and may fail when two threads are in it (gh-106905). So the
header is matched by a pattern here, in bounded time, and values are read into arrays of the program's own.
"""
from __future__ import annotations

import errno
import math
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import numpy as np

from ..errors import InputError

MAGIC = b"\x93NUMPY"
LENGTHS = {1: 2, 2: 4, 3: 4}
"""{major version: how many bytes hold the header's length}."""
LONGEST = 10_000
"""Bytes of a header that is taken, as by NumPy."""
MOST = 1 << 34
"""Bytes of values that are taken: several times those of the longest videos, with all their crops."""
BLOCK = 1 << 20
"""Bytes that are read at once where they are converted; as much as a processor's cache holds."""
VALUE = r"'[^']{1,40}'|True|False|\([0-9L, \t\n]*\)"
ENTRY = re.compile(rf"'(\w+)'[ \t\n]*:[ \t\n]*({VALUE})")
HEADER = re.compile(rf"\{{(?:[ \t\n]*'\w+'[ \t\n]*:[ \t\n]*(?:{VALUE})[ \t\n]*(?:,|(?=\}}))){{3}}[ \t\n]*\}}[ \t\n]*")
RECORDS = re.compile(r"\{[ \t\n]*'descr'[ \t\n]*:[ \t\n]*[\[(]")
DTYPE = re.compile(r"[<>|=]?[?biufcmMOSUV][0-9]{0,6}(\[[0-9a-zA-Z]{1,9}\])?")
KINDS = {stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket", stat.S_ISCHR: "a device", stat.S_ISBLK: "a device"}

Array = np.ndarray


class Unreadable(InputError):
    """A file that cannot be read as the array that it is to hold."""


@dataclass(frozen=True)
class Header:
    """What a .npy file says of itself. offset: where its values begin. size: of the file, in bytes."""
    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    offset: int
    size: int

    @property
    def expected(self) -> int:
        """The bytes that the file must have at least."""
        return self.offset + math.prod(self.shape) * self.dtype.itemsize


def opened(path: str | Path, follow: bool = True) -> FileIO:
    """A regular file, to be read without a buffer; a context that closes it. follow: whether a link is.

    Raises OSError, whose strerror says so, for a pipe, a socket, a device, a folder: to read these may never end.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    if not follow:
        flags |= getattr(os, "O_NOFOLLOW", 0)
    _check_regular(os.stat(path, follow_symlinks=follow), path)  # before: to open a device may do something
    file = FileIO(path, opener=lambda name, _: os.open(name, flags))
    try:
        _check_regular(os.fstat(file.fileno()), path)
    except OSError:
        file.close()
        raise
    return file


def _check_regular(state: os.stat_result, path: str | Path) -> None:
    if stat.S_ISDIR(state.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(state.st_mode):
        what = next((words for of, words in KINDS.items() if of(state.st_mode)), "a link")
        raise OSError(errno.EINVAL, f"{what}, expected a file", str(path))


def read_header(file: FileIO) -> Header:
    """The header of a file that is at its beginning. A type of records is given as np.void, which stands for none.

    Raises ValueError where there is no header, or one that NumPy does not write.
    """
    size, start = os.fstat(file.fileno()).st_size, file.read(12)
    count = LENGTHS.get(start[6], 0) if start[:6] == MAGIC and len(start) == 12 and start[7] == 0 else 0
    length = int.from_bytes(start[8:8 + count], "little")
    if not count or length > LONGEST:
        raise ValueError("no .npy file")
    file.seek(8 + count)
    text = file.read(length).decode("latin-1")
    if len(text) < length:
        raise ValueError("half a header")
    text = text if "'" in text else text.replace('"', "'")
    if RECORDS.match(text):
        return Header((), np.dtype(np.void), False, 8 + count + length, size)
    entries = dict(ENTRY.findall(text)) if HEADER.fullmatch(text) else {}
    try:
        dtype, order, shape = (entries[name] for name in ("descr", "fortran_order", "shape"))
        return Header(_shape(shape), _dtype(dtype), {"True": True, "False": False}[order], 8 + count + length, size)
    except KeyError as error:
        raise ValueError("no header") from error


def _shape(text: str) -> tuple[int, ...]:
    """Of "(10, 1024)", or "(10L, 1024L)" as Python 2 wrote it."""
    numbers = [number.strip().rstrip("L") for number in text[1:-1].split(",")]
    if not text.startswith("(") or len(numbers) > 32 or max(map(len, numbers)) > 19 or not all(numbers[:-1]):
        raise ValueError("no shape")
    return tuple(map(int, filter(None, numbers)))


def _dtype(text: str) -> np.dtype:
    """Of "'<f4'"."""
    if not DTYPE.fullmatch(text[1:-1]):
        raise ValueError("no dtype")
    try:
        return np.dtype(text[1:-1])
    except TypeError as error:
        raise ValueError("no dtype") from error


def read_into(target: Array, file: FileIO, header: Header) -> None:
    """Read all values, of any real type, into a float32 array of the file's shape.

    Raises ValueError for another shape, EOFError where the file ends before.
    """
    if target.shape != header.shape:
        raise ValueError("another shape")
    target = target.T if header.fortran else target
    file.seek(header.offset)
    if target.dtype == header.dtype and target.flags.c_contiguous:
        return fill(target, file)
    for part, start in blocks(target.shape, header.dtype):
        fill(part, file)
        with np.errstate(over="ignore"):
            np.copyto(target[start:start + len(part)], part)


def blocks(shape: tuple[int, ...], dtype: np.dtype) -> Iterator[tuple[Array, int]]:
    """Uninitialised arrays of about BLOCK bytes that together have a shape, along its first axis, each with its start."""
    count = max(1, BLOCK // max(1, math.prod(shape[1:]) * dtype.itemsize))
    block = np.empty((min(count, shape[0]), *shape[1:]), dtype)
    for start in range(0, shape[0], count):
        yield block[:shape[0] - start], start


def fill(values: Array, file: FileIO) -> None:
    """Read a C-contiguous array's bytes. Raises EOFError where the file ends before."""
    fill_bytes(as_bytes(values), file)


def as_bytes(values: Array) -> memoryview:
    """The bytes of a C-contiguous array, of any type, in place."""
    return values.reshape(-1).view(np.uint8).data


def fill_bytes(target: memoryview, file: FileIO) -> None:
    """Read as many bytes as there is room for. Raises EOFError where the file ends before."""
    while target:
        count = file.readinto(target)
        if not count:
            raise EOFError("cut short")
        target = target[count:]


def read_array(path: str | Path, source: str, expected: str = "") -> Array:
    """The array of a .npy file, of any type but objects and records.

    source: what messages call it. expected: what it is to hold.
    Raises InputError for a file that cannot be read, or is none.
    """
    try:
        with opened(path) as file:
            header = read_header(file)
            if header.dtype.kind in "OV" or header.size < header.expected:
                raise ValueError("no numbers")
            if header.expected > MOST:
                raise InputError(f"{source}: {header.expected / 1e9:.1f} GB, expected at most {MOST / 1e9:.1f} GB")
            values = np.empty(header.shape[::-1] if header.fortran else header.shape, header.dtype)
            file.seek(header.offset)
            fill(values, file)
            return values.T if header.fortran else values
    except OSError as error:
        raise InputError(f"{source}: cannot be read ({error.strerror})") from error
    except (ValueError, EOFError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{source}: not a .npy file of numbers{expected and ', expected ' + expected}") from error
