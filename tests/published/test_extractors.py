"""Extractors on every backend against what the published implementations give on reproducible weights and clips (golden/)."""
from dataclasses import replace
from functools import cache

import devices
import economy
import numpy as np
import pytest

import golden
import native
import wvad_core as wv
from compare import OUTPUT, SPECIFICATION, assert_close
from wvad_core.blocks.clips import scaled
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
