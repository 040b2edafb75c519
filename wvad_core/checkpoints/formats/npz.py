"""NumPy's .npz archives of arrays: NAME.npy each, compressed or not. Nothing in them is unpickled.

Weights come so that were taken out of a framework whose files nothing else reads, such as TensorFlow's; a name may have
slashes. They are only read: bfloat16 and metadata have no place in them.
"""
from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from ...errors import InputError, one_line
from ..contents import Contents, checked_size

NAME = "NumPy"
ZIP, ARRAY = b"PK\3\4", ".npy"
GROWTH, ALLOWANCE = 4, 16 * 1024**2  # arrays may be so many times as large as the file, and so many bytes more
HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
KINDS = "fiub"
"""Of dtypes: real and whole numbers, and what is true or false."""

# what a file that is not whole, or was made to do harm, leads to in zipfile and NumPy
DAMAGE = (ValueError, TypeError, LookupError, EOFError, OSError, RuntimeError, MemoryError, SyntaxError, struct.error,
          zipfile.BadZipFile, zlib.error)


def recognises(path: Path) -> bool:
    """A zip archive that begins with an array."""
    with open(path, "rb") as file:
        head = file.read(512)
    return head[:4] == ZIP and head[30:30 + int.from_bytes(head[26:28], "little")].endswith(ARRAY.encode())


def read(path: Path) -> Contents:
    """Raises InputError unless the file is whole, and each array is of numbers and has the bytes that its header says."""
    most = GROWTH * checked_size(path) + ALLOWANCE
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if sum(entry.file_size for entry in entries) > most:
                raise ValueError(f"its arrays have more than {most} bytes, far more than the file")
            if len({entry.filename for entry in entries}) < len(entries):
                raise ValueError("a member is twice in it")
            found = {entry.filename: _content(archive, entry) for entry in entries}
        return Contents({_name(member): _array(member, content) for member, content in found.items()}, {})
    except DAMAGE as error:
        raise InputError(f"{path}: not a whole NumPy archive of numbers ({one_line(error)})") from error


def _content(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """A member's bytes, and no more of them unpacked than the archive says there are."""
    with archive.open(entry) as file:
        return file.read(entry.file_size)


def _name(member: str) -> str:
    if not member.endswith(ARRAY):
        raise ValueError(f"member {ascii(member)[:100]} is no array")
    return member.removesuffix(ARRAY)


def _array(member: str, content: bytes) -> np.ndarray:
    """The array of a .npy file, in memory of its own."""
    file = io.BytesIO(content)
    version = npy.read_magic(file)
    if version not in HEADERS:
        raise ValueError(f"member {ascii(member)[:100]} is of version {version}, expected 1.0 or 2.0")
    shape, fortran, dtype = HEADERS[version](file)
    if dtype.kind not in KINDS:
        raise ValueError(f"member {ascii(member)[:100]} is of type {dtype}, expected numbers")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(content) - file.tell():
        raise ValueError(f"member {ascii(member)[:100]} has {len(content) - file.tell()} bytes, expected {dtype} {shape}")
    values = np.frombuffer(content, dtype, offset=file.tell()).reshape(shape, order="F" if fortran else "C")
    return np.array(values, dtype.newbyteorder("="), order="C")
