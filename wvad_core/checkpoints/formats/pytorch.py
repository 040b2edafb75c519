"""PyTorch's files, read and written without PyTorch; nothing in them is run.

Since 1.6 a file is a zip archive whose members are not compressed: NAME/data.pkl, a pickle in which each tensor names a
storage, NAME/data/KEY, the storages' bytes, NAME/byteorder, NAME/version. Before, it was pickles one after another, then
the storages. A plain pickle of a dict of tensors or NumPy arrays is read too, and a TorchScript archive, as CLIP's is:
its pickle has the modules with their tensors, and the code and the constants beside it are not looked at. What this library
writes has one member more, NAME/wvad.json with the metadata, which PyTorch does not look at.

The pickle is read by a machine that can build nothing but descriptions of tensors (unpickling); then the state dict is
found (state_dicts) and its tensors read, each storage once (storages).
"""
from __future__ import annotations

import io
import json
import pickle
import re
import struct
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ...errors import InputError, one_line
from ...files import written_whole
from ..contents import Contents, checked_size
from ..identification.state_dicts import state_dict
from ..unpickler import unpickling
from ..unpickler.storages import DTYPES, STORAGES, Refused, Region, Storages

NAME = "PyTorch"
SUFFIXES = (".pt", ".pth", ".pkl")
METADATA = "wvad.json"
ZIP = b"PK\3\4"
TAR = b"ustar"  # from byte 257
PICKLE = re.compile(rb"\x80[\x00-\x05]|\(dp|\(lp|\}q|[ci][A-Za-z_][\w.]*\n")  # by a protocol, or as old ones begin
SAFETENSORS = re.compile(rb".{4}\0{4}\{", re.DOTALL)  # a length below 4 GB, then JSON: also the start of some pickles
UNREAD = re.compile(r"^[^/]+/(code/|constants/|constants\.pkl$|extra/)")  # members of TorchScript archives
ALIGNMENT = 64  # of storages in the file, as PyTorch aligns them
GROWTH, ALLOWANCE = 4, 16 * 1024**2  # tensors may be so many times as large as the file, and so many bytes more

# what a file that is not whole, or was made to do harm, leads to in zipfile, pickletools, json, NumPy and the machine
DAMAGE = (ValueError, TypeError, LookupError, ArithmeticError, EOFError, OSError, RuntimeError, MemoryError, struct.error,
          zipfile.BadZipFile)


def recognises(path: Path) -> bool:
    """A pickle, or a zip archive that has a member NAME/data.pkl or begins as if it had."""
    try:
        with open(path, "rb") as file:
            head = file.read(512)
            if head[:4] != ZIP:
                return bool(PICKLE.match(head)) and not SAFETENSORS.match(head)
            if b"/data.pkl" in head[30:30 + int.from_bytes(head[26:28], "little")]:
                return True
            with zipfile.ZipFile(file) as archive:
                return any(name.endswith("/data.pkl") for name in archive.namelist())
    except DAMAGE:
        return False


def read(path: Path) -> Contents:
    """The tensors of the file's state dict (which of its dicts that is: state_dicts), in its dtypes.

    Tensors that share a storage share memory here too. Raises InputError for anything that is not right: a file that is
    not whole, a pickle that calls for anything but tensors and plain containers, sizes that the file does not have,
    tensors that are sparse, quantised or complex, no state dict or several.
    """
    size = checked_size(path)
    try:
        with open(path, "rb") as file:
            top, metadata = _top(file, size)
            return Contents(_arrays(top, GROWTH * size + ALLOWANCE), metadata)
    except Refused as error:
        raise InputError(f"{path}: {one_line(error)}") from None
    except DAMAGE as error:
        raise InputError(f"{path}: not a whole PyTorch file ({type(error).__name__}: {one_line(error)})") from error


def _top(file: BinaryIO, size: int) -> tuple[Any, dict[str, str]]:
    """The object in the file, and the metadata."""
    head = file.read(512)
    file.seek(0)
    if head[:4] == ZIP:
        return _zipped(file, size)
    if head[257:262] == TAR:
        raise Refused("in the tar format of PyTorch before 0.1.10, which is not read; save it again with a later one")
    if not PICKLE.match(head):
        raise Refused("not a PyTorch file, which is a zip archive or a pickle")
    return unpickling.load(file, size), {}


def _arrays(top: Any, most: int) -> dict[str, np.ndarray]:
    """The tensors of the state dict, read; refused where all of them together have more than `most` bytes."""
    tensors = state_dict(top)
    total = sum(tensor.nbytes for tensor in tensors.values())
    if total > most:
        raise Refused(f"its tensors have more than {most} bytes by their shapes, far more than the file has")
    arrays = {}
    for name, tensor in tensors.items():
        try:
            arrays[name] = tensor.array()
        except Refused as error:
            raise Refused(f"tensor {name} {error}") from error
    return arrays


def _zipped(file: BinaryIO, size: int) -> tuple[Any, dict[str, str]]:
    members = _members(file, size)
    pickles = [name for name in members if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        raise Refused(f"a zip archive with {len(pickles)} pickles NAME/data.pkl, expected one, as PyTorch writes")
    folder = pickles[0].removesuffix("data.pkl")

    def content(name: str, default: bytes) -> bytes:
        return members[folder + name].read(file, name).tobytes() if folder + name in members else default

    order = content("byteorder", b"little")
    if order not in (b"little", b"big"):
        raise Refused(f"of byte order {order[:20]!r}, expected little or big")
    data = f"{folder}data/"
    regions = {name.removeprefix(data): region for name, region in members.items() if name.startswith(data)}
    code = content("data.pkl", b"")
    top = unpickling.Unpickler(io.BytesIO(code), len(code), Storages(file, regions, order == b"big")).load()
    metadata = json.loads(content(METADATA, b"{}"))
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise Refused(f"{METADATA} in it is not an object of text")
    return top, metadata


def _members(file: BinaryIO, size: int) -> dict[str, Region]:
    """Where the members of the archive lie. Refused where one is compressed or encrypted, there twice, or leads elsewhere,
    and where they have more bytes than the file."""
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
    if (said := _said(file)) not in (None, len(entries)):
        raise Refused(f"an archive of {said} members, of which {len(entries)} are to be seen")
    if any(entry.filename.endswith("/constants.pkl") for entry in entries):
        entries = [entry for entry in entries if not UNREAD.search(entry.filename)]
    members: dict[str, Region] = {}
    for entry in entries:
        name = entry.filename
        if name.startswith("/") or ".." in name.split("/") or "\\" in name or ":" in name:
            raise Refused(f"a member of the archive has the path {ascii(name)}, which leads out of it")
        if name in members:
            raise Refused(f"member {ascii(name)} is twice in the archive")
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 or entry.compress_size != entry.file_size:
            raise Refused(f"member {ascii(name)} is compressed or encrypted, which PyTorch's are not")
        members[name] = _region(file, entry)
    if sum(region.size for region in members.values()) > size:
        raise Refused("the members of the archive have more bytes than the file")
    return members


def _said(file: BinaryIO) -> int | None:
    """How many members an archive says it has, at its end; None where that is not there, or is a longer number.

    Where the length of an entry is damaged, zipfile takes the next one for a part of it."""
    file.seek(-22, io.SEEK_END)
    signature, count = struct.unpack("<4s6xH10x", file.read(22))
    return count if signature == b"PK\5\6" and count != 0xFFFF else None


def _region(file: BinaryIO, entry: zipfile.ZipInfo) -> Region:
    """Where a member's bytes lie, which only the header in front of them tells."""
    file.seek(entry.header_offset)
    header = file.read(30)
    signature, name, extra = struct.unpack("<4s22xHH", header)
    if signature != ZIP or file.read(name) != entry.orig_filename.encode("utf-8" if entry.flag_bits & 0x800 else "cp437"):
        raise Refused(f"member {ascii(entry.filename)} is not where the archive says")
    # PyTorch writes 0 where it was told not to compute checksums
    return Region(entry.header_offset + 30 + name + extra, entry.file_size, entry.CRC or None)


def write(path: Path, contents: Contents) -> None:
    """A zip archive that torch.load(weights_only=True) opens as an OrderedDict; whole or not at all.

    The same contents give the same bytes. Raises InputError for a dtype that PyTorch's files have no storage for.
    """
    names = {DTYPES[dtype].dtype: name for name, dtype in STORAGES.items()
             if DTYPES[dtype].readable and name != "UntypedStorage"}
    lacking = sorted({str(tensor.dtype) for tensor in contents.tensors.values()} - {str(dtype) for dtype in names})
    if lacking:
        raise InputError(f"{path}: PyTorch has no storages of type {', '.join(lacking)}")
    # a tensor of rank 0 stays one
    arrays = {n: np.ascontiguousarray(a).reshape(np.shape(a)) for n, a in contents.tensors.items()}
    members = {"data.pkl": _pickled({name: (names[a.dtype], a.shape) for name, a in arrays.items()}), "byteorder": b"little"}
    members |= {f"data/{key}": a.reshape(-1).view(np.uint8) for key, a in enumerate(arrays.values())}
    members |= {"version": b"3\n", METADATA: json.dumps(contents.metadata, sort_keys=True).encode()}
    with written_whole(path) as temporary, open(temporary, "wb") as file, zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            entry = zipfile.ZipInfo(f"archive/{name}", (1980, 1, 1, 0, 0, 0))
            entry.create_system = 3  # whatever the system
            entry.extra = _padding(file.tell() + 30 + len(entry.filename))
            archive.writestr(entry, content)


def _padding(position: int) -> bytes:
    """The extra field that puts the bytes after it on a multiple of ALIGNMENT: an id, as PyTorch's, a length, filling."""
    filling = -(position + 4) % ALIGNMENT
    return b"FB" + struct.pack("<H", filling) + bytes(filling)


def _pickled(tensors: dict[str, tuple[str, tuple[int, ...]]]) -> bytes:
    """The pickle, protocol 2, of an OrderedDict {name: (storage class, shape)} of tensors that lie in storages 0, 1, ..."""
    def text(value: str) -> bytes:
        content = value.encode("utf-8", "surrogatepass")
        return pickle.BINUNICODE + struct.pack("<I", len(content)) + content

    def number(value: int) -> bytes:
        return pickle.LONG1 + b"\x08" + struct.pack("<q", value)

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(map(number, values)) + pickle.TUPLE

    empty = b"ccollections\nOrderedDict\n" + pickle.EMPTY_TUPLE + pickle.REDUCE
    code = [pickle.PROTO + b"\x02", empty, pickle.MARK]
    for key, (name, (storage, shape)) in enumerate(tensors.items()):
        strides = tuple(int(np.prod(shape[axis + 1:], dtype=np.int64)) for axis in range(len(shape)))
        count = int(np.prod(shape, dtype=np.int64))
        code += [text(name), b"ctorch._utils\n_rebuild_tensor_v2\n", pickle.MARK, pickle.MARK, text("storage"),
                 f"ctorch\n{storage}\n".encode(), text(str(key)), text("cpu"), number(count), pickle.TUPLE, pickle.BINPERSID,
                 number(0), numbers(shape), numbers(strides), pickle.NEWFALSE, empty, pickle.TUPLE, pickle.REDUCE]
    return b"".join([*code, pickle.SETITEMS, pickle.STOP])
