"""Every backend against what the published implementations give on reproducible weights (golden/)."""
import devices
import economy
import filtered
import numpy as np
import pytest

import golden
import native
import wvad_core as wv
from compare import GRADIENT, OUTPUT, SPECIFICATION, assert_all_close, assert_close, assert_gradients_close
from wvad_core.blocks.tensors import draw
from wvad_core.registry import specification

CASES = {name: case for name in golden.names()
         if (case := golden.load(name)).about["method"] in wv.list_methods() and case.about["inputs"]}
DTYPE = {"numpy": np.float64}  # the specification computes in the features' dtype, the frameworks in float32
ABNORMAL_FIRST = {"ar-net"}    # the methods whose cases have the abnormal half first
NOT_A_LOSS = {"ur-dmu": {"distance"}, "adplg": {"snippet"}}
"""Terms that the published code counts without reporting them among its losses, or in another case."""

ACROSS_A_RELU = {"rtfm_train": 1e-3, "ssrl_stage3_train": 1e-3}
"""Cases with a pre-activation so near 0 that float32 has it on the other side (see test_magnitude)."""

SMALL_DIFFERENCES = {"mgfn_train_margin": {"contrast": 1e-4}}
"""Terms of small differences of large sums, in float32; test_mgfn has them in float64."""


SHARED: dict[tuple, tuple[wv.Detector, dict]] = {}
"""The detector that was asked for last, of hundreds of megabytes, and its running statistics."""


def detector(case: golden.Case, backend: str) -> wv.Detector:
    """A case's detector, as built; tests of a case and backend that follow one another share its tensors."""
    key = case.name, str(case.about["config"]), backend
    if key not in SHARED:
        SHARED.clear()
        economy.release()
        made = fresh(case, backend)
        SHARED[key] = made, native.moving(made)
    return native.rewind(*SHARED[key])


def fresh(case: golden.Case, backend: str) -> wv.Detector:
    """A case's detector for a test that changes more than what calls in training mode move."""
    return wv.from_published(case.about["method"], state(case), backend, devices.of(backend), allow_fresh=True,
                             **case.about["config"])


def published(case: golden.Case):
    spec = specification(case.about["method"])
    return spec.published(spec.Config(**case.about["config"]))


def state(case: golden.Case) -> dict[str, np.ndarray]:
    """A case's weights, and those of its inputs that are tensors of the detector here."""
    held = {name: shape for name, shape in case.about["inputs"].items() if name in published(case).names}
    return case.weights() | {name: golden.features(case.about["seed"], name, tuple(shape)) for name, shape in held.items()}


def tolerance(case: golden.Case, backend: str) -> float:
    return SPECIFICATION if (case.about["dtype"], backend) == ("float64", "numpy") else OUTPUT


def assert_ranked(case: golden.Case, scores: np.ndarray, magnitudes: np.ndarray, backend: str) -> None:
    """Scores, magnitudes (2B, T), and the mean scores of the three snippets of a video whose magnitudes are the largest."""
    assert_close(scores, case.outputs["scores"], tolerance(case, backend))
    assert_close(magnitudes, case.outputs["feature_magnitudes"], tolerance(case, backend))
    picks = np.argsort(-magnitudes, axis=1)[:, :3]
    expected = np.concatenate([case.outputs["score_normal"], case.outputs["score_abnormal"]])
    assert_close(np.take_along_axis(scores, picks, 1).mean(1), expected, tolerance(case, backend))


def training_batch(case: golden.Case, backend: str, turned: bool = False) -> wv.Batch:
    """The case's batch; `turned` has the other half first, where there are halves, and leaves the lengths to be seen from the
    padding."""
    features = case.inputs()["batch"].astype(DTYPE.get(backend, np.float32))
    half = len(features) // 2
    labels = np.repeat([1, 0] if case.about["method"] in ABNORMAL_FIRST else [0, 1], half)
    lengths = case.about.get("lengths")
    for video, length in zip(features, lengths or ()):
        video[length:] = 0
    if "labels" in case.about:  # any mix, in any order
        classes = case.about.get("classes", case.about.get("label_classes"))
        companions = {name: case.inputs()[name] for name in specification(case.about["method"]).COMPANIONS}
        classes = [own if isinstance(own, list) else [own] for own in classes]
        labels = [label if isinstance(label, int) else int(0 not in own) for label, own in zip(case.about["labels"], classes)]
        batch = wv.Batch(features, labels, None if turned else lengths, companions=companions, classes=classes)
        return batch.reordered(np.roll(np.arange(len(labels)), half)) if turned else batch
    if turned:
        return wv.Batch(np.roll(features, half, axis=0), np.roll(labels, half))
    return wv.Batch(features, labels, lengths)


def having(output: str, given: str = "") -> list[str]:
    """The cases with such an output and such an input."""
    return [name for name, case in CASES.items()
            if any(key.startswith(output) for key in case.outputs) and (not given or given in case.about["inputs"])]


DETERMINISTIC = [name for name in having("loss:total") if "noise" not in CASES[name].outputs]


def expected_losses(case: golden.Case) -> dict[str, np.ndarray]:
    """The terms by our names: loss:total_loss is total, loss:A_Nloss is A_N, loss:rtfm is magnitude."""
    found = {key[5:]: value for key, value in case.outputs.items() if key.startswith("loss:")}
    ours = {name: name.removesuffix("loss").removesuffix("_") for name in found} | {"rtfm": "magnitude"}
    return {ours[name]: value for name, value in found.items()}


@pytest.mark.parametrize("name", having("scores", "features"))
def test_scores(name, backend):
    case = CASES[name]
    features, made = case.inputs()["features"].astype(DTYPE.get(backend, np.float32)), detector(case, backend)
    scores = np.stack([made.score(video) for video in features])
    assert_close(scores, case.outputs["scores"].reshape(scores.shape), tolerance(case, backend))


@pytest.mark.parametrize("name, turned", [(name, False) for name in DETERMINISTIC] + [
    (name, True) for name in DETERMINISTIC if len(CASES[name].about["inputs"]["batch"]) == 3])  # the others take long
def test_loss_terms(name, turned, backend):
    case = CASES[name]
    found = detector(case, backend).losses(training_batch(case, backend, turned), deterministic=True)
    others = NOT_A_LOSS.get(case.about["method"], set())
    expected, loose = expected_losses(case), {} if backend == "numpy" else SMALL_DIFFERENCES.get(name, {})
    for term, rtol in loose.items():
        assert_close(found.pop(term), expected.pop(term), rtol, name=term)
    assert_all_close({k: v for k, v in found.items() if k not in others}, expected, tolerance(case, backend))


@pytest.mark.needs("torch")
@pytest.mark.on_the_cpu
@pytest.mark.parametrize("name", ["bn_wvad_eval", "mgfn_eval", "rtfm_eval", "rtfm_train", "s3r_train", "ssrl_stage1_eval", "ur_dmu_eval"])
def test_convolutions_by_minimal_filtering(name, monkeypatch):
    """As longer videos and larger batches take it, at the published widths."""
    taken = filtered.counted("torch", monkeypatch)
    filtered.whatever_the_size(monkeypatch)
    if "features" in CASES[name].about["inputs"]:
        test_scores(name, "torch")
    else:
        test_loss_terms(name, False, "torch")
    assert taken


def assert_gradient_norms(found: dict, case: golden.Case) -> None:
    """The norms of the gradients that the case has; of what the published network never uses, they are zero."""
    names, stored = published(case).names, {k[5:]: v for k, v in case.outputs.items() if k.startswith("grad:")}
    assert all(value == 0 for name, value in stored.items() if name not in names)
    expected = {names[name]: value for name, value in stored.items() if name in names}
    norms = {name: np.linalg.norm(value) for name, value in found.items() if name in expected}
    assert_gradients_close(norms, expected, ACROSS_A_RELU.get(case.name, GRADIENT))


@pytest.mark.parametrize("name", CASES)
def test_names_are_total_and_one_to_one(name):
    case, found = CASES[name], published(CASES[name])
    names = wv.published_names(case.about["method"], **case.about["config"])
    spec = specification(case.about["method"])
    canonical = spec.parameters(spec.Config(**case.about["config"]))
    assert names == found.names and not any(map(found.drops, names))
    assert all(name in names or found.drops(name) for name in state(case))
    assert len(set(names.values())) == len(names)
    assert set(names.values()) <= set(canonical)
    unnamed = {name for name in canonical if name not in names.values()}
    assert all(name.endswith("num_batches_tracked") for name in unnamed)


@pytest.mark.parametrize("name", CASES)
def test_every_tensor_arrives_under_its_name(name, backend):
    case, found = CASES[name], published(CASES[name])
    weights = dict(native.tensors(detector(case, backend)))  # no copy: the largest have 192 million numbers
    for theirs, value in state(case).items():
        if not found.drops(theirs):
            arrived = native.to_numpy(weights.pop(found.names[theirs]))
            assert arrived.size == value.size and np.array_equal(arrived.ravel(), value.ravel())
    spec = specification(case.about["method"])
    drawn = draw({n: p for n, p in spec.parameters(spec.Config(**case.about["config"])).items() if n in weights}, 0)
    for ours, value in weights.items():  # what a release lacks is zero, a part published elsewhere is fresh
        value = native.to_numpy(value)
        assert np.array_equal(value, drawn[ours]) if ours.startswith(found.parts) else not value.any()


@pytest.mark.parametrize("name", ["adplg_video_train", "ar_net_mean", "bn_wvad_train"])
def test_a_shared_detector_is_as_it_was_built(name, backend):
    case = CASES[name]
    first = detector(case, backend)
    expected = fresh(case, backend).weights()
    first.losses(training_batch(case, backend))
    again = detector(case, backend)
    assert again is first
    assert all(np.array_equal(value, expected[name]) for name, value in again.weights().items())
    assert again.network.memory is None or again.network.memory.steps == 0


def change(state: dict, name: str, value) -> dict:
    return {k: v for k, v in (state | {name: value}).items() if v is not None}


@pytest.mark.parametrize("name", having("scores", "features"))
@pytest.mark.parametrize("value, message", [(None, "missing tensor"), (np.zeros((3, 3)), "expected"), ])
def test_a_checkpoint_that_does_not_fit_is_refused(name, value, message):
    case = CASES[name]
    tensor = next(n for n in case.weights() if n.endswith("weight") and n in published(case).names)
    with pytest.raises(wv.InputError, match=message):
        wv.from_published(case.about["method"], change(state(case), tensor, value), **case.about["config"])
    with pytest.raises(wv.InputError, match="unexpected tensor extra.weight"):
        wv.from_published(case.about["method"], change(state(case), "extra.weight", np.zeros(2)), **case.about["config"])


APART = {("ssrl_stage3_train", "mindspore")}
"""What runs in a process that ends: MindSpore keeps the gigabytes that gradients of 128 million numbers take."""


def without_the_drawn(case: golden.Case, backend: str) -> wv.Detector:
    """The case's detector, and room for gradients, which are as many as the tensors that were drawn for it."""
    made = detector(case, backend)
    golden.DRAWN.clear()
    return made


def gradient_norms(name: str, framework: str) -> dict[str, float]:
    return native.gradient_norms(without_the_drawn(CASES[name], framework), training_batch(CASES[name], framework))


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_norm_of_every_gradient(name, framework, request):
    """The last test of this file, for which nothing needs to be drawn again."""
    case = CASES[name]
    if (name, framework) in APART and not request.config.getoption("--slow"):
        pytest.skip("half a minute: --slow")
    if (name, framework) in APART:
        found = economy.apart(gradient_norms, name, framework)
    else:
        found = without_the_drawn(case, framework).gradients(training_batch(case, framework), deterministic=True)
    assert_gradient_norms(found, case)
