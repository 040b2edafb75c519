"""What checkpoint files hold, as readers say that share no code with the library's: Python's own pickle machine, zipfile, json.

They have no care for harm but that nothing is called; they tell what a file that the library takes must have given.
"""
from __future__ import annotations

import io
import json
import math
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

SAFETENSORS = {"F64": "f8", "F32": "f4", "F16": "f2", "I64": "i8", "I32": "i4", "I16": "i2", "I8": "i1", "U8": "u1",
               "U16": "u2", "U32": "u4", "U64": "u8", "BOOL": "?", "BF16": ml_dtypes.bfloat16}
STORAGES = {"DoubleStorage": "f8", "FloatStorage": "f4", "HalfStorage": "f2", "LongStorage": "i8", "IntStorage": "i4",
            "ShortStorage": "i2", "CharStorage": "i1", "ByteStorage": "u1", "BoolStorage": "?",
            "BFloat16Storage": ml_dtypes.bfloat16}
MINDSPORE = {"Float64": "f8", "Float32": "f4", "Float16": "f2", "Int64": "i8", "Int32": "i4", "Int16": "i2", "Int8": "i1",
             "UInt8": "u1", "UInt16": "u2", "UInt32": "u4", "UInt64": "u8", "Bool": "?", "BFloat16": ml_dtypes.bfloat16}

Tensors = dict[str, np.ndarray]


def tensors(path: Path, reader: Callable[[bytes], Tensors]) -> Tensors | None:
    """The tensors of a file; None where this reader can make nothing of it."""
    try:
        return reader(path.read_bytes())
    except Exception:
        return None


def safetensors(data: bytes) -> Tensors:
    length = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8:8 + length]), data[8 + length:]
    return {name: np.frombuffer(body[slice(*about["data_offsets"])], SAFETENSORS[about["dtype"]]).reshape(about["shape"])
            for name, about in header.items() if name != "__metadata__"}


class _Nothing:
    """Stands for whatever no tensor is made of."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


class _Pickle(pickle.Unpickler):
    """Calls nothing but what makes an array of a storage, and NumPy's own."""

    def __init__(self, file: io.BufferedIOBase, storage: Callable[[str, str], np.ndarray]) -> None:
        super().__init__(file, encoding="latin1")
        self.storage = storage

    def find_class(self, module: str, name: str) -> Any:
        if name in STORAGES:
            return name
        if name == "_rebuild_tensor_v2":
            return lambda storage, offset, shape, strides, *_: np.lib.stride_tricks.as_strided(
                storage[offset:], shape, [step * storage.itemsize for step in strides]) if bounded(
                    storage, offset, shape, strides) else 1 / 0
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        if module.startswith("numpy") and name in ("_reconstruct", "dtype", "ndarray", "_frombuffer"):
            return super().find_class(module, name)
        if (module, name) == ("_codecs", "encode"):
            return lambda text, encoding: text.encode(encoding)
        return _Nothing

    def persistent_load(self, given: tuple) -> np.ndarray:
        return self.storage(given[2], given[1])


def bounded(storage: np.ndarray, offset: int, shape: tuple, strides: tuple) -> bool:
    last = offset + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
    return min((offset, *shape, *strides)) >= 0 and (0 in shape or last < len(storage))


def _state_dict(top: Any) -> Tensors:
    """The tensors of the dict itself, else of the one dict in it that has some."""
    found = {name: np.ascontiguousarray(value).reshape(value.shape) for name, value in top.items()
             if isinstance(value, np.ndarray)}
    below = [value for value in top.values() if isinstance(value, dict)]
    return found or next(filter(None, map(_state_dict, below)), {})


def zipped(data: bytes) -> Tensors:
    """As torch.save writes since 1.6."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        folder = next(name for name in names if name.endswith("/data.pkl")).removesuffix("data.pkl")
        order = archive.read(f"{folder}byteorder") if f"{folder}byteorder" in names else b"little"
        mark = {b"little": "<", b"big": ">"}[order]

        def storage(key: str, kind: str) -> np.ndarray:
            values = np.frombuffer(archive.read(f"{folder}data/{key}"), np.dtype(STORAGES[kind]))
            return values.byteswap() if mark == ">" else values

        return _state_dict(_Pickle(io.BytesIO(archive.read(f"{folder}data.pkl")), storage).load())


def legacy(data: bytes) -> Tensors:
    """As torch.save wrote before 1.6: three pickles, the object, the storages' keys, the storages."""
    file = io.BytesIO(data)
    for _ in range(3):
        _Pickle(file, lambda *_: 1 / 0).load()
    start = file.tell()
    kinds: dict[str, str] = {}

    def remember(key: str, kind: str) -> np.ndarray:
        kinds[key] = kind
        return np.zeros(1)

    scan = _Pickle(file, remember)
    scan.find_class = lambda module, name: name if name in STORAGES else _Nothing if name != "OrderedDict" else dict
    scan.load()
    keys = _Pickle(file, lambda *_: 1 / 0).load()
    storages = {}
    for key in keys:
        count, dtype = struct.unpack("<q", file.read(8))[0], np.dtype(STORAGES[kinds[key]])
        storages[key] = np.frombuffer(file.read(count * dtype.itemsize), dtype)
        assert len(storages[key]) == count
    file.seek(start)
    return _state_dict(_Pickle(file, lambda key, kind: storages[key]).load())


def plain(data: bytes) -> Tensors:
    """A pickle of a dict of NumPy arrays."""
    return _state_dict(_Pickle(io.BytesIO(data), lambda *_: 1 / 0).load())


def archived(data: bytes) -> Tensors:
    """An archive of .npy files."""
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return dict(archive)


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """The number that begins at a place, and the place behind it."""
    value = shift = 0
    while True:
        byte = data[place]
        place, value, shift = place + 1, value | (byte & 127) << shift, shift + 7
        if byte < 128:
            return value & (1 << 64) - 1, place


def _varints(data: bytes) -> list[int]:
    place, found = 0, []
    while place < len(data):
        value, place = _varint(data, place)
        found.append(value)
    return found


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """(number, value) of a protocol buffer message: whole numbers and bytes."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        if key & 7 == 0:
            value, place = _varint(data, place)
            yield key >> 3, value
        elif key & 7 == 2:
            size, place = _varint(data, place)
            assert place + size <= len(data)
            yield key >> 3, data[place:place + size]
            place += size
        else:
            raise ValueError("another wire type")


def mindspore(data: bytes) -> Tensors:
    found: Tensors = {}
    for _, value in _fields(data):
        tag, tensor = (content for _, content in sorted(_fields(value)))
        parts = list(_fields(tensor))
        dims = [number for of, size in parts if of == 1
                for number in ([size] if isinstance(size, int) else _varints(size))]
        about = dict(parts)
        kind, content = about[2].decode(), about[3]
        if kind == "str":
            continue
        array = np.frombuffer(content, MINDSPORE[kind])
        shape = () if dims == [0] and len(array) == 1 else tuple(dims)
        assert math.prod(shape) == len(array)
        found[tag.decode()] = array.reshape(shape)
    return found
