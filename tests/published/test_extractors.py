"""Extractors on every backend against what the published implementations give on reproducible weights and clips (golden/)."""
import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache

import devices
import economy
import numpy as np
import pytest

import golden
import wvad_core as wv
from compare import OUTPUT, SPECIFICATION, assert_close
from wvad_core.blocks.clips import scaled
from wvad_core.checkpoints import formats
from wvad_core.checkpoints.contents import Contents
from wvad_core.checkpoints.identification.naming import of_other_releases
from wvad_core.registry import model_specification

CASES = {name: case for name in golden.names() if (case := golden.load(name)).about["method"] in wv.list_extractors()}
CLIPS = [name for name, case in CASES.items()
         if "features" in case.outputs and set(case.about["inputs"]) < {"clip", "image"}]


@cache
def normalised(name: str) -> np.ndarray:
    """A case's clips, (B, C, F, H, W); a picture is a clip of one frame."""
    inputs = CASES[name].inputs()
    return inputs["clip"] if "clip" in inputs else inputs["image"][:, :, None]


def published_features(name: str) -> np.ndarray:
    """(B, D); of several windows of a clip their mean."""
    features = CASES[name].outputs["features"]
    return features.reshape(*features.shape[:2], -1).mean(-1)


def extractor(name: str, backend: str, **settings) -> wv.Extractor:
    case = CASES[name]
    return wv.from_published(case.about["method"], case.weights(), backend, devices.of(backend),
                             **case.about["config"] | settings)


@pytest.mark.parametrize("name", CLIPS)
def test_features(name, backend):
    """Of clips as `features` takes them; the specification in float64. Logits follow from features by a product of matrices."""
    exact = backend == "numpy"
    made = extractor(name, backend)
    clips = np.moveaxis(normalised(name), 1, -1).astype(np.float64 if exact else np.float32)
    assert_close(made.features(clips), published_features(name), SPECIFICATION if exact else OUTPUT)
    economy.release()


def test_a_videos_features_from_its_frames(backend):
    """Frames resized and cropped by a recipe, two snippets of ten crops: every eighth number, and the length of all."""
    case, exact = golden.load("ten_crop_features"), backend == "numpy"
    recipe = replace(wv.video.recipes()["gowtham"], resize="86x64", crop=56)
    made = wv.from_published(recipe.extractor, case.weights(), backend, devices.of(backend), scale=recipe.scale, norm_eps=1e-5)
    clips = list(wv.video.snippets(case.outputs["input:frames"], recipe))
    given = [scaled(clip, recipe.scale, np.float64) if exact else clip for clip in clips]
    features = np.stack([made.features(clip) for clip in given])
    assert features.shape == tuple(case.outputs["features_shape"])
    tolerance = SPECIFICATION if exact else OUTPUT
    assert_close(features[..., ::8], case.outputs["features"], tolerance)
    assert_close(np.linalg.norm(features.astype(np.float64), axis=-1), case.outputs["feature_norms"], tolerance)


@pytest.mark.parametrize("name", CLIPS)
def test_names_are_total_and_one_to_one(name):
    case = CASES[name]
    spec = model_specification(case.about["method"])
    config = spec.Config(**case.about["config"])
    names, shapes = spec.published(config).names, {n: p.shape for n, p in spec.parameters(config).items()}
    assert sorted(names.values()) == sorted(set(shapes)) and len(names) == len(shapes)
    _, state = next(of_other_releases(spec, case.weights()), ("", case.weights()))
    assert {names[n]: value.shape for n, value in state.items()} == shapes


SMALL = {"resolution": 8, "patch": 4, "width": 16, "heads": 2, "layers": 1, "feature_dim": 8}


OTHER_C3D = {"channels": (2, 3, 4, 5, 6), "feature_dim": 7, "classes": 3}


@pytest.mark.parametrize("resolution", (16, 33))
def test_a_c3d_of_other_sizes(backend, resolution):
    """Against the specification in float64; the pools leave 1 x 1 of 16 x 16 pixels, 2 x 2 of 33 x 33."""
    exact = wv.create("c3d", "numpy", resolution=resolution, **OTHER_C3D)
    made = wv.create("c3d", backend, devices.of(backend), resolution=resolution, **OTHER_C3D)
    clips = np.random.default_rng(0).normal(size=(3, 16, resolution, resolution, 3))
    assert made.weights()["fc6.weight"].shape == (7, 6 * (1 if resolution == 16 else 4))
    assert_close(made.features(clips.astype(np.float32)), exact.features(clips), OUTPUT)
    with pytest.raises(wv.InputError, match=f"height {resolution} and width {resolution}$"):
        made.features(clips[:, :, 1:].astype(np.float32))


def test_the_sizes_of_a_c3d_are_seen(tmp_path):
    """But for those of the frames, of which several make the same tensors."""
    for resolution, given in ((112, {}), (64, {"resolution": 64})):
        weights = wv.create("c3d", "numpy", resolution=resolution, **OTHER_C3D).weights()
        formats.by_suffix(tmp_path / "c.pkl").write(tmp_path / "c.pkl", Contents(weights, {}))
        assert wv.load(tmp_path / "c.pkl", **given).config == wv.create("c3d", resolution=resolution, **OTHER_C3D).config
    with pytest.raises(wv.InputError, match="leave settings open; choose\n  resolution=64 or resolution=65"):
        wv.load(tmp_path / "c.pkl")


def check_onnx(made: wv.Extractor, path) -> None:
    """A file of the extractor, run without this library: any number of clips of the published size."""
    import onnxruntime

    wv.export(made, path)
    session, sizes = onnxruntime.InferenceSession(path), made.clip_sizes.published
    (given,), (found,) = session.get_inputs(), session.get_outputs()
    assert (given.name, found.name) == ("clips", "features") and given.shape[1:] == [made.config.in_channels, *sizes]
    assert session.get_modelmeta().custom_metadata_map["method"] == made.name
    for count in (1, 2):
        clips = np.random.default_rng(count).normal(size=(count, *sizes, made.config.in_channels)).astype(np.float32)
        features = session.run(None, {"clips": np.ascontiguousarray(np.moveaxis(clips, -1, 1))})[0]
        assert_close(features, made.features(clips), OUTPUT)


@pytest.mark.on_the_cpu
@pytest.mark.needs("torch")
def test_an_onnx_file(tmp_path):
    check_onnx(wv.create("clip-vit", **SMALL), tmp_path / "clip.onnx")


@pytest.mark.on_the_cpu
@pytest.mark.needs("torch")
@pytest.mark.parametrize("name, settings", [(name, {}) for name in wv.list_extractors()] + [("i3d-resnet50", {"non_local": True})])
def test_onnx_files_of_published_sizes(request, tmp_path, name, settings):
    if not request.config.getoption("--slow"):
        pytest.skip("half a minute each: --slow")
    check_onnx(wv.create(name, "torch", **settings), tmp_path / "extractor.onnx")


@pytest.mark.needs("mindspore")
def test_no_mindir_file(tmp_path):
    with pytest.raises(wv.InputError, match=r"mindir cannot express this clip-vit extractor: .*; expected \.onnx$") as raised:
        wv.export(wv.create("clip-vit", **SMALL), tmp_path / "clip.mindir")
    assert "\n" not in str(raised.value) and not list(tmp_path.iterdir())


def test_several_threads_get_the_same_features(backend):
    made = wv.create("clip-vit", backend, devices.of(backend), **SMALL)
    clips = np.random.default_rng(0).integers(0, 256, (12, 3, 8, 8, 3)).astype(np.uint8)
    expected = [made.features(clips[i:i + 2]) for i in range(11)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: made.features(clips[i:i + 2]), range(11)))
    assert all(np.array_equal(a, b) for a, b in zip(found, expected))


def test_copies_compute_the_same(backend):
    made = wv.create("clip-vit", backend, devices.of(backend), **SMALL)
    clips = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8, 3)).astype(np.uint8)
    for other in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert other.network is not made.network and other.config == made.config
        assert np.array_equal(other.features(clips), made.features(clips))


@pytest.mark.needs("torch")
def test_the_callers_modes_change_nothing():
    """Of PyTorch: another default type, autocast, and a network that was left in training mode."""
    import torch

    made = wv.create("i3d-resnet50", "torch")
    clips = np.random.default_rng(0).integers(0, 256, (1, 7, 8, 8, 3)).astype(np.uint8)
    expected = made.features(clips)
    made.network.train()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.autocast("cpu", torch.bfloat16), torch.enable_grad():
            found = made.features(clips)
    finally:
        torch.set_default_dtype(torch.float32)
    assert np.array_equal(found, expected) and made.network.training and made.network.bn1.num_batches_tracked == 0
