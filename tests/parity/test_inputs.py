"""What `score`, `losses` and `evaluate` take and what they refuse, on every backend alike."""
import dataclasses
import warnings

import devices
import numpy as np
import pytest
from ml_dtypes import bfloat16

import wvad_core as wv
from wvad_core.data import TrainingSet
from wvad_core.training.loop import train
from wvad_core.training.recipe import Recipe

SAA = {"feature_dim": 16, "attention_dim": 4, "hidden_dims": (4, 2)}
SSRL = {"feature_dim": 16, "hidden_dims": (8, 6)}
PATCHES = {1: 0, 2: 6, 3: 21, 4: 49}
"""Of a stage: 2 x 3, then 3 x 5, then 4 x 7."""


def message(function, *arguments) -> str:
    with pytest.raises(wv.InputError) as raised:
        function(*arguments)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def whole_numbers(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape)).reshape(shape) * 7 % 5


@pytest.mark.parametrize("given", [np.int64, np.int8, np.uint8, np.float16, np.float32, bfloat16, list, tuple, "float list"])
def test_numbers_of_every_type_give_the_same_float32_scores(given, backend):
    made, values = wv.create("saa", backend, devices.of(backend), **SAA), whole_numbers(2, 6, 16)
    expected = made.score(values.astype(np.float32))
    features = {list: values.tolist(), tuple: tuple(values.tolist()),
                "float list": values.astype(float).tolist()}[given] if not isinstance(given, type) or given in (
        list, tuple) else values.astype(given)
    scores = made.score(features)
    assert scores.dtype == np.float32 and np.array_equal(scores, expected)


FORMS = {"Fortran order": np.asfortranarray, "negative strides": lambda a: a[::-1, ::-1, ::-1].copy()[::-1, ::-1, ::-1],
         "big-endian": lambda a: a.astype(">f4"), "big-endian integers": lambda a: a.astype(">i2"),
         "read-only": lambda a: np.frombuffer(a.tobytes(), np.float32).reshape(a.shape), "longdouble": lambda a: a.astype(np.longdouble),
         "nothing masked": np.ma.array, "every second": lambda a: np.repeat(a, 2, -1)[..., ::2]}


@pytest.mark.parametrize("form", FORMS)
def test_arrays_of_every_form_are_taken(form, backend):
    made, values = wv.create("saa", backend, devices.of(backend), **SAA), whole_numbers(2, 6, 16).astype(np.float32)
    given = FORMS[form](values)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(made.score(given), made.score(values))
    assert np.array_equal(given, values)
    if form not in ("big-endian integers", "nothing masked", "longdouble"):
        batch, plain = (wv.Batch(features.astype(given.dtype.newbyteorder("=")), np.array([0, 1])) for features in (given, values))
        assert made.losses(batch, True) == pytest.approx(made.losses(plain, True), rel=1e-6)


def of_torch(values: np.ndarray) -> dict:
    """{what the message says: a tensor}; of those that are taken, {"": all of them}."""
    import torch

    tensor = torch.from_numpy(values)
    return {"": [tensor, tensor.half(), tensor.double(), tensor.int(), list(tensor), tensor.transpose(1, 2).contiguous().transpose(1, 2)],
            "Can't call numpy() on Tensor that requires grad": tensor.clone().requires_grad_(), "features are of type complex64": tensor + 0j,
            "unsupported ScalarType BFloat16": tensor.bfloat16(), "features are of type bool": tensor > 1, "meta": tensor.to("meta"),
            "Sparse": tensor.to_sparse()}


@pytest.mark.needs("torch")
def test_tensors_of_pytorch(backend):
    made, values = wv.create("saa", backend, devices.of(backend), **SAA), whole_numbers(2, 6, 16).astype(np.float32)
    given, expected = of_torch(values), made.score(values)
    assert all(np.allclose(made.score(tensor), expected, rtol=1e-6) for tensor in given.pop(""))
    for said, tensor in given.items():
        assert said in message(made.score, tensor)


@pytest.mark.needs("mindspore")
def test_tensors_of_mindspore(backend):
    import mindspore as ms

    made, values = wv.create("saa", backend, devices.of(backend), **SAA), whole_numbers(2, 6, 16).astype(np.float32)
    expected = made.score(values)
    for dtype in (ms.float32, ms.float16, ms.bfloat16, ms.int32):
        assert np.array_equal(made.score(ms.Tensor(values).astype(dtype)), expected)
    assert np.array_equal(made.score(ms.Parameter(ms.Tensor(values))), expected)
    assert message(made.score, ms.Tensor(values) > 1).startswith("features are of type bool")


def test_an_array_of_float64_is_scored_in_the_type_of_the_backend():
    values = whole_numbers(2, 6, 16).astype(np.float64)
    assert wv.create("saa", **SAA).score(values).dtype == np.float64


@pytest.mark.parametrize("value, shown", [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf"), (1e39, "1e\\+39")])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_features_that_are_not_finite(value, shown, kind, backend):
    made, features = wv.create("saa", backend, devices.of(backend), **SAA), np.ones((3, 8, 16), kind)
    with np.errstate(over="ignore"):
        features[2, 5, 7] = features[0, 6, 0] = value
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = message(made.score, features)
    assert found in (f"features have {s} in snippet 5 (crop 2), expected finite numbers" for s in
                     (str(features[2, 5, 7]), f"{features[2, 5, 7]}"))


def test_finite_features_whose_sum_is_not(backend):
    made = wv.create("saa", backend, devices.of(backend), **SAA)
    features = np.zeros((1, 4, 16), np.float32)
    features[0, 0, :2] = 3e38
    assert len(made.score(features)) == 4


@pytest.mark.parametrize("features, expected", [
    (np.full((4, 16), "x"), "features are of type <U1, expected real numbers"),
    (np.zeros((4, 16), complex), "features are of type complex128"),
    (np.zeros((4, 16), "datetime64[s]"), "features are of type datetime64"),
    (np.zeros((4, 16), object), "features are of type object"),
    (np.zeros((4, 16), bool), "features are of type bool"),
    (np.ma.masked_equal(np.arange(64).reshape(4, 16), 3), "features are masked in 1 of 64 numbers"),
    (np.zeros((4, 16), [("a", float)]), "features are of type"),
    ([[1.0, 2.0], [3.0]], "features are no array of numbers"), (None, "features are of type object"),
    ("features.npy", "features are of type <U12"),
    (np.zeros(16), "features of shape (16,): expected (T, D) or (crops, T, D)"),
    (np.zeros((0, 16)), "features of shape (0, 16): expected"), (np.zeros((1, 2, 3, 16)), "features of shape (1, 2, 3, 16)"),
    (np.zeros((4, 15)), "features have D = 15, this saa detector takes D = 16")])
def test_what_are_no_features(features, expected, backend):
    assert message(wv.create("saa", backend, devices.of(backend), **SAA).score, features).startswith(expected)


@pytest.mark.parametrize("stage", PATCHES)
@pytest.mark.parametrize("crops, of_stage", [(10, 1), (10, 2), (10, 3), (10, 4), (5, 1), (5, 2), (5, 3), (5, 4),
                                             (11, 4), (0, 4),
                                             (1, 1), (1, 2), (1, 3), (1, 4), (2, 1), (2, 2)])
def test_patches_of_another_stage_are_never_scored(stage, crops, of_stage, backend):
    made, rows = wv.create("ssrl", backend, devices.of(backend), stage=stage, **SSRL), crops + PATCHES[of_stage]
    features = np.ones((rows, 3, 16), np.float32)
    batch = wv.Batch(np.ones((2, rows, 3, 16), np.float32), np.array([0, 1]))
    if stage == of_stage and 1 <= crops <= 10:
        assert len(made.score(features)) == 3 and made.losses(batch)
        return
    if stage == 1 and (crops, of_stage) == (2, 2):
        return  # 8 crops, or 2 and 6 patches: nobody publishes either
    behind = f" and behind them {PATCHES[stage]} patches" if PATCHES[stage] else ""
    expected = {(1, 7): "7 crops and 0 patches, as stage 1 takes them, or 1 crops and 6 patches, which another stage takes",
                (2, 10): "4 crops and 6 patches, as stage 2 takes them, or 10 crops and 0 patches, which another stage takes"}
    expected = f"N = {rows} on the crop axis" + (f": {expected[stage, rows]}" if (stage, rows) in expected else (
        f", expected 1 to 10 crops{behind}"))
    assert message(made.score, features) == f"features of shape {features.shape}: {expected}"
    assert message(made.losses, batch) == f"batch features of shape {batch.features.shape}: {expected}"


def test_crops_whose_number_is_known(backend):
    made = wv.create("saa", backend, devices.of(backend), **SAA)
    many = np.tile(whole_numbers(1, 3, 16).astype(np.float32), (20, 1, 1))
    assert message(made.score, many).endswith("N = 20 on the crop axis, expected 1 to 10 crops")
    known = dataclasses.replace(made, crops=20)
    assert np.allclose(known.score(many), made.score(many[0]), rtol=1e-5)
    assert message(known.score, many[:10]).endswith("N = 10 on the crop axis, expected 20 crops")


LOOKS = "; they look like (T, N, D), wvad_core.data.read_features(path) gives (N, T, D)"


@pytest.mark.parametrize("shape, looks", [((300, 10, 16), True), ((11, 10, 16), True), ((300, 5, 16), True),
                                          ((300, 7, 16), False), ((12, 40, 16), False)])
def test_axes_that_look_exchanged(shape, looks, backend):
    found = message(wv.create("saa", backend, devices.of(backend), **SAA).score, np.ones(shape, np.float32))
    assert found.endswith(LOOKS) == looks and f"N = {shape[0]} on the crop axis" in found


def test_axes_of_crops_and_patches_that_look_exchanged():
    made = wv.create("ssrl", stage=2, **SSRL)
    assert message(made.score, np.ones((300, 16, 16), np.float32)).endswith(LOOKS)


@pytest.mark.parametrize("crops", [1, 2, 5, 7, 10])
@pytest.mark.parametrize("steps", [1, 2, 5, 10, 11])
def test_short_videos_are_scored_without_a_word(crops, steps):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(wv.create("saa", **SAA).score(np.ones((crops, steps, 16), np.float32))) == steps


TABLE = "video,split,category,frames,intervals\na,test,Normal,48,\nb,test,Fight,64,10-20\nc,train,Normal,,\nd,train,Fight,,\n"


def test_a_dataset_of_another_stage_is_refused_before_anything_is_scored(tmp_path):
    (tmp_path / "own.csv").write_text(TABLE)
    for name, steps in (("a", 3), ("b", 4), ("c", 5), ("d", 6)):
        np.save(tmp_path / f"{name}.npy", np.ones((16, steps, 16), np.float32))
    test, videos = (wv.data.Dataset.open(tmp_path / "own.csv", tmp_path, split) for split in ("test", "train"))
    for stage in (1, 3):
        made = wv.create("ssrl", stage=stage, **SSRL)
        object.__setattr__(made, "backend", None)  # nothing is scored
        with pytest.raises(wv.InputError) as raised:
            wv.evaluate(dataclasses.replace(made, backend=wv.create("saa", **SAA).backend), test, replicates=1)
        first, *lines = str(raised.value).splitlines()
        assert first.endswith("own.csv: 2 of 2 videos have features that are not for this detector")
        assert [line.partition(":")[0] for line in lines] == ["  a", "  b"] and "N = 16 on the crop axis" in lines[0]
    evaluated = wv.evaluate(wv.create("ssrl", stage=2, **SSRL), test, replicates=1)
    assert [len(video.scores) for video in evaluated.videos] == [3, 4]
    recipe = Recipe(segments=3, videos=1, steps=1, crops="all")
    with pytest.raises(wv.InputError, match="N = 16 on the crop axis, expected 1 to 10 crops"):
        train("ssrl", wv.create("ssrl", stage=1, **SSRL).config, TrainingSet(videos, 3), recipe, "numpy")
    with pytest.raises(wv.InputError, match="N = 16 on the crop axis, expected 1 to 10 crops"):  # a random row, a patch too
        train("saa", wv.create("saa", **SAA).config, TrainingSet(videos, 3), dataclasses.replace(recipe, crops="random"),
              "numpy")
