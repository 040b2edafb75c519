"""The reading of .npy files: what NumPy writes, and what is made to do harm."""
import os
import socket
import struct
from pathlib import Path

import numpy as np
import pytest

from wvad_core.data import npy
from wvad_core.data.npy import read_array
from wvad_core.data.video_features import header
from wvad_core.errors import InputError

VALUES = np.random.default_rng(0).random((4, 3, 2))


def file(header: str | bytes, version: int = 1, length: int | None = None, values: bytes = b"") -> bytes:
    """A .npy file with such a header."""
    text = header if isinstance(header, bytes) else header.encode("latin-1")
    size = struct.pack("<H" if version == 1 else "<I", len(text) if length is None else length)
    return b"\x93NUMPY" + bytes([version, 0]) + size + text + values


def described(shape: str = "(2, 3)", descr: str = "'<f4'", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f2", "<f8", "<i8", "|u1", "|b1", "<U3", "<c16", "<M8[s]", "|S2"])
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_what_numpy_writes_is_read_as_by_numpy(tmp_path, order, dtype, version):
    for values in (VALUES, VALUES[0, 0, 0], VALUES[:, 0, 0], VALUES[:0], VALUES[:, :, :1]):
        written = np.array((9 * values).astype(int) if dtype[1] in "MUS" else 9 * values, order=order).astype(dtype)
        with open(tmp_path / "a.npy", "wb") as opened:
            np.lib.format.write_array(opened, written, version)
        found = read_array(tmp_path / "a.npy", "a")
        assert found.dtype == written.dtype and found.shape == written.shape and np.array_equal(found, written)


def test_a_float32_array_is_filled_with_values_of_every_type_and_order(tmp_path, monkeypatch):
    monkeypatch.setattr(npy, "BLOCK", 100)  # some rows at a time
    for dtype in ("<f4", ">f4", "<f2", "<f8"):
        for order in "CF":
            np.save(tmp_path / "a.npy", np.array(VALUES.astype(dtype), order=order))
            target = np.full((3, 4, 2), np.nan, np.float32).swapaxes(0, 1)
            with npy.opened(tmp_path / "a.npy") as opened:
                npy.read_into(target, opened, npy.read_header(opened))
            assert np.array_equal(target, VALUES.astype(dtype).astype(np.float32))


def test_no_array_is_broadcast(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((1, 3, 2), np.float32))
    with npy.opened(tmp_path / "a.npy") as opened, pytest.raises(ValueError, match="shape"):
        npy.read_into(np.empty((4, 3, 2), np.float32), opened, npy.read_header(opened))


NONE = "is not a .npy file"
HOSTILE = {
    "a length of 4 GB": (file(b"", 2, 0xffffffff), NONE),
    "a length beyond the file": (file(described(), 1, 9000), NONE),
    "nested": (file("(" * 9000), NONE), "nested deeper": (file("(" * 100_000, 2), NONE),
    "a nested shape": (file(described("(" * 4000 + ")" * 4000)), NONE),
    "a list of records": (file(described(descr="[" * 4000)), "holds records, expected float32"),
    "an expression": (file(described("(2**40,)")), NONE), "a call": (file(described("(exit(),)")), NONE),
    "negative": (file(described("(-1,)")), NONE), "two negative": (file(described("(-1, -4)")), NONE),
    "2**40 values": (file(described("(1099511627776,)")), "has shape (1099511627776,), expected (T, D)"),
    "2**40 rows": (file(described("(1099511627776, 4)")), f"is cut short: {127 - 51} bytes, expected"),
    "no rows of 2**62": (file(described("(0, 4611686018427387904)")), "has shape (0, 4611686018427387904), expected"),
    "a number of 5000 digits": (file(described(f"({'1' * 5000}, 2)")), NONE),
    "a number of 20 digits": (file(described(f"({'1' * 20}, 2)")), NONE),
    "4000 axes": (file(described(f"({'1,' * 4000})")), NONE),
    "two numbers as one": (file(described("(1 2, 3)")), NONE), "no number": (file(described("(1, , 3)")), NONE),
    "no tuple": (file(described("'(2, 3)'")), NONE), "no order": (file(described(order="'True'")), NONE),
    "digits of another script": (file(described("(\u0662, \u0663)").encode(), 3), NONE),
    "no ASCII": (file(described().replace("descr", "d\xe9scr")), NONE),
    "blanks of another script": (file(described().replace(", }", ",\xa0}")), NONE),
    "a vertical tab": (file(described().replace(", }", ",\x0b}")), NONE),
    "a key twice": (file("{'shape': (2, 3), 'shape': (2, 3), 'shape': (2, 3)}"), NONE),
    "a key more": (file(described().replace("}", "'a': True}")), NONE), "a key less": (file("{'shape': (2, 3)}"), NONE),
    "words behind": (file(described() + "'a'"), NONE),
    "objects": (file(described(descr="'|O'"), values=bytes(48)), "holds pickled Python objects, which are never loaded"),
    "records": (file(described(descr="[('a', '<f4'), ('b', '|O')]")), "holds records, expected float32"),
    "void": (file(described(descr="'|V4'")), "holds records, expected float32"), "no dtype": (file(described(descr="'<f3'")), NONE),
    "a dtype of 2 GB": (file(described(descr="'<U999999999'")), NONE), "another dtype": (file(described(descr="'x9'")), NONE),
    "integers": (file(described(descr="'<i4'")), "holds int32, expected float32"),
    "a version to come": (file(described(), 4), NONE), "a minor version": (b"\x93NUMPY\x01\x01" + file(described())[8:], NONE),
    "magic alone": (b"\x93NUMPY", NONE), "nothing": (b"", "is empty (0 bytes)"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_header_that_is_made_to_do_harm(tmp_path, name):
    content, expected = HOSTILE[name]
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    if name == "a length of 4 GB":
        os.truncate(path, 1 << 33)  # no disk space is taken
    if name.startswith("2**40 rows"):
        expected = f"is cut short: {len(content)} bytes, expected {len(content) + 2 ** 44}"
    found = header(path)
    assert isinstance(found, str) and found.startswith(expected) and "\n" not in found and len(found) < 300
    with pytest.raises(InputError, match="^ground truth: not a .npy file of numbers$"):
        read_array(path, "ground truth")


def test_a_file_of_many_gigabytes(tmp_path):
    path = tmp_path / "a.npy"
    path.write_bytes(file(described("(1000000000, 50)")))
    os.truncate(path, 210 * 10 ** 9)
    assert header(path) == "has shape (1000000000, 50), 200.0 GB, expected a video of 17.2 GB at most"
    with pytest.raises(InputError, match="^texts: 200.0 GB, expected at most 17.2 GB$"):
        read_array(path, "texts")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    here = os.open(".", os.O_RDONLY)
    os.chdir(path.parent)  # names of sockets are short
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.fchdir(here)
        os.close(here)


SPECIAL = {"a pipe, expected a file": pipe, "a socket, expected a file": unix_socket,
           "a device, expected a file": lambda path: path.symlink_to("/dev/zero"), "Is a directory": Path.mkdir}


@pytest.mark.parametrize("kind", SPECIAL)
def test_what_is_no_file_is_not_read(tmp_path, kind):
    path = tmp_path / "a.npy"
    SPECIAL[kind](path)
    assert header(path) == f"cannot be read ({kind})"
    with pytest.raises(InputError, match=rf"^texts: cannot be read \({kind}\)$"):
        read_array(path, "texts")


def test_what_becomes_a_pipe_between_two_looks(tmp_path, monkeypatch):
    """Opening does not wait for somebody who writes."""
    path = tmp_path / "a.npy"
    np.save(path, VALUES)
    before = path.stat()
    path.unlink()
    os.mkfifo(path)
    monkeypatch.setattr(os, "stat", lambda *_, **__: before)
    with pytest.raises(OSError, match="a pipe, expected a file"):
        npy.opened(path)


def test_mutated_headers_give_what_numpy_gives_or_a_flaw(tmp_path):
    """Whatever is taken is what NumPy takes, in NumPy's shape."""
    rng, path, taken = np.random.default_rng(0), tmp_path / "a.npy", 0
    whole = bytearray(file(described("(2, 3)"), values=bytes(24)))
    for _ in range(800):
        content = bytearray(whole)
        for place in rng.integers(6, len(whole) - 24, rng.integers(1, 3)):
            content[place] = rng.choice([*b"\x00\x01 \x80\xff'\"(),:[]{}0123456789LTrueFalsf<>|", content[place]])
        path.write_bytes(content)
        if not isinstance(found := header(path), str):
            taken += 1
            assert np.load(path).shape == found
    assert taken > 5
