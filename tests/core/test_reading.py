"""The features of one video, whichever way its file has the axes."""
import numpy as np
import pytest

from wvad_core.data import read_features
from wvad_core.errors import InputError

DIM = 6


def values(crops: int, steps: int) -> np.ndarray:
    return np.random.default_rng([crops, steps]).random((crops, steps, DIM), np.float32)


@pytest.mark.parametrize("crops", [10, 5, 1, 16, 31, 59])
@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 0, 2)])
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_a_file_of_three_axes(tmp_path, crops, axes, kind):
    expected = values(crops, 23).astype(kind)
    np.save(tmp_path / "a.npy", expected.transpose(axes))
    found = read_features(tmp_path / "a.npy")
    assert found.dtype == np.float32 and found.flags.c_contiguous
    assert np.array_equal(found, expected.astype(np.float32))
    assert np.array_equal(read_features(str(tmp_path / "a.npy"), crops), expected.astype(np.float32))


@pytest.mark.parametrize("stored, shape", [((10, 10), (10, 10)), ((5, 10), (10, 5)), ((10, 5), (10, 5)), ((16, 10), (10, 16)),
                                           ((5, 59), (5, 59)), ((1, 5), (5, 1))])
def test_axes_that_both_have_a_size_of_crops(tmp_path, stored, shape):
    array = np.random.default_rng(0).random((*stored, DIM), np.float32)
    np.save(tmp_path / "a.npy", array)
    found = read_features(tmp_path / "a.npy")
    assert found.shape == (*shape, DIM)
    first = stored[0] == shape[0] and stored != (10, 10)  # two of 10 are (T, N, D), as in a folder
    assert np.array_equal(found, array if first else array.transpose(1, 0, 2))


def test_other_numbers_of_crops_are_named(tmp_path):
    expected = values(20, 33)
    for axes in ((0, 1, 2), (1, 0, 2)):
        np.save(tmp_path / "a.npy", expected.transpose(axes))
        with pytest.raises(InputError, match=r"a.npy has shape .*, neither of whose first two axes .*crops=N names it"):
            read_features(tmp_path / "a.npy")
        assert np.array_equal(read_features(tmp_path / "a.npy", crops=20), expected)
        with pytest.raises(InputError, match="expected 8 crops"):
            read_features(tmp_path / "a.npy", crops=8)


@pytest.mark.parametrize("between", ["_", "__"])
@pytest.mark.parametrize("named", ["x_1", "x_1.npy"])
def test_a_file_for_each_crop(tmp_path, between, named):
    expected = values(5, 9)
    for crop, one in enumerate(expected):
        np.save(tmp_path / f"x_1{between}{crop}.npy", one)
    np.save(tmp_path / f"x_12{between}0.npy", expected[0])  # another video's
    assert np.array_equal(read_features(tmp_path / named), expected)
    assert np.array_equal(read_features(tmp_path / f"x_1{between}3.npy"), expected[3:4])
    with pytest.raises(InputError, match="x_1.*: 5 crops, expected 10"):
        read_features(tmp_path / named, crops=10)
    (tmp_path / f"x_1{between}2.npy").unlink()
    with pytest.raises(InputError, match="no file of crop 2, expected crops 0 to 4"):
        read_features(tmp_path / named)


def test_what_cannot_be_read(tmp_path):
    np.save(tmp_path / "text.npy", np.full((3, 4), "x"))
    np.save(tmp_path / "nan.npy", np.full((10, 3, 4), np.nan, np.float32))
    np.save(tmp_path / "one.npy", np.zeros(4, np.float32))
    (tmp_path / "none.npy").write_bytes(b"")
    for name, message in (("text", "text.npy holds <U1, expected float32"), ("nan", r"nan.npy has nan in snippet 0 \(crop 0\)"),
                          ("one", r"one.npy has shape \(4,\), expected \(T, D\)"), ("none", r"none.npy is empty"),
                          ("missing", r"missing.npy: no such file, nor missing__0.npy"),
                          ("folder/a", r"a.npy: no such file, nor a__0.npy")):
        with pytest.raises(InputError, match=message) as raised:
            read_features(tmp_path / f"{name}.npy")
        assert "\n" not in str(raised.value) and str(tmp_path) in str(raised.value)
