"""NumPy's archives read and written; NumPy itself says what is right."""
import pickle
import zipfile

import numpy as np
import pytest

import wvad_core as wv
from test_pytorch_files import DTYPES, same
from wvad_core.checkpoints import formats
from wvad_core.checkpoints.formats import npz

VALUES = np.random.default_rng(0).normal(size=(3, 4)) * 9
ARRAYS = {f"a/b.{np.dtype(t).name}": VALUES.astype(t) for t in DTYPES if np.dtype(t).kind != "V"}
ARRAYS |= {"scalar": np.array(3.5, np.float32), "empty": np.zeros((0, 3), np.float32), "ünï": np.ones(2)}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_writes(tmp_path, save):
    save(tmp_path / "x.npz", **ARRAYS)
    kind, found = formats.read(tmp_path / "x.npz")
    assert kind is npz and not found.metadata
    same(found.tensors, ARRAYS)


def test_orders_of_axes_and_bytes(tmp_path):
    np.savez(tmp_path / "x.npz", fortran=np.asfortranarray(VALUES), big=VALUES.astype(">f4"))
    same(npz.read(tmp_path / "x.npz").tensors, {"fortran": VALUES, "big": VALUES.astype(np.float32)})


def member(shape=(4,), descr="<f4", content=bytes(16), version=b"\1\0"):
    header = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    return b"\x93NUMPY" + version + len(header).to_bytes(2 if version < b"\2" else 4, "little") + header + content


class Mark:
    """Makes a file where it is unpickled."""
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


BAD = {"another length": ({"w.npy": member((5,))}, "16 bytes, expected float32 (5,)"),
       "a shape that is not there": ({"w.npy": member((10**15,))}, "16 bytes, expected"),
       "a negative shape": ({"w.npy": member((-4,))}, "16 bytes, expected"),
       "two negative axes": ({"w.npy": member((-2, -2))}, "16 bytes, expected"),
       "text": ({"w.npy": member(descr="<U4")}, "of type <U4, expected numbers"),
       "a later version": ({"w.npy": member(version=b"\3\0")}, "version (3, 0)"),
       "no array": ({"w.npy": member(), "x.txt": b"hello"}, "member 'x.txt' is no array"),
       "an empty member": ({"w.npy": b""}, "not a whole"),
       "code in a header": ({"w.npy": b"\x93NUMPY\1\0\x10\0__import__('os')"}, "not a whole")}


@pytest.mark.parametrize("members, message", BAD.values(), ids=BAD)
def test_damage_is_told_in_one_line(tmp_path, members, message):
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(wv.InputError) as error:
        formats.read(path)
    assert str(error.value).startswith(f"{path}: ") and message in str(error.value) and "\n" not in str(error.value)


def test_objects_are_not_unpickled(tmp_path):
    np.savez(tmp_path / "x.npz", w=np.array([Mark(tmp_path / "mark")], object))
    with pytest.raises(wv.InputError, match="of type object, expected numbers"):
        npz.read(tmp_path / "x.npz")
    assert not (tmp_path / "mark").exists()
    pickle.loads(pickle.dumps(Mark(tmp_path / "mark")))
    assert (tmp_path / "mark").exists()


def test_a_bomb(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", w=np.zeros(10**7))
    with pytest.raises(wv.InputError, match="far more than the file"):
        npz.read(tmp_path / "x.npz")


def test_every_cut(tmp_path):
    np.savez(tmp_path / "x.npz", w=np.ones(3), v=np.ones(2))
    content = (tmp_path / "x.npz").read_bytes()
    for length in range(40, len(content), 7):
        (tmp_path / "cut.npz").write_bytes(content[:length])
        with pytest.raises(wv.InputError, match="not a whole NumPy archive"):
            formats.read(tmp_path / "cut.npz")
