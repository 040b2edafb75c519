"""MATLAB's .mat files of version 5 to 7, only read: arrays of numbers, and cells of them, {NAME: array, NAME.0: entry of a cell}.

A file is 128 bytes of header and then elements: a type, a number of bytes, and these, filled up to a multiple of 8. A variable
is an element of elements: what it is, its sizes, its name, its numbers, column by column; it may be compressed as a whole. A
cell has its entries in the place of numbers, each one a variable without a name. Nothing else is built: text, structs,
objects and functions are refused.
"""
from __future__ import annotations

import math
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ...errors import InputError, one_line
from ..contents import Contents, checked_size

NAME = "MATLAB"
HEADER = re.compile(rb"MATLAB 5\.0 MAT-file.{105}(\x00\x01IM|\x01\x00MI)", re.DOTALL)
LENGTH = 128
LARGEST = 2**31
"""Bytes, of a variable and here of a file."""
MATRIX, COMPRESSED, CELL = 14, 15, 1
STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""{type of an element: dtype of its numbers}: whole ones are often stored in fewer bytes than their class has."""
CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
IMAGINARY = 0x800
DEPTH = 4  # of cells in cells
GROWTH, ALLOWANCE = 4, 16 * 1024**2  # arrays may be so many times as large as the file, and so many bytes more

# what a file that is not whole, or was made to do harm, leads to in struct, zlib and NumPy
DAMAGE = (ValueError, TypeError, LookupError, EOFError, OSError, MemoryError, OverflowError, struct.error, zlib.error)
Element = tuple[int, bytes]


def recognises(path: Path) -> bool:
    """A file with the header of version 5, which versions 6 and 7 have too."""
    with open(path, "rb") as file:
        return bool(HEADER.match(file.read(LENGTH)))


def read(path: Path) -> Contents:
    """Raises InputError unless the file is whole, and each variable an array of real numbers or a cell of such arrays."""
    size = checked_size(path)
    try:
        with open(path, "rb") as file:
            header = HEADER.match(file.read(LENGTH))
            if header is None:
                raise ValueError("its header is not that of version 5")
            if size > LARGEST:
                raise ValueError(f"it has {size} bytes, more than a file of version 5")
            reader = _Reader("<" if header[1].endswith(b"IM") else ">", GROWTH * size + ALLOWANCE)
            return Contents(dict(reader.variables(file.read())), {})
    except DAMAGE as error:
        raise InputError(f"{path}: not a whole MATLAB file of numbers ({one_line(error)})") from error


class _Reader:
    """order: of the bytes of a number. left: how many bytes compressed variables and arrays may still have."""

    def __init__(self, order: str, left: int) -> None:
        self.order, self.left = order, left

    def spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise ValueError("its arrays have far more bytes than the file")

    def variables(self, content: bytes) -> Iterator[tuple[str, np.ndarray]]:
        """Of what follows the header."""
        names = set()
        for kind, data in self.elements(content):
            if kind == COMPRESSED:
                ((kind, data),) = self.elements(self.unpacked(data))
            if kind != MATRIX:
                raise ValueError(f"an element of type {kind}, expected a variable")
            for name, array in self.arrays(data, ""):
                if name in names:
                    raise ValueError(f"variable {ascii(name)[:100]} is twice in it")
                names.add(name)
                yield name, array

    def unpacked(self, data: bytes) -> bytes:
        machine = zlib.decompressobj()
        found = machine.decompress(data, self.left + 1)
        self.spend(len(found))
        if not machine.eof:
            raise ValueError("a compressed variable is cut short")
        return found

    def elements(self, content: bytes) -> Iterator[Element]:
        """One after another; those of 4 bytes or fewer may have them beside their type."""
        start = 0
        while start < len(content):
            first, = struct.unpack_from(f"{self.order}I", content, start)
            if first >> 16:
                kind, count, begin, end = first & 0xFFFF, first >> 16, start + 4, start + 8
                if count > 4:
                    raise ValueError(f"a small element of {count} bytes, expected at most 4")
            else:
                kind, (count,), begin = first, struct.unpack_from(f"{self.order}I", content, start + 4), start + 8
                end = begin + count + (0 if kind == COMPRESSED else -count % 8)
            if begin + count > len(content):
                raise ValueError(f"cut short: an element of {count} bytes, of which {len(content) - begin} are there")
            yield kind, content[begin:begin + count]
            start = end

    def arrays(self, data: bytes, name: str, depth: int = 0) -> Iterator[tuple[str, np.ndarray]]:
        """The array of a variable, or those of a cell's entries. name: what a cell's entry is called, which has none itself."""
        flags, sizes, (_, own), *parts = self.elements(data)
        shape, name = tuple(self.numbers(sizes).tolist()), name or own.decode("latin-1")
        kind = int(self.numbers(flags)[0])
        count = math.prod(shape)
        if len(shape) < 2 or min(shape) < 0:
            raise ValueError(f"variable {ascii(name)[:100]} has sizes {shape[:5]}")
        if kind & 0xFF == CELL and depth < DEPTH:
            if len(parts) != count or any(of != MATRIX for of, _ in parts):
                raise ValueError(f"cell {ascii(name)[:100]} has {len(parts)} entries, expected {count}")
            for number, (_, entry) in enumerate(parts):
                yield from self.arrays(entry, f"{name}.{number}", depth + 1)
            return
        if kind & 0xFF not in CLASSES or kind & IMAGINARY or len(parts) > 1 or count and not parts:
            raise ValueError(f"variable {ascii(name)[:100]} is of class {kind & 0xFF}, expected real numbers or a cell of them")
        values = self.numbers(parts[0]) if parts else np.empty(0)
        if len(values) != count:
            raise ValueError(f"variable {ascii(name)[:100]} has {len(values)} numbers, expected {shape}")
        dtype = np.dtype(CLASSES[kind & 0xFF])
        self.spend(count * dtype.itemsize)
        yield name, values.astype(dtype).reshape(shape, order="F")

    def numbers(self, element: Element) -> np.ndarray:
        kind, data = element
        return np.frombuffer(data, self.order + STORED[kind])
