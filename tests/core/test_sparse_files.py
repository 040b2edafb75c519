"""Files that claim 200 GB, most of it a hole: one line, at once, in little memory."""
import json
import os
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

import wvad_core as wv
from test_pytorch_security import GOOD, zipped
from wvad_core.checkpoints import contents, formats
from wvad_core.checkpoints.formats.protobuf import opening
from wvad_core.checkpoints.unpickler import unpickling

SIZE = 200 * 10**9


def safetensors_header() -> bytes:
    """Of a file that would be whole."""
    text = json.dumps({"a": {"dtype": "U8", "shape": [SIZE - 1000], "data_offsets": [0, SIZE - 1000]}}).encode().ljust(992)
    return struct.pack("<Q", 992) + text


HEADS = {"nothing": b"", "safetensors": safetensors_header(), "a long header": struct.pack("<Q", SIZE - 8) + b"{",
         "a name": b"\x80\x02c", "a text": b"\x80\x04\x8d" + struct.pack("<Q", SIZE - 12),
         "bytes": b"\x80\x04\x8e" + struct.pack("<Q", SIZE - 12),
         "a dict": b"(dp0\nS'", "an archive": zipped(*GOOD), "arrays": zipped(("a.npy", b"")),
         "a message": opening(1, SIZE - 20) + opening(1, SIZE - 30)}
SUFFIXES = (".safetensors", ".pt", ".pkl", ".ckpt", ".npz", ".onnx")


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_sparse_files(tmp_path, head):
    for suffix in SUFFIXES:
        path = tmp_path / f"x{suffix}"
        path.write_bytes(head)
        os.truncate(path, SIZE)
        for read in (wv.load, formats.read, *(kind.read for kind in formats.readable())):
            tracemalloc.start()
            try:
                with pytest.raises(wv.InputError) as raised:
                    read(path)
                assert tracemalloc.get_traced_memory()[1] < 1e6
            finally:
                tracemalloc.stop()
            assert str(raised.value) == f"{path}: has {SIZE} bytes, expected a checkpoint of at most {contents.LARGEST}"


def test_the_end_of_an_archive_in_a_sparse_file(tmp_path):
    """Its list of members is said to be almost as long as the file."""
    with open(tmp_path / "x.pt", "wb") as file:
        file.write(b"PK\3\4")
        file.seek(SIZE)
        file.write(b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 1, 1, SIZE - 200, 100))
        file.write(b"PK\6\7" + struct.pack("<IQI", 0, SIZE, 1))
        file.write(b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, 2**32 - 1, 2**32 - 1, 0))
    with pytest.raises(wv.InputError, match="x.pt: has .* bytes, expected a checkpoint of at most"):
        formats.read(tmp_path / "x.pt")


def test_the_largest_file(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    wv.create("saa", feature_dim=8).save(path)
    size = path.stat().st_size
    monkeypatch.setattr(contents, "LARGEST", size)
    assert wv.load(path).method == "saa"
    monkeypatch.setattr(contents, "LARGEST", size - 1)
    with pytest.raises(wv.InputError, match=f"x.safetensors: has {size} bytes, expected a checkpoint of at most {size - 1}$"):
        wv.load(path)


def test_arrays_that_unpack_to_more_than_the_archive_says(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", w=np.zeros(2 * 10**7))
    with zipfile.ZipFile(tmp_path / "x.npz") as archive:
        (entry,) = archive.infolist()
    content = (tmp_path / "x.npz").read_bytes()
    (tmp_path / "x.npz").write_bytes(content.replace(struct.pack("<I", entry.file_size), struct.pack("<I", 1000)))
    tracemalloc.start()
    with pytest.raises(wv.InputError, match="x.npz: not a whole NumPy archive"):
        formats.read(tmp_path / "x.npz")
    assert tracemalloc.get_traced_memory()[1] < 2e7
    tracemalloc.stop()


@pytest.mark.parametrize("piece", [b"X" + struct.pack("<I", 2**31 - 1), b"V" + b"x" * 900_000 + b"\n",
                                   b"B" + struct.pack("<I", 900_000) + bytes(900_000)], ids=["a text", "lines", "pieces"])
def test_the_texts_of_a_pickle_are_bounded_together(tmp_path, monkeypatch, piece):
    """In a file whose size alone is one that a checkpoint may have."""
    monkeypatch.setattr(unpickling, "CONTENT", 2 * 2**20)
    (tmp_path / "x.pkl").write_bytes(b"\x80\x03" + (piece + b"0") * 4)
    os.truncate(tmp_path / "x.pkl", 3 * 10**9)
    tracemalloc.start()
    try:
        with pytest.raises(wv.InputError, match="x.pkl: its pickle has more than 2097152 bytes of texts and arrays"):
            formats.read(tmp_path / "x.pkl")
        assert tracemalloc.get_traced_memory()[1] < 6e6
    finally:
        tracemalloc.stop()
