"""MATLAB's .mat files, as SciPy writes them and as nobody should: read without SciPy's reader."""
import struct

import numpy as np
import pytest
from scipy.io import savemat

import wvad_core as wv
from wvad_core.checkpoints import formats
from wvad_core.checkpoints.formats import matlab


def cell(*arrays):
    found = np.empty((1, len(arrays)), object)
    for number, array in enumerate(arrays):
        found[0, number] = array
    return found


@pytest.fixture(params=[False, True], ids=["plain", "compressed"])
def saved(request, tmp_path):
    """saved(variables): the file that SciPy writes of them."""
    def write(variables: dict):
        savemat(tmp_path / "x.mat", variables, do_compression=request.param)
        return tmp_path / "x.mat"

    return write


def test_arrays_and_cells(saved):
    rng = np.random.default_rng(0)
    given = {"double": rng.standard_normal((3, 5)), "single": rng.standard_normal((2, 3, 4)).astype(np.float32),
             "whole": np.array([[1, -2, 300]], np.int64), "empty": np.zeros((0, 0)), "byte": np.array([[7]], np.uint8),
             "pair": cell(rng.standard_normal((4, 2)), np.arange(3.0)[None])}
    kind, contents = formats.read(saved(given))
    pair = given.pop("pair")
    given |= {"pair.0": pair[0, 0], "pair.1": pair[0, 1]}
    assert kind is matlab and contents.tensors.keys() == given.keys() and not contents.metadata
    for name, value in given.items():
        assert contents.tensors[name].dtype == value.dtype and np.array_equal(contents.tensors[name], value)


def test_the_other_byte_order(tmp_path):
    def element(kind, data):
        return struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)

    body = (element(6, struct.pack(">II", 6, 0)) + element(5, struct.pack(">ii", 1, 2)) + element(1, b"a")
            + element(9, struct.pack(">dd", 0.5, -3)))
    (tmp_path / "x.mat").write_bytes(b"MATLAB 5.0 MAT-file".ljust(124) + b"\1\0MI" + element(14, body))
    assert formats.read(tmp_path / "x.mat")[1].tensors["a"].tolist() == [[0.5, -3.0]]


@pytest.mark.parametrize("value", ["text", {"a": 1.0}, np.array([[1j]]), cell(cell("text"))])
def test_what_is_no_number_is_refused(saved, value):
    with pytest.raises(wv.InputError, match=r"x.mat: not a whole MATLAB file of numbers \(variable .* expected real numbers"):
        formats.read(saved({"x": value}))


def test_damage_ends_in_one_line(saved, tmp_path):
    """Cut anywhere, and with any byte changed: read, or refused in a line that names the file."""
    rng, refused = np.random.default_rng(0), 0
    whole = saved({"0": cell(rng.standard_normal((4, 3)), np.zeros((1, 3))), "1": np.zeros((0, 0))}).read_bytes()
    flips = [(place, bit) for place in range(128, len(whole)) for bit in (1, 128)]
    for changed in [whole[:end] for end in range(128, len(whole), 5)] + [
            whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1:] for place, bit in flips]:
        (tmp_path / "x.mat").write_bytes(changed)
        try:
            matlab.read(tmp_path / "x.mat")
        except wv.InputError as error:
            refused += 1
            assert str(error).startswith(f"{tmp_path / 'x.mat'}: not a whole MATLAB file") and "\n" not in str(error)
    assert refused > 20


def test_what_unpacks_to_far_more_is_refused(tmp_path):
    savemat(tmp_path / "x.mat", {"x": np.zeros((3000, 1000))}, do_compression=True)
    with pytest.raises(wv.InputError, match="far more bytes than the file"):
        formats.read(tmp_path / "x.mat")


@pytest.mark.parametrize("sizes", [(2**31 - 1, 2**31 - 1), (-1, 2), (3,)])
def test_sizes_that_are_not_there(tmp_path, sizes):
    savemat(tmp_path / "x.mat", {"x": cell(np.zeros((2, 2)), np.zeros((2, 2)))})
    content = bytearray((tmp_path / "x.mat").read_bytes())
    place = 128 + 8 + 16  # of the sizes of the first variable
    assert struct.unpack_from("<IIii", content, place) == (5, 8, 1, 2)
    struct.pack_into(f"<II{len(sizes)}i", content, place, 5, 4 * len(sizes), *sizes)
    (tmp_path / "x.mat").write_bytes(content)
    with pytest.raises(wv.InputError, match="not a whole MATLAB file"):
        formats.read(tmp_path / "x.mat")
