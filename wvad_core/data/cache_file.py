"""The file of a cache: videos end to end as one .npy array, behind it a checksum of each crop, and a hash of all these.

A crop's checksum is compared when the crop is first read, and again once the file has been changed since (its time of
change is asked for at every read, which costs a microsecond). To check all of a file when it is opened would be to read it:
13 GB of UCF-Crime's 200 segments. It is a CRC-32, which finds every change of one value and all but one in 4e9 of others,
several times as fast as a cryptographic hash: who could write to the folder on purpose could write that as well. Values are
read, never mapped: a map of a file that somebody cuts short ends the process.
"""
from __future__ import annotations

import hashlib
import os
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

import numpy as np

from . import npy

Array = np.ndarray
Shape = tuple[int, ...]
Store = Callable[[int, Array], None]
"""Takes a video's number and its values, (N, T, D), in any order, in threads."""
CHECKSUM, SEAL = 4, 16
"""Bytes of a crop's checksum, and of the hash at the end."""
FLOAT = np.dtype(np.float32)


class Layout:
    """Where the crops of videos (N, T, D) are in a file."""

    def __init__(self, shapes: Sequence[Shape]) -> None:
        self.shapes = [tuple(map(int, shape)) for shape in shapes]
        crops, sizes = (np.array(values, np.int64) for values in zip(*((n, t * d) for n, t, d in self.shapes)))
        self.first = np.concatenate([[0], np.cumsum(crops)])
        """The number of each video's first crop among all crops; of all crops, at last."""
        values = int((crops * sizes).sum())
        text = f"{{'descr': '{FLOAT.str}', 'fortran_order': False, 'shape': ({values},), }}".ljust(117) + "\n"
        self.header = npy.MAGIC + bytes([1, 0, len(text), 0]) + text.encode()
        self.offsets = len(self.header) + FLOAT.itemsize * np.concatenate([[0], np.cumsum(crops * sizes)])
        """The place of each video's values in the file, in bytes; of what follows, at last."""
        self.size = int(self.offsets[-1]) + CHECKSUM * int(self.first[-1]) + SEAL

    def seal(self, checksums: bytes) -> bytes:
        """The hash of all that is no value."""
        return hashlib.blake2b(self.header + repr(self.shapes).encode() + checksums, digest_size=SEAL).digest()


def checksum(values: Array) -> bytes:
    """Of a C-contiguous array."""
    return zlib.crc32(npy.as_bytes(values)).to_bytes(CHECKSUM, "little")


class CacheFile:
    """A file that is read. Raises OSError where there is none, ValueError or EOFError for one that is not as written."""

    def __init__(self, path: Path, layout: Layout) -> None:
        self.layout, self._lock = layout, threading.Lock()
        self.file = npy.opened(path, follow=False)
        try:
            self._checksums = self._read_checksums()
        except BaseException:
            self.file.close()
            raise
        self._checked = np.zeros(len(self._checksums), bool)
        self._changed = os.fstat(self.file.fileno()).st_ctime_ns

    def _read_checksums(self) -> list[bytes]:
        header, behind = bytearray(len(self.layout.header)), bytearray(self.layout.size - int(self.layout.offsets[-1]))
        if os.fstat(self.file.fileno()).st_size != self.layout.size:
            raise ValueError("another size")
        self._read(0, memoryview(header))
        self._read(int(self.layout.offsets[-1]), memoryview(behind))
        checksums = bytes(behind[:-SEAL])
        if header != self.layout.header or behind[-SEAL:] != self.layout.seal(checksums):
            raise ValueError("another header, or other checksums")
        return [checksums[start:start + CHECKSUM] for start in range(0, len(checksums), CHECKSUM)]

    def read(self, video: int, crop: int, target: Array) -> bool:
        """Read a crop into a C-contiguous (T, D); False where it is not as it was written."""
        number = int(self.layout.first[video]) + crop
        try:
            self._read(int(self.layout.offsets[video]) + crop * target.nbytes, npy.as_bytes(target))
        except EOFError:
            return False
        changed = os.fstat(self.file.fileno()).st_ctime_ns  # after it was read
        if changed != self._changed:
            self._checked[:], self._changed = False, changed
        if not self._checked[number]:
            if checksum(target) != self._checksums[number]:
                return False
            self._checked[number] = True
        return True

    def checksums(self, video: int) -> tuple[bytes, ...]:
        """Those of a video's crops."""
        return tuple(self._checksums[self.layout.first[video]:self.layout.first[video + 1]])

    def is_at(self, path: Path) -> bool:
        """Whether a path still leads to this file."""
        try:
            return os.path.samestat(os.lstat(path), os.fstat(self.file.fileno()))
        except OSError:
            return False

    def _read(self, offset: int, target: memoryview) -> None:
        """Read bytes, wherever other threads and forked processes are in the file."""
        if hasattr(os, "preadv"):
            while target:
                count = os.preadv(self.file.fileno(), [target], offset)
                if not count:
                    raise EOFError("cut short")
                offset, target = offset + count, target[count:]
            return
        with self._lock:
            self.file.seek(offset)
            npy.fill_bytes(target, self.file)


@contextmanager
def writing(path: Path, layout: Layout) -> Iterator[Store]:
    """Give what stores the videos' values in a new file, which is whole and on the disk when the block ends well."""
    checksums, lock = [bytes(CHECKSUM)] * int(layout.first[-1]), threading.Lock()
    with FileIO(path, "x") as file:
        def store(video: int, values: Array) -> None:
            values = np.ascontiguousarray(values, FLOAT)
            checksums[layout.first[video]:layout.first[video + 1]] = map(checksum, values)
            with lock:
                _write(file, int(layout.offsets[video]), npy.as_bytes(values))

        _write(file, 0, memoryview(layout.header))
        yield store
        behind = b"".join(checksums)
        _write(file, int(layout.offsets[-1]), memoryview(behind + layout.seal(behind)))
        os.fsync(file.fileno())  # else a crash may leave a file of zeros


def _write(file: FileIO, offset: int, values: memoryview) -> None:
    file.seek(offset)
    while values:
        values = values[file.write(values):]
