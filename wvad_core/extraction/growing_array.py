"""A .npy file whose first axis grows while it is written."""
from __future__ import annotations

import struct
from pathlib import Path
from types import TracebackType

import numpy as np

HEAD = 128
"""Bytes of the header, with room for any length."""


class GrowingArray:
    """Write arrays of one shape behind one another into a .npy file, (T, *shape), T being how many there were.

    `with` it, the header is written at the end: a file that is left before is none.
    """

    def __init__(self, path: Path, dtype: str):
        self._file, self._dtype = open(path, "wb"), np.dtype(dtype).newbyteorder("<")
        self._shape: tuple[int, ...] = ()
        self.length = 0

    def append(self, values: np.ndarray) -> None:
        if not self.length:
            self._shape = values.shape
            self._file.write(bytes(HEAD))
        if values.shape != self._shape:
            raise ValueError(f"{values.shape} behind {self._shape}")
        self._file.write(np.ascontiguousarray(values, self._dtype).tobytes())
        self.length += 1

    def __enter__(self) -> GrowingArray:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._file:
            if kind is None:
                self._file.seek(0)
                self._file.write(self._header())

    def _header(self) -> bytes:
        """Version 1.0 of the format: magic, length of the text, a dictionary, spaces, a newline."""
        text = repr({"descr": self._dtype.str, "fortran_order": False, "shape": (self.length, *self._shape)})
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", HEAD - 10) + text.encode().ljust(HEAD - 11) + b"\n"
