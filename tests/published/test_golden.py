"""Every backend against what the published implementations give on reproducible weights (golden/)."""
import numpy as np
import pytest

import golden
import wvad_core as wv
from compare import GRADIENT, OUTPUT, SPECIFICATION, assert_all_close, assert_close

CASES = {name: golden.load(name) for name in golden.names()}
DTYPE = {"numpy": np.float64}  # the specification computes in the features' dtype, the frameworks in float32


def detector(case: golden.Case, backend: str) -> wv.Detector:
    return wv.from_published(case.about["method"], case.weights(), backend=backend, device="cpu", **case.about["config"])


def tolerance(case: golden.Case, backend: str) -> float:
    return SPECIFICATION if (case.about["dtype"], backend) == ("float64", "numpy") else OUTPUT


def training_batch(case: golden.Case, backend: str, order=slice(None)) -> wv.Batch:
    features = case.inputs()["batch"].astype(DTYPE.get(backend, np.float32))
    return wv.Batch(features[order], np.repeat([0, 1], len(features) // 2)[order])


def having(output: str) -> list[str]:
    return [name for name, case in CASES.items() if any(key.startswith(output) for key in case.outputs)]


@pytest.mark.parametrize("name", having("scores"))
def test_scores_of_single_crops(name, backend):
    case = CASES[name]
    features = case.inputs()["features"].astype(DTYPE.get(backend, np.float32))
    scores = np.stack([detector(case, backend).score(video) for video in features])
    assert_close(scores, case.outputs["scores"], tolerance(case, backend))


@pytest.mark.parametrize("name", having("loss:"))
@pytest.mark.parametrize("abnormal_first", [False, True])
def test_loss_terms(name, backend, abnormal_first):
    case = CASES[name]
    size = len(case.inputs()["batch"])
    batch = training_batch(case, backend, np.roll(np.arange(size), size // 2 if abnormal_first else 0))
    expected = {key[5:].removesuffix("_loss"): value for key, value in case.outputs.items() if key.startswith("loss:")}
    assert_all_close(detector(case, backend).losses(batch, deterministic=True), expected, tolerance(case, backend))


@pytest.mark.parametrize("name", having("grad:"))
def test_norm_of_every_gradient(name, framework):
    case = CASES[name]
    found = detector(case, framework).gradients(training_batch(case, framework), deterministic=True)
    names = wv.published_names(case.about["method"], **case.about["config"])
    expected = {names[key[5:]]: value for key, value in case.outputs.items() if key.startswith("grad:")}
    assert_all_close({name: np.linalg.norm(value) for name, value in found.items()}, expected, GRADIENT)


@pytest.mark.parametrize("name", CASES)
def test_names_are_total_and_one_to_one(name):
    case = CASES[name]
    names = wv.published_names(case.about["method"], **case.about["config"])
    canonical = wv.create(case.about["method"], **case.about["config"]).weights()
    assert set(case.weights()) <= set(names)
    assert len(set(names.values())) == len(names)
    assert set(names.values()) <= set(canonical)
    unnamed = {name for name in canonical if name not in names.values()}
    assert all(name.endswith("num_batches_tracked") for name in unnamed)


@pytest.mark.parametrize("name", CASES)
def test_every_tensor_arrives_under_its_name(name, backend):
    case = CASES[name]
    names = wv.published_names(case.about["method"], **case.about["config"])
    weights = detector(case, backend).weights()
    for published, value in case.weights().items():
        found = weights.pop(names[published])
        assert found.size == value.size and np.array_equal(found.ravel(), value.ravel())
    assert not any(value.any() for value in weights.values())  # what a release lacks is zero


def change(state: dict, name: str, value) -> dict:
    return {k: v for k, v in (state | {name: value}).items() if v is not None}


@pytest.mark.parametrize("name", having("scores"))
@pytest.mark.parametrize("value, message", [(None, "missing tensor"), (np.zeros((3, 3)), "expected"), ])
def test_a_checkpoint_that_does_not_fit_is_refused(name, value, message):
    case = CASES[name]
    tensor = next(n for n in case.weights() if n.endswith("weight"))
    with pytest.raises(wv.InputError, match=message):
        wv.from_published(case.about["method"], change(case.weights(), tensor, value), **case.about["config"])
    with pytest.raises(wv.InputError, match="unexpected tensor extra.weight"):
        wv.from_published(case.about["method"], change(case.weights(), "extra.weight", np.zeros(2)), **case.about["config"])
