"""The tensors of a PyTorch file before they are read: which storage, which dtype, which part of it.

A file's pickle only says where each tensor lies. The bytes are read when a tensor is wanted, once for each storage, into
the array that is handed out; every size is held against the bytes that are there before anything is allocated.
"""
from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
from ml_dtypes import bfloat16

DIMENSIONS = 32  # the most that every supported NumPy has
LARGEST = 2**63 - 1


class Refused(ValueError):
    """What is in a file cannot be taken. The message is one line; whoever knows the file's name puts it in front."""


def whole(*numbers: object) -> bool:
    """All of them are sizes: PyTorch's are int64, and Python's longer ones take long to reckon with."""
    return all(type(number) is int and 0 <= number <= LARGEST for number in numbers)


@dataclass(frozen=True, slots=True)
class Kind:
    """A dtype by PyTorch's name; `dtype` gives the size of an element also where the kind is not one we read."""
    name: str
    dtype: np.dtype
    readable: bool = True


def _kinds(names: dict[str, object], readable: bool) -> dict[str, Kind]:
    return {name: Kind(name, np.dtype(dtype), readable) for name, dtype in names.items()}


# PyTorch's dtypes, {name: Kind}
DTYPES = _kinds({name: name for name in ("float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8",
                                         "uint16", "uint32", "uint64", "bool")} | {"bfloat16": bfloat16}, True)
DTYPES |= _kinds({"complex32": "V4", "complex64": "complex64", "complex128": "complex128", "quint8": "uint8",
                  "qint8": "int8", "qint32": "int32", "quint4x2": "uint8", "quint2x4": "uint8",
                  "float8_e4m3fn": "uint8", "float8_e5m2": "uint8", "float8_e4m3fnuz": "uint8",
                  "float8_e5m2fnuz": "uint8"}, False)

# the classes of its storages, {name: dtype}
STORAGES = {"DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
            "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
            "ByteStorage": "uint8", "BoolStorage": "bool", "UntypedStorage": "uint8", "ComplexFloatStorage": "complex64",
            "ComplexDoubleStorage": "complex128", "QUInt8Storage": "quint8", "QInt8Storage": "qint8",
            "QInt32Storage": "qint32", "QUInt4x2Storage": "quint4x2", "QUInt2x4Storage": "quint2x4"}


@dataclass(frozen=True, slots=True)
class Region:
    """Where a record lies in a file: its first byte, its length, and its CRC-32 where the file has one."""
    start: int
    size: int
    crc: int | None = None

    def read(self, file: BinaryIO, what: str) -> np.ndarray:
        """The bytes, (size,) uint8, in memory of their own."""
        content = np.empty(self.size, np.uint8)
        file.seek(self.start)
        if file.readinto(content) != self.size:
            raise Refused(f"cut short in {what}")
        if self.crc is not None and zlib.crc32(content) != self.crc:
            raise Refused(f"{what} does not have its checksum, the file is damaged")
        return content


@dataclass(eq=False, slots=True)
class Storages:
    """The storages of one open file, {key: Region}, and those that have been read. `swapped`: of the other byte order."""
    file: BinaryIO
    regions: dict[str, Region] = field(default_factory=dict)
    swapped: bool = False
    loaded: dict[str, np.ndarray] = field(default_factory=dict)

    def read(self, key: str, itemsize: int) -> np.ndarray:
        if key not in self.loaded:
            content = self.regions[key].read(self.file, f"storage {key!r}")
            if self.swapped and itemsize > 1:
                whole = content.size // itemsize * itemsize
                content[:whole].view(f"u{itemsize}").byteswap(inplace=True)
            self.loaded[key] = content
        return self.loaded[key]


@dataclass(frozen=True, eq=False, slots=True)
class Storage:
    """`count` elements from element `first` of the record `key`, as the pickle claims."""
    source: Storages
    key: str
    kind: Kind
    count: int
    first: int = 0

    def read(self) -> np.ndarray:
        """The bytes, uint8. Raises Refused where there are fewer than claimed."""
        if self.key not in self.source.regions:
            raise Refused(f"storage {self.key!r} is not in the file")
        size, there = self.kind.dtype.itemsize, self.source.regions[self.key].size
        if (self.first + self.count) * size > there:
            raise Refused(f"storage {self.key!r} has {there} bytes, expected {self.count} elements of {size} bytes")
        return self.source.read(self.key, size)[self.first * size:(self.first + self.count) * size]


@dataclass(frozen=True, eq=False, slots=True)
class Tensor:
    """A strided tensor; offset and strides in elements."""
    storage: Storage
    kind: Kind
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.shape) > DIMENSIONS or len(self.shape) != len(self.stride):
            raise Refused(f"a tensor has {len(self.shape)} dimensions and {len(self.stride)} strides, expected as many of "
                          f"both and at most {DIMENSIONS}")
        if not whole(self.offset, *self.shape, *self.stride):
            raise Refused("a tensor's offset, shape or strides are not sizes")

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.kind.dtype.itemsize

    def array(self) -> np.ndarray:
        """The values; a view of the storage's bytes where they lie in order, a copy where they do not.

        Raises Refused where the tensor reaches past its storage. The caller has looked at `nbytes`.
        """
        dtype, raw = self.kind.dtype, self.storage.read()
        if 0 in self.shape:
            return np.empty(self.shape, dtype)
        values = raw[:raw.size // dtype.itemsize * dtype.itemsize].view(dtype)
        # the stride of an axis of one element says nothing
        strides = [stride if n > 1 else 0 for n, stride in zip(self.shape, self.stride)]
        last = self.offset + sum((n - 1) * stride for n, stride in zip(self.shape, strides))
        if last >= len(values):
            raise Refused(f"reaches element {last} of a storage of {len(values)}")
        packed = [math.prod(self.shape[axis + 1:]) if n > 1 else 0 for axis, n in enumerate(self.shape)]
        if strides == packed:
            array = values[self.offset:self.offset + math.prod(self.shape)].reshape(self.shape)
        else:
            steps = [stride * dtype.itemsize for stride in strides]
            array = np.array(np.lib.stride_tricks.as_strided(values[self.offset:], self.shape, steps), order="C")
        return _bools(array) if dtype == bool else array


def _bools(array: np.ndarray) -> np.ndarray:
    """Where a byte is neither 0 nor 1, as only damage makes it, NumPy would count it as more than one."""
    return np.not_equal(array.view(np.uint8), 0)


@dataclass(frozen=True, eq=False, slots=True)
class Unsupported:
    """A tensor of a sort that is not read: in words. It is refused only where it is one of those wanted."""
    what: str

    @property
    def nbytes(self) -> int:
        return 0

    def array(self) -> np.ndarray:
        raise Refused(f"is {self.what}, expected a dense tensor of real numbers")


NUMPY_CODES = frozenset({"f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "b1"})


@dataclass(eq=False, slots=True)
class NumpyType:
    """A pickled numpy.dtype: its code, `f4`; the byte order comes by a later opcode."""
    code: object
    order: str = "="


@dataclass(eq=False, slots=True)
class NumpyArray:
    """A pickled numpy.ndarray; it is empty until a later opcode gives it shape, dtype and bytes."""
    shape: object = ()
    type: object = None
    fortran: object = False
    data: object = b""

    @property
    def nbytes(self) -> int:
        return len(self.data) if isinstance(self.data, (bytes, bytearray)) else 0

    def array(self) -> np.ndarray:
        kind = self.type
        if not isinstance(kind, NumpyType) or kind.code not in NUMPY_CODES or not isinstance(self.data, (bytes, bytearray)):
            raise Refused("is a NumPy array of objects or of unusual dtype, expected a dense array of real numbers")
        values = np.frombuffer(self.data, np.dtype(kind.code).newbyteorder(kind.order))
        if values.dtype == bool:
            values = _bools(values)
        shape = self.shape if isinstance(self.shape, tuple) and len(self.shape) <= DIMENSIONS else (-1,)
        if not whole(*shape) or math.prod(shape) != len(values):
            raise Refused(f"has {len(values)} elements and another shape")
        return np.array(values.reshape(shape, order="F" if self.fortran else "C"), values.dtype.newbyteorder("="), order="C")


Stored = Tensor | Unsupported | NumpyArray
