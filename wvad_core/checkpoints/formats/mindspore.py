"""MindSpore's .ckpt files, read and written without MindSpore.

The file is one protocol buffer message (mindspore/ccsrc/utils/checkpoint.proto):

    Checkpoint {repeated Value value = 1}
    Value {string tag = 1; one of TensorProto tensor = 2, MapTensor maptensor = 3}
    TensorProto {repeated int64 dims = 1; string tensor_type = 2; bytes tensor_content = 3}

A tensor of more than 512 MiB is several Values of the same tag and the same dims in a row, its bytes cut. A string is a
tensor of type "str" whose bytes are UTF-32. The metadata is such a string, in JSON, under the tag `wvad`: MindSpore reads
it as a string, and loads the tensors beside it into a network as if it was not there. A file may end with "crc_num" and a
CRC-32 in ten bytes, as those that are written here do.
"""
from __future__ import annotations

import json
import math
import mmap
import zlib
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import ml_dtypes
import numpy as np

from ...errors import InputError, one_line
from ...files import written_whole
from ..contents import Contents, checked_size
from .protobuf import field, fields, opening, varint, varints

NAME = "MindSpore"
SUFFIXES = (".ckpt",)
TAG = "wvad"
TEXT = "str"
TYPES = {"Bool": np.bool_, "Int8": np.int8, "Int16": np.int16, "Int32": np.int32, "Int64": np.int64, "UInt8": np.uint8,
         "UInt16": np.uint16, "UInt32": np.uint32, "UInt64": np.uint64, "Float16": np.float16, "Float32": np.float32,
         "Float64": np.float64, "BFloat16": ml_dtypes.bfloat16}
NAMES = {np.dtype(kind): name for name, kind in TYPES.items()}
SLICE = 512 * 1024**2
CRC, CRC_DIGITS = b"crc_num", 10
VALUE = b"\n"
"""The key of a field of number 1 that is bytes."""
MOST_AXES = 32
"""Of an array of NumPy 1."""

OPTIMISER = ("moment1", "moment2", "moments", "accum", "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "state_step", "mean_grad",
             "mean_square", "stat")
"""What a training run saves beside the weights: OPTIMISER.WEIGHT, and numbers whose names have no module."""
OF_NETWORKS = ("logit_scale",)
"""Numbers of that kind that are weights all the same: CLIP's scale of cosines, in all that is built like it."""


class Piece(NamedTuple):
    """A Value: a tensor, a string, or some of the bytes of either."""
    tag: str
    dims: tuple[int, ...]
    kind: str
    content: memoryview


def recognises(path: Path) -> bool:
    """The file begins with a Value that begins with its tag."""
    with open(path, "rb") as file:
        data = memoryview(file.read(12))
    try:
        return data[:1] == VALUE and data[varint(data, 1)[1]:][:1] == VALUE
    except ValueError:
        return False


def read(path: Path) -> Contents:
    """Raises InputError unless the file is whole and each tensor has as many bytes as its type and dims need.

    Training state beside the weights is left aside in files that are not this library's.
    """
    size = checked_size(path)
    try:
        with open(path, "rb") as file:
            if not size:
                raise ValueError("it is empty")
            found = _values(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))
    except (OSError, ValueError, MemoryError) as error:
        raise InputError(f"{path}: not a whole MindSpore checkpoint ({one_line(error)})") from error
    text = found.pop(TAG, "{}")
    try:
        metadata = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        metadata = None
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise InputError(f"{path}: the value {TAG}, which holds the metadata, is not an object of strings in JSON")
    arrays = {name: value for name, value in found.items() if not isinstance(value, str)}
    if not metadata:
        arrays = {name: value for name, value in arrays.items() if not _belongs_to_training(name, arrays)}
    return Contents(arrays, metadata)


def _values(data: memoryview) -> dict[str, np.ndarray | str]:
    if data[-CRC_DIGITS - len(CRC):-CRC_DIGITS] == CRC:
        data, stored = data[:-CRC_DIGITS - len(CRC)], int.from_bytes(data[-CRC_DIGITS:], "big")
        if zlib.crc32(data) != stored:
            raise ValueError("its bytes do not have the CRC-32 that it ends with")
    found = {}
    for tag, row in groupby((_piece(value) for number, value in _known(data, 1)), lambda piece: piece.tag):
        if tag in found:
            raise ValueError(f"{tag} is there twice")
        found[tag] = _joined(list(row))
    return found


def _known(data: memoryview, most: int) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a message that has those from 1 to `most`."""
    for number, value in fields(data):
        if not 1 <= number <= most:
            raise ValueError(f"a field of number {number}")
        yield number, value


def _piece(value: int | memoryview) -> Piece:
    parts = dict(_known(_bytes(value), 3))
    if 3 in parts:
        raise ValueError("a map parameter, which no detector has")
    if not {1, 2} <= set(parts):
        raise ValueError("a value without tag or tensor")
    dims, others = [], {}
    for number, part in _known(_bytes(parts[2]), 3):
        if number == 1:
            dims += [part] if isinstance(part, int) else varints(part)
        else:
            others[number] = _bytes(part)
        if len(dims) > MOST_AXES:
            raise ValueError(f"a tensor of more than {MOST_AXES} axes")
    if not {2, 3} <= set(others):
        raise ValueError("a tensor without type or content")
    return Piece(str(_bytes(parts[1]), "utf-8"), tuple(dims), str(others[2], "utf-8"), others[3])


def _bytes(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number in place of bytes")
    return value


def _joined(row: list[Piece]) -> np.ndarray | str:
    """The tensor or string of all the pieces of one tag, as a copy: the file's bytes are not aligned."""
    tag, dims, kind, _ = row[0]
    if any((piece.dims, piece.kind) != (dims, kind) for piece in row):
        raise ValueError(f"{tag} is there twice")
    content = np.concatenate([np.frombuffer(piece.content, np.uint8) for piece in row])
    if kind == TEXT:
        return content.tobytes().decode("utf-32-le")
    if kind not in TYPES:
        raise ValueError(f"{tag} is of type {kind!r}, expected one of {', '.join(TYPES)}")
    dtype = np.dtype(TYPES[kind])
    if dims == (0,) and len(content) == dtype.itemsize:
        dims = ()  # as MindSpore reads it
    needed = math.prod(dims) * dtype.itemsize
    if len(content) != needed:
        raise ValueError(f"{tag} has {len(content)} bytes, expected {needed} for {kind} {dims}")
    return content.view(dtype).reshape(dims)


def _belongs_to_training(name: str, tensors: Mapping[str, np.ndarray]) -> bool:
    kind, dot, weight = name.partition(".")
    return (kind in OPTIMISER and weight in tensors) or (not dot and tensors[name].size == 1 and name not in OF_NETWORKS)


def write(path: Path, contents: Contents) -> None:
    """Whole or not at all, with a CRC-32. Raises InputError where the folder cannot be written, or for a dtype that MindSpore
    lacks."""
    lacking = sorted({str(t.dtype) for t in contents.tensors.values()} - {str(dtype) for dtype in NAMES})
    if lacking:
        raise InputError(f"{path}: MindSpore has no tensors of type {', '.join(lacking)}")
    crc = 0
    with written_whole(path) as temporary, open(temporary, "wb") as file:
        for piece in _pieces(contents):
            crc = zlib.crc32(piece, crc)
            file.write(piece)
        file.write(CRC + crc.to_bytes(CRC_DIGITS, "big"))


def _pieces(contents: Contents) -> Iterator[memoryview | bytes]:
    """The bytes of the message, in order."""
    for name, tensor in contents.tensors.items():
        content = np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data
        yield from _value(name, tensor.shape, NAMES[tensor.dtype], content)
    if contents.metadata:
        yield from _value(TAG, (0,), TEXT, json.dumps(contents.metadata).encode("utf-32-le"))


def _value(tag: str, dims: tuple[int, ...], kind: str, content: memoryview | bytes) -> Iterator[memoryview | bytes]:
    about = b"".join(field(1, size) for size in dims) + field(2, kind.encode())
    for start in range(0, max(len(content), 1), SLICE):
        piece = content[start:start + SLICE]
        inner = about + opening(3, len(piece))
        value = field(1, tag.encode()) + opening(2, len(inner) + len(piece)) + inner
        yield opening(1, len(value) + len(piece)) + value
        yield piece
