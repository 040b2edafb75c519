"""Weights that are no finite numbers are refused when they become a model's, in one line, whatever computes then."""
import tracemalloc

import numpy as np
import pytest
from ml_dtypes import bfloat16

import wvad_core as wv
from wvad_core.checkpoints.contents import Contents, describe
from wvad_core.checkpoints.formats import safetensors
from wvad_core.checkpoints.identification import naming
from wvad_core.checkpoints.identification.naming import first_not_finite
from wvad_core.checkpoints.identification.recognition import identify
from wvad_core.cli import convert, inspect
from wvad_core.training.initial import initial_weights

CONFIG = {"feature_dim": 16, "attention_dim": 4, "hidden_dims": (4, 2)}
NAME = "attention.conv1.weight"
LARGEST = float(np.finfo(np.float32).max)


def with_value(value: float, dtype: type = np.float32) -> dict:
    """The tensors of a network, one number of which is this."""
    tensors = wv.create("saa", seed=1, **CONFIG).weights()
    tensors[NAME] = tensors[NAME].astype(dtype)
    tensors[NAME][2, 5, 1] = value
    return tensors


def contents(tensors: dict, is_described: bool) -> Contents:
    return describe(tensors, "saa", CONFIG) if is_described else Contents(tensors, {})


BAD = [(np.nan, np.float32), (np.inf, np.float32), (-np.inf, np.float16), (np.nan, bfloat16), (1e39, np.float64),
       (-1e300, np.float64)]


@pytest.mark.parametrize("is_described", [True, False])
@pytest.mark.parametrize("value, dtype", BAD)
def test_refused_on_every_way_in(tmp_path, value, dtype, is_described, backend, capsys):
    tensors, path = with_value(value, dtype), tmp_path / "x.safetensors"
    shown = tensors[NAME][2, 5, 1]
    safetensors.write(path, contents(tensors, is_described))
    message = f"{path}: tensor {NAME} has {shown} at [2, 5, 1], expected numbers that are finite in float32"
    ways = [lambda: wv.load(path, backend=backend)]
    if backend == "numpy":
        config = wv.create("saa", **CONFIG).config
        ways += [lambda: inspect.check(path, None, {}), lambda: initial_weights(path, "saa", config, 0),
                 lambda: convert.convert(path, tmp_path / "y.pt", None, {})]
    for way in ways:
        with pytest.raises(wv.InputError) as raised:
            way()
        assert str(raised.value) == message
    assert not (tmp_path / "y.pt").exists()


@pytest.mark.parametrize("value, dtype", BAD)
def test_refused_in_the_tensors_of_a_published_checkpoint(value, dtype):
    tensors = with_value(value, dtype)
    state = {theirs: tensors[ours] for theirs, ours in wv.published_names("saa", **CONFIG).items()}
    with pytest.raises(wv.InputError, match=rf"^published saa checkpoint: tensor {NAME} has \S+ at \[2, 5, 1\], expected"):
        wv.from_published("saa", state, **CONFIG)


@pytest.mark.parametrize("value", [-0.0, 1e-45, -1e-40, LARGEST, -LARGEST])
def test_all_that_is_finite_stays(tmp_path, value):
    tensors = with_value(value)
    for dtype in (np.float32, np.float64):
        safetensors.write(tmp_path / "x.safetensors", contents({n: v.astype(dtype) if v.dtype == np.float32 else v
                                                                for n, v in tensors.items()}, True))
        loaded = wv.load(tmp_path / "x.safetensors").weights()
        assert all(loaded[name].tobytes() == expected.tobytes() for name, expected in tensors.items())


def test_tensors_that_the_network_does_not_use_may_be_anything():
    config = {"variant": "mean", "feature_dim": 8}
    weights = wv.create("ar-net", **config).weights()
    state = {theirs: weights[ours] for theirs, ours in wv.published_names("ar-net", **config).items()}
    result = identify(Contents(state | {"conv_b1.bias": np.full(3, np.nan, np.float32)}, {}), "x.pt")
    assert result.dropped == ("conv_b1.bias",) and all(np.isfinite(value).all() for value in result.weights.values())


def test_a_companion(tmp_path):
    """What a published checkpoint lacks and has in a file of its own is its tensor too."""
    made = wv.create("ar-net", feature_dim=8)
    weights, names = made.weights(), wv.published_names("ar-net", feature_dim=8)
    last = next(theirs for theirs, ours in names.items() if ours.endswith("weight"))
    path = tmp_path / "x.safetensors"
    safetensors.write(path, Contents({theirs: weights[ours] for theirs, ours in names.items() if theirs != last}, {}))
    whole = weights[names[last]].astype(np.float64)
    assert np.array_equal(wv.load(path, companions={last: whole}).weights()[names[last]], weights[names[last]])
    whole.flat[3] = 1e39
    np.save(tmp_path / "a.npy", whole)
    with pytest.raises(wv.InputError, match=rf"x.safetensors: tensor {names[last]} has 1e\+39 at \[0, 3.*\], expected numbers"):
        wv.load(path, companions={last: whole})
    with pytest.raises(wv.InputError, match=rf"companion {last}: .*a.npy: has 1e\+39 at \[0, 3.*\], expected finite numbers"):
        wv.load(path, companions={last: tmp_path / "a.npy"})


@pytest.mark.parametrize("shape", [(), (1,), (7,), (40,), (5, 4, 3), (0, 3)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, bfloat16])
def test_where_the_first_one_is(shape, dtype, monkeypatch):
    """As NumPy finds it, whatever the memory looks like and wherever a block ends."""
    monkeypatch.setattr(naming, "BLOCK", 8)
    values = np.ones(shape, dtype)
    assert first_not_finite(values, np.float32) is None
    for at in range(values.size):
        values = np.ones(shape, dtype)
        values.flat[at::9] = np.nan if at % 2 else -np.inf
        for laid in (values, np.asfortranarray(values), np.repeat(values[None], 2, 0)[0]):
            with np.errstate(invalid="ignore"):
                assert first_not_finite(laid, np.float32) == tuple(np.argwhere(~np.isfinite(laid.astype(np.float64)))[0])


def test_where_in_what_is_broadcast():
    row = np.ones((1, 3, 1), np.float32)
    assert first_not_finite(np.broadcast_to(row, (10**6, 3, 10**6)), np.float32) is None
    row[0, 2, 0] = np.nan
    assert first_not_finite(np.broadcast_to(row, (10**6, 3, 10**6)), np.float32) == (0, 2, 0)


def test_looking_takes_no_memory():
    values = np.ones(2**22)
    tracemalloc.start()
    assert first_not_finite(values, np.float32) is None
    assert tracemalloc.get_traced_memory()[1] < values.nbytes / 8
    tracemalloc.stop()
