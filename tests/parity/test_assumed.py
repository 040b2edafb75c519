"""What a checkpoint leaves open: it is seen, told where scores depend on it, and not forgotten in conversions."""
import warnings

import numpy as np
import pytest

import wvad_core as wv
from cases import NETWORKS, detector, video
from wvad_core.blocks.configuration import alternatives
from wvad_core.blocks.tensors import Scope
from wvad_core.checkpoints import formats
from wvad_core.checkpoints.contents import Contents, checksum
from wvad_core.checkpoints.formats import safetensors
from wvad_core.checkpoints.identification.recognition import identify
from wvad_core.checkpoints.identification.naming import CANONICAL, PUBLISHED
from wvad_core.checkpoints.identification.trials import changed, is_valid
from wvad_core.data import demo
from wvad_core.registry import specification

SAA = {"feature_dim": 16, "attention_dim": 4, "hidden_dims": (4, 2)}
OF_NAMES = ("variant", "window_sizes", "stage")
"""Settings that cannot be changed alone."""


def found(tensors: dict, **given):
    return identify(Contents(tensors, {}), "x.pt", None, given)


def settled(tensors: dict, config: dict):
    """What the tensors are; where they leave settings open, with those of `config`."""
    try:
        return found(tensors)
    except wv.InputError as error:
        lines = str(error).splitlines()
        assert "but leave settings open; choose" in lines[0], error
        words = " ".join(lines[1:]).replace("=", " ").replace(":", " ").split()
        return found(tensors, **{name: value for name, value in config.items() if name in words})


@pytest.mark.parametrize("method, config, names, prefix", [
    (*case, *plain) for case in NETWORKS for plain in ((CANONICAL, ""), (PUBLISHED, "module."))]
    + [(*NETWORKS[0], CANONICAL, "_orig_mod.module."), (*NETWORKS[0], PUBLISHED, "")])  # alike for all
def test_the_plain_state_of_every_network(method, config, names, prefix):
    """Under its own or the published names, bare or behind modules: never ambiguous but for settings that no tensor shows."""
    made = wv.create(method, **config)
    weights = made.weights()
    state = {theirs: weights[ours] for theirs, ours in wv.published_names(method, **config).items()}
    tensors = {prefix + name: value for name, value in (weights if names == CANONICAL else state).items()}
    result = settled(tensors, config)
    names = CANONICAL if state.keys() == weights.keys() else names  # published under this library's own
    simpler = (method, names, made.config.as_dict().get("stage")) == ("ssrl", CANONICAL, 1)  # the very network of rtfm
    assert result.method == ("rtfm" if simpler else method) and result.names == names
    expected = specification(result.method).Config(**{n: v for n, v in config.items() if n != "stage"}) if simpler else (
        made.config)
    for name, value in expected.as_dict().items():
        default = getattr(type(expected)(), name)
        assert getattr(result.config, name) == (default if name in result.assumed.settings else value), name
    assert all(np.array_equal(result.weights[name], value) for name, value in weights.items())


@pytest.mark.parametrize("method, config", NETWORKS)
def test_scores_do_not_depend_on_what_is_for_training_alone(method, config):
    """And they, or class probabilities, do on every other setting that changes neither names nor shapes, so that nothing is told
    in vain."""
    made, features = detector(method, config, "numpy"), video(method, config, 12, 3)[None]
    spec, weights = specification(method), made.weights()
    expected = scored(spec, features, weights, made.config)
    assert set(made.config.training_only) <= set(made.config.as_dict())
    for name, value in made.config.as_dict().items():
        words = [word for word in alternatives(type(made.config)).get(name, ()) if word != value]
        other = changed(made.config, {name: words[0] if words else value // 2 if name in DIVISORS else another(value)})
        if name in made.config.training_only:
            assert np.array_equal(scored(spec, features, weights, other), expected), name
        elif (other != made.config and name not in OF_NAMES and shapes(spec, other) == shapes(spec, made.config)
              and is_valid(spec, other)):
            assert not np.allclose(scored(spec, features, weights, other), expected, rtol=1e-6), name


def scored(spec, features, weights, config):
    """The raw scores, those that the method makes of them, and class probabilities of a method that has them, side by side."""
    raw = spec.forward(features, Scope(weights), config)[0]
    columns = [raw[:, None], spec.postprocess(raw, config)[:, None]]
    return np.concatenate(columns + ([spec.classify(features, Scope(weights), config)[0]] if spec.classify else []), axis=1)


DIVISORS = ("norm_groups",)
"""Settings that divide channels: so does half of them."""


def another(value):
    if isinstance(value, tuple):
        return tuple(map(another, value))
    if isinstance(value, bool):
        return not value
    return value if isinstance(value, str) else value + 1 if isinstance(value, int) else value * 0.5 + 0.01


def shapes(spec, config) -> dict | None:
    """None where there are none: such a configuration is not one."""
    try:
        return {name: p.shape for name, p in spec.parameters(config).items()}
    except (ArithmeticError, ValueError, IndexError):
        return None


@pytest.mark.parametrize("method, settings, changed_to", [
    ("ur-dmu", {"heads": 4, "head_dim": 128}, {"heads": 8, "head_dim": 64}),
    ("bn-wvad", {"heads": 4, "head_dim": 128}, {"heads": 8, "head_dim": 64}),
    ("saa", {"leaky_slope": 0.2}, {"leaky_slope": 0.1})])
def test_what_scores_depend_on_and_no_tensor_shows_is_told(method, settings, changed_to, tmp_path):
    """Weights trained with other settings than the defaults have the very same names and shapes."""
    small = {"feature_dim": 16, "channels": 16, "depth": 1, "feed_forward_dim": 16} if method != "saa" else SAA
    small |= {"hidden_dim": 4} if method == "ur-dmu" else {"ratios": (2, 4)} if method == "bn-wvad" else {}
    made = wv.create(method, seed=1, **small, **changed_to)
    path, features = tmp_path / "x.safetensors", np.random.default_rng(0).random((2, 9, 16), np.float32)
    safetensors.write(path, Contents(made.weights(), {}))
    given = {name: value for name, value in small.items() if name == "ratios"}
    with pytest.warns(wv.AssumedWarning) as caught:
        loaded = wv.load(path, **given)
    (warning,) = caught
    words = " ".join(f"{name}={value}" for name, value in settings.items())
    assert str(warning.message).startswith(f"{path}: scores depend on what it does not say: {words} (by default); ")
    assert "\n" not in str(warning.message) and warning.filename == __file__
    assert {name: loaded.assumed.settings[name] for name in settings} == settings
    assert set(loaded.assumed.scored) == set(settings)
    assert not np.allclose(loaded.score(features), made.score(features), rtol=1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told = wv.load(path, **given, **changed_to)
        assert np.array_equal(told.score(features), made.score(features)) and not told.assumed.scored
    assert_honest_when_saved(loaded, settings, changed_to, tmp_path)


def assert_honest_when_saved(loaded: wv.Detector, settings: dict, changed_to: dict, folder) -> None:
    """What was assumed once stays so in every format and on every way, until it is given."""
    path = folder / "start.safetensors"
    loaded.save(path)
    for suffix in (".ckpt", ".pt", ".safetensors"):
        with pytest.warns(wv.AssumedWarning):
            again = wv.load(path)
        assert again.assumed == loaded.assumed and again.config == loaded.config
        path = folder / f"next{suffix}"
        again.save(path)
    told = wv.load(path, **changed_to)
    assert not set(settings) & {*told.assumed.settings, *told.assumed.scored}
    contents = formats.read(path)[1]
    for text in ("[]", "3", '{"settings": ["nothing"]}', '{"other": []}', "{", '{"settings": 3}'):
        with pytest.raises(wv.InputError, match="x.pt: the entry assumed of the metadata is not what this library writes"):
            identify(hashed(contents.tensors, contents.metadata | {"assumed": text}), "x.pt")


def hashed(tensors: dict, metadata: dict) -> Contents:
    return Contents(tensors, metadata | {"sha256": checksum(tensors, metadata)})


def test_zeros_are_told(tmp_path):
    made = wv.create("saa", **SAA)
    state = {theirs: made.weights()[ours] for theirs, ours in wv.published_names("saa", **SAA).items()}
    for name in [name for name in state if name.startswith("attn") and name.endswith("bias")]:
        del state[name]
    with pytest.warns(wv.AssumedWarning, match=r"leaky_slope=0.2 \(by default\), 3 tensors that it lacks \(zeros\)"):
        loaded = wv.from_published("saa", state, **SAA)
    assert loaded.assumed.zeros == tuple(f"attention.conv{i}.bias" for i in (1, 2, 3))
    assert set(loaded.assumed.scored) == {"leaky_slope", *loaded.assumed.zeros}


ADPLG = {"feature_dim": 16, "hidden": 12, "channels": 32, "local_heads": 2, "local_head_dim": 8, "positions": 100, "depth": 1,
         "heads": 2, "head_dim": 8, "feed_forward_dim": 20, "classifier_dim": 8}


def test_a_part_without_which_scores_are_random(tmp_path):
    made = wv.create("adplg", **ADPLG)
    names = wv.published_names("adplg", **ADPLG)
    parts = {part: {n: made.weights()[c] for n, c in names.items() if c.startswith(part)} for part in ("video.", "snippet.")}
    safetensors.write(tmp_path / "video.safetensors", Contents(parts["video."], {}))
    message = ("has no tensors of snippet, without which the scores of adplg are random; to train further, allow_fresh=True "
               r"\(--allow-fresh\) draws them")
    with pytest.raises(wv.InputError, match=f"video.safetensors: {message}") as raised:
        wv.load(tmp_path / "video.safetensors", **ADPLG)
    assert "\n" not in str(raised.value)
    with pytest.raises(wv.InputError, match=f"published adplg checkpoint: {message}"):
        wv.from_published("adplg", parts["video."], **ADPLG)
    fresh_tensors = [name for name in made.weights() if name.startswith("snippet.")]
    with pytest.warns(wv.AssumedWarning, match=f"{len(fresh_tensors)} tensors of a part that it lacks \\(fresh weights\\)"):
        loaded = wv.load(tmp_path / "video.safetensors", allow_fresh=True, seed=7, **ADPLG)
    assert list(loaded.assumed.fresh) == fresh_tensors and set(fresh_tensors) <= set(loaded.assumed.scored)
    expected = wv.create("adplg", seed=7, **ADPLG).weights()
    assert all(np.array_equal(loaded.weights()[name], expected[name]) for name in fresh_tensors)
    safetensors.write(tmp_path / "snippet.safetensors", Contents(parts["snippet."], {}))
    with warnings.catch_warnings():  # the video branch is for training, and its size too
        warnings.simplefilter("error")
        given = {name: value for name, value in ADPLG.items() if name not in ("hidden", "positions")}
        loaded = wv.load(tmp_path / "snippet.safetensors", window_sizes=(2, 4, 6, 8), **given)
    assert loaded.assumed.fresh and not loaded.assumed.scored and loaded.assumed.settings["hidden"] == 512


@pytest.mark.parametrize("method", wv.list_methods())
def test_what_this_library_makes_assumes_nothing(method, tmp_path):
    made = wv.create(method, **specification(method).DEMO.as_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for suffix in (".safetensors", ".ckpt", ".pt"):
            made.save(tmp_path / f"x{suffix}")
            loaded = wv.load(tmp_path / f"x{suffix}")
            assert not loaded.assumed and not made.assumed and "assumed" not in formats.read(
                tmp_path / f"x{suffix}")[1].metadata
        assert not wv.load(demo.demo_checkpoint(method)).assumed
