"""What all extractors share, on one that is quickly computed: clips, scales, files, copies, and what is refused."""
import copy
import pickle
from dataclasses import replace

import mean_colour
import ml_dtypes
import numpy as np
import pytest

import wvad_core as wv
from wvad_core import extractor as extractors
from wvad_core import models, registry
from wvad_core.blocks.clips import SCALES, scaled
from wvad_core.checkpoints import formats
from wvad_core.checkpoints.contents import Contents
from wvad_core.checkpoints.identification import recognition
from wvad_core.checkpoints.identification.recognition import identify
from wvad_core.cli import convert, inspect

NAME = "mean-colour"


@pytest.fixture(autouse=True)
def installed(tmp_path_factory, monkeypatch):
    site = tmp_path_factory.mktemp("site")
    mean_colour.install(site)
    monkeypatch.syspath_prepend(site)
    monkeypatch.setattr(registry, "EXTRACTORS", registry.Models("extractors", registry.ExtractorSpecification))


def frames(count: int = 5, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 4, 6, 7, channels)).astype(np.uint8)


def refusal(function, *given, **named) -> str:
    with pytest.raises(wv.InputError) as raised:
        function(*given, **named)
    assert "\n" not in str(raised.value)
    return str(raised.value)


MEAN, STD = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
FORMULAS = {"symmetric": lambda x: x * 2 / 255 - 1, "kinetics": lambda x: (x - 114.75) / 57.375,
            "clip": lambda x: (x / 255 - MEAN) / STD, "raw": lambda x: x}


@pytest.mark.parametrize("scale", SCALES)
def test_uint8_frames_are_scaled(scale):
    values = np.arange(256, dtype=np.uint8)[:, None].repeat(3, 1)
    expected = FORMULAS[scale](values.astype(np.float64))
    found = scaled(values, scale)
    assert found.dtype == np.float32 and np.allclose(found, expected, rtol=1e-6, atol=1e-6)
    if scale != "clip":  # which is published in float32
        assert np.array_equal(found, expected.astype(np.float32)) and np.array_equal(scaled(values, scale, np.float64), expected)
    made = wv.create(NAME, scale=scale)
    assert np.allclose(made.features(frames()), 2 * FORMULAS[scale](frames().astype(np.float64)).mean((1, 2, 3)), atol=1e-4)
    assert scale == "clip" or wv.create(NAME, scale=scale, in_channels=2).features(frames(channels=2)).shape == (5, 2)


def test_normalised_clips_stay():
    made, clips = wv.create(NAME, scale=None), np.random.default_rng(1).normal(size=(3, 2, 8, 9, 3))
    expected = 2 * clips.mean((1, 2, 3))
    for dtype, gives, error in ((np.float64, np.float64, 1e-14), (np.float32, np.float32, 1e-6), (np.float16, np.float32, 1e-2),
                                (ml_dtypes.bfloat16, np.float32, 1e-1)):
        found = made.features(clips.astype(dtype))
        assert found.dtype == gives and np.allclose(found, expected, atol=error)
    assert np.allclose(made.features(np.asfortranarray(clips)), expected) and np.allclose(made.features(clips[::-1]), expected[::-1])
    assert made.features(clips[:0].astype(np.float32)).shape == (0, 3)


def test_clips_are_computed_some_at_a_time(monkeypatch):
    made, seen = wv.create(NAME), []
    whole = made.features(frames(7))
    monkeypatch.setattr(extractors, "PIXELS", 2 * 4 * 6 * 7)
    monkeypatch.setattr(type(made.backend), "features", lambda self, network, clips: seen.append(clips) or network(clips))
    assert np.array_equal(made.features(frames(7)), whole)
    assert [clips.shape for clips in seen] == 3 * [(2, 3, 4, 6, 7)] + [(1, 3, 4, 6, 7)]
    assert np.moveaxis(seen[0], 1, -1).flags.c_contiguous  # channels last in memory: nothing is copied on the way
    monkeypatch.setattr(extractors, "PIXELS", 1)
    assert np.array_equal(made.features(frames(7)), whole)


def test_clips_that_are_refused():
    made = wv.create(NAME)
    assert refusal(made.features, frames()[0]) == "clips of shape (4, 6, 7, 3): expected (N, frames, height, width, 3)"
    assert refusal(made.features, frames(channels=4)).startswith("clips of shape (5, 4, 6, 7, 4): expected (N, frames,")
    for value in (frames().astype(np.int64), frames() > 3, frames().astype(str), frames().astype(object), frames() * 1j):
        assert refusal(made.features, value).startswith(f"clips are of type {value.dtype}, expected uint8 frames or normalised")
    assert refusal(made.features, [[1, 2], [3]]).startswith("clips are no array of numbers")
    assert refusal(made.features, frames()[:, :1]) == (
        "clips of 1 frames of 6 x 7 (height x width), mean-colour takes at least 2 frames and height 1 to 8 and width at least 1")
    assert refusal(made.features, frames()[:, :, [0] * 9]).startswith("clips of 4 frames of 9 x 7 (height x width)")
    for value in (np.nan, np.inf, -np.inf):
        clips = frames().astype(np.float32)
        clips[3, 1, 2, 0, 1] = value
        assert refusal(made.features, clips) == "clips have numbers that are not finite in clip 3, expected finite numbers"
    with np.errstate(over="ignore"):  # finite numbers whose sum is not
        made.features(np.full((2, 2, 1, 1, 3), 3e38, np.float32))
    assert refusal(wv.create(NAME, scale=None).features, frames()) == (
        "clips are uint8 frames, and the scale of what mean-colour takes is not known: expected the setting scale, or "
        "normalised numbers")
    assert "setting scale" in refusal(wv.create, NAME, scale="imagenet")
    assert "setting scale" in refusal(wv.create, NAME, scale="clip", in_channels=2)


def extractor_of(path):
    return models.extractor_from_contents(formats.read(path)[1], str(path))


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".ckpt"])
def test_files(tmp_path, suffix):
    made = wv.create(NAME, bias=True, scale="raw")
    made = replace(made, network=made.backend.build(NAME, made.config, made.weights() | {
        "colour.bias": np.array([1, 2, 3], np.float32)}))
    made.save(tmp_path / f"colour{suffix}")
    found = wv.load(tmp_path / f"colour{suffix}")
    assert type(found) is wv.Extractor and found.config == made.config and not found.assumed
    assert np.array_equal(found.features(frames()), made.features(frames())) and made.features(frames())[0, 0] > 1
    assert refusal(models.load_detector, tmp_path / f"colour{suffix}") == (
        f"{tmp_path / f'colour{suffix}'}: a checkpoint of mean-colour, expected a detector's")
    assert extractor_of(tmp_path / f"colour{suffix}").name == NAME
    wv.create("rtfm", feature_dim=8, hidden_dims=(4, 4)).save(tmp_path / "rtfm.pt")
    assert "a checkpoint of rtfm, expected an extractor's" in refusal(extractor_of, tmp_path / "rtfm.pt")
    assert "expected abacus" in refusal(wv.load, tmp_path / f"colour{suffix}", method="abacus")


def test_copies():
    made = wv.create(NAME, in_channels=2, scale="raw")
    for other in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert other.network is not made.network and (other.config, other.assumed) == (made.config, made.assumed)
        assert np.array_equal(other.features(frames(channels=2)), made.features(frames(channels=2)))
    assert repr(made) == ("<Extractor mean-colour on numpy, cpu, float32: in_channels=2, scale='raw'; 6 parameters>")


def published_state(**config) -> dict[str, np.ndarray]:
    made = wv.create(NAME, **config)
    return {theirs: made.weights()[ours] for theirs, ours in wv.published_names(NAME, **config).items()}


def test_what_a_published_file_holds():
    """Its own names, without the classifier, and another release; what no tensor shows is assumed, and warned of."""
    found = identify(Contents(published_state(in_channels=4, bias=True), {}), "colour.pt")
    assert (found.method, found.config) == (NAME, mean_colour.Config(in_channels=4, bias=True))
    assert found.assumed.settings == {"scale": "symmetric"} and found.assumed.scored == ("scale",)
    bare = published_state()
    del bare["model.head.weight"]
    for state, names in ((bare, "published"), ({"factors": np.ones((3, 1), np.float32)}, "paired")):
        found = identify(Contents(state, {}), "colour.pt")
        assert (found.names, found.assumed.fresh, found.absent) == (names, ("head.weight",), ())
        with pytest.warns(wv.AssumedWarning, match="features depend on what it does not say: scale=symmetric"):
            assert type(wv.from_published(NAME, state)) is wv.Extractor
    assert not identify(Contents(published_state(), {}), "colour.pt", NAME, {"scale": "raw"}).assumed
    assert "missing tensor" in str(pytest.raises(wv.InputError, identify, Contents(bare, {}), "x.pt", NAME, {"bias": True}).value)


def test_a_methods_file_is_held_against_methods_alone(monkeypatch):
    weights = wv.create("rtfm", feature_dim=8, hidden_dims=(4, 4)).weights()
    monkeypatch.setattr(recognition, "extractors", lambda: pytest.fail("extractors are tried"))
    assert identify(Contents(weights, {}), "rtfm.pt").method == "rtfm"


def test_what_is_printed_of_a_file(tmp_path, capsys):
    file = tmp_path / "factors.pt"
    formats.by_suffix(file).write(file, Contents({"factors": np.ones((3, 1), np.float32)}, {}))
    inspect.main([str(file)])
    printed = capsys.readouterr().out
    assert "\nextractor   mean-colour, by its tensors, which have paired names\n" in printed
    assert "features depend on what the file does not say: scale=symmetric" in printed and "scores" not in printed
    convert.main([str(file), str(tmp_path / "colour.ckpt"), "scale=raw"])
    assert wv.load(tmp_path / "colour.ckpt").config == mean_colour.Config(scale="raw")
    convert.main([str(tmp_path / "colour.ckpt"), str(tmp_path / "again.pt"), "--published"])
    _, contents = formats.read(tmp_path / "again.pt")
    assert set(contents.tensors) == {"model.colour.weight", "model.head.weight"}
