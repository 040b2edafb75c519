"""What a checkpoint is, seen from its tensors: method, names, configuration."""
import json

import numpy as np
import pytest
from ml_dtypes import bfloat16

import golden
import wvad_core as wv
from wvad_core.checkpoints.contents import Contents, describe
from wvad_core.checkpoints.identification.fitting import aligned
from wvad_core.checkpoints.identification.recognition import identify
from wvad_core.checkpoints.identification.naming import CANONICAL, PUBLISHED, as_computed, squeezed
from wvad_core.registry import Published, specification

CASES = {name: case for name in golden.names()
         if (case := golden.load(name)).about["method"] in wv.list_methods() and case.about["weights"]}
SAA = {"feature_dim": 16, "attention_dim": 4, "hidden_dims": (4, 2)}
BN = {"feature_dim": 24, "channels": 32, "depth": 3, "heads": 2, "head_dim": 8, "feed_forward_dim": 16, "ratios": (4, 8)}


def fresh(method: str, **config) -> dict:
    return wv.create(method, **config).weights()


def found(tensors: dict, method: str | None = None, **given):
    return identify(Contents(tensors, {}), "x.pt", method, given)


def refusal(tensors: dict, method: str | None = None, **given) -> str:
    with pytest.raises(wv.InputError) as raised:
        found(tensors, method, **given)
    message = str(raised.value)
    assert message.startswith("x.pt: ")
    return message.removeprefix("x.pt: ")


def assert_configured(result, expected) -> None:
    """What the tensors show is right, and what they do not show is the default."""
    for name, value in expected.as_dict().items():
        default = getattr(type(expected)(), name)
        assert getattr(result.config, name) == (default if name in result.assumed.settings else value), name


def zeros(shapes: dict) -> dict:
    """Tensors of these shapes that take no memory."""
    return {name: np.broadcast_to((np.int64 if name.endswith("num_batches_tracked") else np.float32)(0), shape)
            for name, shape in shapes.items()}


@pytest.mark.parametrize("name", CASES)
def test_published_tensors(name):
    method, config = CASES[name].about["method"], CASES[name].about["config"]
    about = CASES[name].about
    names = specification(method).published(specification(method).Config()).names
    beside = {n: shape for n, shape in about["inputs"].items() if n in names}
    state = zeros(dict(about["weights"]) | beside)  # what the published network takes as an input, and is a tensor here
    result = found(state)
    names = wv.published_names(method, **config)
    kind = CANONICAL if all(names.get(theirs) == theirs for theirs in state) else PUBLISHED  # the same in both
    assert (result.method, result.names, result.prefix, result.described) == (method, kind, "", False)
    assert_configured(result, specification(method).Config(**config))
    published, wanted = (make(result.config) for make in (specification(method).published, specification(method).parameters))
    assert {name: value.shape for name, value in result.weights.items()} == {name: p.shape for name, p in wanted.items()}
    assert set(result.dropped) == set(filter(published.drops, state))
    here = {published.names[n] for n in state if not published.drops(n)}
    assumed = result.assumed
    assert {*assumed.zeros, *assumed.fresh} == {n for n in set(wanted) - here if not n.endswith("num_batches_tracked")}
    assert all(result.weights[name].any() for name in assumed.fresh if name.endswith("weight") and ".norm." not in name)


@pytest.mark.parametrize("method", wv.list_methods())
@pytest.mark.parametrize("behind", ["", "module.", "a.b."])
def test_published_configurations(method, behind):
    """Of the size that is published, and of half the depth of features; under canonical names, which prefixes may hide."""
    kind = specification(method).Config
    for config in (kind(), kind(feature_dim=kind().feature_dim // 2)):
        tensors = zeros({behind + n: p.shape for n, p in specification(method).parameters(config).items()})
        result = found(tensors, method)
        assert (result.method, result.names, result.prefix) == (method, CANONICAL, behind)
        assert_configured(result, config)
        assert set(result.weights) == {name.removeprefix(behind) for name in tensors}


def test_several_methods_fit():
    """Those whose scores are the same are one to who wants scores: the simpler one is taken, and the other is told of."""
    tensors = fresh("rtfm", feature_dim=16, hidden_dims=(12, 6))
    for prefix, behind in (("", ""), ("module.", " behind module.")):
        result = found({prefix + name: value for name, value in tensors.items()})
        assert (result.method, result.config.hidden_dims) == ("rtfm", (12, 6))
        assert result.assumed.alternatives == (
            f"ssrl feature_dim=16 hidden_dims=12,6 stage=1 (this library's names{behind})",)
    features = np.random.default_rng(0).random((3, 7, 16), np.float32)
    scores = [wv.from_published("rtfm", {n: tensors[c] for n, c in wv.published_names("rtfm", **config).items()},
                                **config).score(features) for config in [{"feature_dim": 16, "hidden_dims": (12, 6)}]]
    assert np.array_equal(scores[0], wv.create("ssrl", stage=1, feature_dim=16, hidden_dims=(12, 6)).score(features))
    assert not found(tensors, "rtfm").assumed.alternatives
    assert found(tensors, stage=1).method == "ssrl"
    assert found(tensors, "ssrl").config.stage == 1


@pytest.mark.parametrize("behind", ("module.", "_orig_mod.", "module._orig_mod."))
def test_published_tensors_of_a_wrapped_model(behind):
    tensors, config = fresh("rtfm", feature_dim=16, hidden_dims=(12, 6)), {"feature_dim": 16, "hidden_dims": (12, 6)}
    names = wv.published_names("rtfm", **config)
    made = wv.from_published("rtfm", {behind + n: tensors[c] for n, c in names.items()}, **config)
    assert all(np.array_equal(made.weights()[name], value) for name, value in tensors.items())
    some = {behind * (number > 0) + n: tensors[c] for number, (n, c) in enumerate(names.items())}
    with pytest.raises(wv.InputError, match=f"unexpected tensor {behind}"):
        wv.from_published("rtfm", some, **config)


def test_several_methods_fit_whose_scores_differ(monkeypatch):
    tensors = fresh("rtfm", feature_dim=16, hidden_dims=(12, 6))
    forward = specification("rtfm").forward
    monkeypatch.setattr(specification("rtfm"), "forward", lambda *given: forward(*given) / 2)
    assert refusal(tensors).splitlines() == [
        "the names and shapes of the tensors are those of more than one detector, whose scores differ; choose by method and "
        "settings", "  rtfm feature_dim=16 hidden_dims=12,6 (this library's names)",
        "  ssrl feature_dim=16 hidden_dims=12,6 stage=1 (this library's names)"]
    assert found(tensors, "rtfm").method == "rtfm" and found(tensors, "ssrl").method == "ssrl"


@pytest.mark.parametrize("theirs", ["module.", "a.b."])
def test_published_names_that_are_its_own_behind_a_prefix(theirs, monkeypatch):
    """A file may then have two kinds of names at once, which are one detector."""
    spec, tensors = specification("saa"), fresh("saa", **SAA)
    monkeypatch.setattr(spec, "published", lambda config: Published({theirs + n: n for n in spec.parameters(config)}))
    for prefix in (theirs, "", f"net.{theirs}", "net."):
        result = found({prefix + name: value for name, value in tensors.items()})
        assert result.method == "saa" and all(np.array_equal(result.weights[n], w) for n, w in tensors.items())


def test_settings_that_tensors_leave_open():
    tensors = fresh("bn-wvad", **BN)
    assert refusal(tensors).splitlines() == [
        "the tensors are those of bn-wvad, but leave settings open; choose", "  ratios=4,7 or ratios=4,8",
        "  heads=1 head_dim=16 or heads=2 head_dim=8 or heads=4 head_dim=4 or heads=8 head_dim=2 or heads=16 head_dim=1"]
    for given in ({"heads": 2}, {"head_dim": 8}):
        result = found(tensors, ratios=[4, 8], **given)
        assert result.config == specification("bn-wvad").Config(**BN)
        assert list(result.assumed.settings) == ["ratio_sample", "ratio_batch", "margin", "level_weights"]


def test_settings_that_defaults_settle():
    result = found(fresh("bn-wvad", **BN | {"heads": 4, "head_dim": 128, "ratios": (1, 4), "kernel_sizes": (3, 1, 5)}))
    assert {"heads", "head_dim"} <= set(result.assumed.settings)
    assert (result.config.ratios, result.config.kernel_sizes) == ((1, 4), (3, 1, 5))


def test_lists_of_any_length():
    config = {"feature_dim": 16, "hidden_dims": (8, 4), "stage": 3, "patch_sizes": (34, 23)}
    tensors = fresh("ssrl", **config)
    assert "\n  patch_sizes=34,23 or patch_sizes=43,23" in refusal(tensors)
    for sizes in ((34, 23), (43, 23)):
        assert found(tensors, patch_sizes=sizes).config.patch_sizes == sizes
    assert found(fresh("ssrl", **config | {"patch_sizes": (23, 35)})).config.patch_sizes == (23, 35)
    config = {"feature_dim": 16, "hidden": 8, "channels": 24, "window_sizes": (3, 9, 5), "positions": 70}
    tensors = fresh("adplg", **config)
    assert "\n  window_sizes: 3 numbers, which no tensor shows" in refusal(tensors)
    assert found(tensors, window_sizes=[3, 9, 5]).config.window_sizes == (3, 9, 5)


def test_given_settings_must_agree():
    tensors = fresh("saa", **SAA)
    assert found(tensors, k=3, attention_dim=4).config.k == 3
    assert "k" not in found(tensors, k=3).assumed.settings
    message = refusal(tensors, attention_dim=5)
    assert "comes nearest is saa feature_dim=16 attention_dim=5 hidden_dims=4,2 (this library's names)\n" in message
    assert "  tensor attention.conv1.weight has shape (4, 16, 3), expected (5, 16, 3)\n" in message
    assert refusal(tensors, nothing=5) == "no method takes nothing=5"
    with pytest.raises(wv.InputError, match="saa has no setting 'kk'; did you mean k"):
        found(tensors, "saa", kk=1)
    with pytest.raises(wv.InputError, match="setting attention_dim: expected a positive whole number, found 'x'"):
        found(tensors, "saa", attention_dim="x")
    with pytest.raises(wv.InputError, match="unknown method 'sa'"):
        found(tensors, "sa")


@pytest.mark.parametrize("method, settings, message", [
    ("ssrl", {"patch_sizes": (11,)}, "fit no detector"),
    ("ssrl", {"patch_sizes": ()}, "setting patch_sizes: expected a size for each stage|fit no detector"),
    ("ssrl", {"stage": 9}, "setting patch_sizes: expected a size for each stage"),
    ("adplg", {"window_sizes": ()}, "window_sizes|channels"), ("bn-wvad", {"ratios": (10**6, 1)}, "setting ratios|fit no")])
def test_given_settings_that_make_no_detector(method, settings, message):
    tensors = zeros({n: p.shape for n, p in specification(method).parameters(specification(method).DEMO).items()})
    for name in (method, None):
        with pytest.raises(wv.InputError, match=f"{message}|no method takes"):
            found(tensors, name, **settings)


def test_what_is_missing_extra_and_wrong():
    tensors = fresh("saa", **SAA) | {"extra": np.zeros(3), "classifier.fc1.weight": np.zeros((3, 3), np.float32)}
    del tensors["attention.conv2.bias"]
    assert refusal(tensors).splitlines()[1:] == [
        "  missing tensor attention.conv2.bias", "  unexpected tensor extra (3,)",
        "  tensor classifier.fc1.weight has shape (3, 3), expected (4, 16)"]
    assert "missing tensor attention.conv1.weight" in refusal(fresh("rtfm", feature_dim=16), "saa")
    assert refusal({"a": np.zeros(3), "b": np.zeros(3)}) == "no detector's weights; its tensors are a, b"
    assert refusal({}) == "it has no tensors"


@pytest.mark.parametrize("method", wv.list_methods())
def test_changed_names_and_shapes(method):
    """A right answer or one clear error, whatever one tensor is."""
    rng = np.random.default_rng(0)
    tensors = {name: p.shape for name, p in specification(method).parameters(specification(method).DEMO).items()}
    for _ in range(6):
        name = list(tensors)[rng.integers(len(tensors))]
        shape, others = list(tensors[name]), {n: s for n, s in tensors.items() if n != name}
        if shape and rng.integers(3):
            shape[rng.integers(len(shape))] = int(rng.choice([0, 1, 3, 2**40])) if rng.integers(2) else shape[0] * 2
        shape = shape[:-1] if not rng.integers(3) else shape
        state = zeros(others | {name if rng.integers(2) else f"{name}_": tuple(shape)})
        try:
            result = found(state)
        except wv.InputError as error:
            assert str(error).startswith("x.pt: ")
        else:  # a setting of another value, or an axis of length 1 less
            assert set(state) <= set(result.weights)
            assert all(squeezed(result.weights[n].shape) == squeezed(value.shape) for n, value in state.items())


@pytest.mark.parametrize("shape, rank, expected", [
    ((4, 3, 1, 5), 3, (4, 3, 5)), ((4, 3, 1, 1), 3, (4, 3, 1)), ((4, 1, 1, 5), 3, (4, 1, 5)), ((4, 1, 1, 1), 3, (4, 1, 1)),
    ((4, 3, 1, 1), 2, (4, 3)), ((1, 3, 1, 1), 2, (1, 3)), ((4, 1, 1, 1), 2, (4, 1)), ((1, 1, 3, 4), 2, (3, 4)),
    ((1, 3, 1), 2, (1, 3)), ((1, 3, 4), 2, (3, 4)), ((4, 1, 1, 1), 1, (4,)), ((1, 4, 1, 1), 1, (4,)), ((1, 1, 1, 4), 1, (4,)),
    ((1, 4), 1, (4,)), ((4, 1), 1, (4,)), ((1, 1, 1), 1, (1,)), ((1, 1), 0, ()), ((1,), 0, ()), ((), 0, ()), ((), 2, ()),
    ((4, 3), 3, (4, 3)), ((4, 3, 2), 1, (4, 3, 2)), ((1, 3, 2), 1, (3, 2))])
def test_shapes_with_axes_of_length_1(shape, rank, expected):
    assert aligned(shape, rank) == expected


def test_published_tensors_with_several_axes_of_length_1():
    made = wv.create("saa", seed=1, **SAA)
    weights, names = made.weights(), wv.published_names("saa", **SAA)
    for ones in ((1, 1), (1, 1, 1)):
        state = {theirs: weights[ours].reshape(*weights[ours].shape, *ones) for theirs, ours in names.items()}
        result = found(state)
        assert result.config == made.config and set(result.assumed.settings) == set(found(weights).assumed.settings)
        assert all(np.array_equal(result.weights[name], value) for name, value in weights.items())
        loaded = wv.from_published("saa", state, **vars(made.config))
        assert all(np.array_equal(loaded.weights()[name], value) for name, value in weights.items())


def test_the_shapes_of_mindspore():
    """Kernels (out, in, 1, k), and counters that are vectors of one."""
    tensors = fresh("saa", **SAA)
    given = {n: w[:, :, None] if w.ndim == 3 else w.reshape(1) if w.ndim == 0 else w for n, w in tensors.items()}
    result = found(given)
    assert result.config == specification("saa").Config(**SAA)
    assert all(result.weights[n].shape == w.shape and np.array_equal(result.weights[n], w) for n, w in tensors.items())


@pytest.mark.parametrize("dtype", [np.float64, np.float16, bfloat16])
def test_dtypes_are_kept_and_computed_in_float32(dtype):
    tensors = {n: w.astype(dtype) if w.dtype == np.float32 else w.astype(np.int32) for n, w in fresh("saa", **SAA).items()}
    result = found(tensors)
    assert all(result.weights[name].dtype == value.dtype for name, value in tensors.items())
    wanted = specification("saa").parameters(result.config)
    computed = as_computed(result.weights, wanted)
    assert {name: value.dtype for name, value in computed.items()} == {name: np.dtype(p.dtype) for name, p in wanted.items()}
    assert all(np.array_equal(computed[name], value.astype(np.float64)) for name, value in tensors.items())
    for other in (np.int64, bool):
        assert refusal(tensors | {"attention.conv1.bias": np.zeros(4, other)}) == (
            f"tensor attention.conv1.bias is of type {np.dtype(other)}, expected floating-point numbers")
    name = "aggregate.merge.norm.num_batches_tracked"
    assert refusal(tensors | {name: np.zeros(())}) == f"tensor {name} is of type float64, expected whole numbers"


def described(tensors: dict, method: str = "saa", source: str = "x.pt", given: dict | None = None, **config):
    contents = describe(tensors, method, SAA | config)
    return identify(contents, source, given=given)


def test_metadata_are_believed_as_far_as_the_tensors_agree():
    tensors = fresh("saa", **SAA)
    result = described(tensors, k=5)
    assert (result.described, result.config.k, result.assumed.zeros) == (True, 5, ())
    lacking = {"dropout", "leaky_slope", "suppression", "branch_weights", "guide_steps", "guide_threshold", "norm_weight",
               "smooth_weight", "sparse_weight"}  # as in files of a version that has not had them yet
    assert (set(result.assumed.settings), result.assumed.scored) == (lacking, ("leaky_slope",))
    assert not described(tensors, **{name: getattr(result.config, name) for name in lacking | {"k"}}).assumed
    assert described(tensors, k=5, given={"k": 6}).config.k == 6
    for changes, message in (({"attention_dim": 5}, "tensor attention.conv1.weight has shape"),
                             ({"given": {"attention_dim": 5}}, "tensor attention.conv1.weight has shape"),
                             ({"method": "rtfm"}, "rtfm has no setting 'attention_dim'"),
                             ({"method": "none"}, "a checkpoint of method none, expected one of adplg"),
                             ({"k": 10**400}, "setting k: expected a positive whole number"),
                             ({"k": float("inf")}, "setting k: expected a positive whole number"),
                             ({"k": float("nan")}, "setting k: expected a positive whole number")):
        with pytest.raises(wv.InputError, match=f"{message}"):
            described(tensors, **changes)
    contents = describe(tensors, "rtfm", {"feature_dim": 16})
    with pytest.raises(wv.InputError, match="x.pt: unexpected tensor attention.conv1.weight|missing tensor"):
        identify(contents, "x.pt")
    with pytest.raises(wv.InputError, match="x.pt: a checkpoint of method rtfm, expected saa"):
        identify(contents, "x.pt", "saa")


@pytest.mark.parametrize("config", [{"depth": 10**9}, {"depth": 10**17}])
def test_nothing_is_built_of_an_absurd_depth(config):
    tensors = fresh("bn-wvad", **BN)
    with pytest.raises(wv.InputError, match=f"x.pt: setting depth is {config['depth']}, the file has 51 tensors"):
        identify(describe(tensors, "bn-wvad", BN | config), "x.pt")
    assert f"setting depth is {config['depth']}" in refusal(tensors, **config)
    with pytest.raises(wv.InputError, match="x.pt: setting window_sizes is 1,1,1,1,.* the file has 51 tensors"):
        identify(describe(tensors, "adplg", {"window_sizes": [1] * 1000, "channels": 1000}), "x.pt")


def test_a_description_is_plain_json():
    assert json.loads(describe(fresh("saa", **SAA), "saa", SAA).metadata["config"])["hidden_dims"] == [4, 2]
