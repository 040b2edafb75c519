"""SSRL: which inputs and sizes it takes, and how its training goes from stage to stage."""
import dataclasses

import devices
import numpy as np
import pytest

import native
import wvad_core as wv
from golden import features
from wvad_core.backend import find_backend
from wvad_core.blocks import magnitude
from wvad_core.methods.ssrl import Config, Grid, next_stage, parameters
from wvad_core.training.recipe import Recipe
from wvad_core.training.trainer import Trainer

SMALL = {"feature_dim": 16, "hidden_dims": (8, 6)}
RECIPE = Recipe(segments=12, videos=2, steps=3, learning_rate=1e-3, weight_decay=5e-3)


def build(config: Config, weights: dict, backend: str) -> wv.Detector:
    found = find_backend(backend)
    return wv.Detector("ssrl", config, backend, found, found.build("ssrl", config, weights, devices.of(backend), "float32", 0))


def small_batch(config: Config, seed: int = 0) -> wv.Batch:
    return wv.Batch(features(seed, "batch", (4, 2 + config.patches, 12, 16)), np.array([0, 0, 1, 1]))


@pytest.mark.parametrize("stage, sizes, patches, frozen", [
    (1, (), 0, ()), (2, (23,), 6, ("aggregate", "classifier")),
    (3, (23, 35), 21, ("aggregate", "classifier", "patch.0")),
    (4, (23, 35, 47), 49, ("aggregate", "classifier", "patch.0", "patch.1"))])
def test_a_stage_has_its_sizes_and_freezes_the_rest(stage, sizes, patches, frozen):
    config = Config(stage=stage)
    assert (config.patch_sizes, config.patches, config.frozen) == (sizes, patches, frozen)
    assert Config(**config.as_dict()) == config


def test_the_published_layers():
    shapes = {name: p.shape for name, p in parameters(Config()).items()}
    assert [shapes[f"patch.{i}.linear.weight"] for i in range(3)] == [(2048, 6144), (2048, 3072), (2048, 10240)]
    assert shapes["patch.0.conv.weight"] == (1024, 2048, 3, 3)
    assert [Grid(size).padding for size in (23, 35, 47)] == [1, 0, 0]


@pytest.mark.parametrize("sizes", [(24,), (32,), (19,), (7,), (100,), (330,)])
def test_a_grid_that_does_not_survive_the_convolution_is_refused(sizes):
    with pytest.raises(wv.InputError, match="patch_sizes: expected rows and columns"):
        wv.create("ssrl", stage=2, patch_sizes=sizes)


def test_a_stage_without_a_size_is_refused():
    with pytest.raises(wv.InputError, match="a size for each stage from 2 to 3"):
        wv.create("ssrl", stage=3, patch_sizes=[23])


@pytest.mark.parametrize("rows", (1, 5, 6))
def test_features_without_crops_are_refused(backend, rows):
    made = wv.create("ssrl", backend, stage=2, **SMALL)
    message = f"N = {rows} on the crop axis, expected 1 to 10 crops and behind them 6 patches"
    with pytest.raises(wv.InputError, match=message):
        made.score(np.zeros((rows, 4, 16), np.float32))
    with pytest.raises(wv.InputError, match=message):
        made.losses(wv.Batch(np.zeros((2, rows, 4, 16), np.float32), np.array([0, 1])))


def test_crops_are_averaged_and_share_the_patches(backend):
    made = wv.create("ssrl", backend, stage=3, **SMALL)
    video = features(0, "video", (3 + 21, 9, 16))
    alone = [made.score(np.concatenate([video[i:i + 1], video[3:]])) for i in range(3)]
    assert np.allclose(made.score(video), np.mean(alone, 0), rtol=1e-5)
    assert not np.allclose(alone[0], alone[1], rtol=1e-3)


@pytest.mark.parametrize("sizes", [(33,), (47, 23), (99,)])
def test_other_sizes(framework, sizes):
    config = SMALL | {"stage": 1 + len(sizes), "patch_sizes": sizes}
    made, reference = wv.create("ssrl", framework, **config), wv.create("ssrl", **config)
    video = features(0, "video", (2 + made.config.patches, 5, 16))
    assert np.allclose(made.score(video), reference.score(video), rtol=1e-5)


@pytest.mark.parametrize("block", (1, 7, 30, 60))
def test_evaluation_in_blocks_is_the_whole(backend, block, monkeypatch):
    made = wv.create("ssrl", backend, **SMALL)
    video = features(0, "video", (3 + 49, 11, 16))
    whole = made.score(video)
    monkeypatch.setattr(magnitude, "EVALUATION_BLOCK", block)
    assert np.allclose(made.score(video), whole, rtol=1e-5)


def test_a_stage_starts_from_the_one_before(framework):
    config = Config(stage=1, **SMALL)
    weights = wv.create("ssrl", **config.as_dict()).weights()
    for stage in (1, 2, 3):
        config = Config(stage=stage, **SMALL)
        if stage > 1:
            before, weights = weights, next_stage(weights, config)
            fresh = wv.create("ssrl", **config.as_dict()).weights()
            assert set(weights) == set(fresh)
            assert all(np.array_equal(value, before.get(name, fresh[name])) for name, value in weights.items())
        made = build(config, weights, framework)
        trainer = Trainer(made, RECIPE)
        for step in range(RECIPE.steps):
            trainer.step(small_batch(config, step))
        trained, frozen = made.weights(), tuple(f"{name}." for name in config.frozen)
        moved = {name for name, value in trained.items() if not np.array_equal(value, weights[name])}
        assert moved == {name for name in trained if not name.startswith(frozen)}
        weights = trained


def test_only_the_stage_before_is_taken():
    stage1, stage2 = (wv.create("ssrl", stage=stage, **SMALL).weights() for stage in (1, 2))
    with pytest.raises(wv.InputError, match="ssrl stage 2: missing tensor patch.0"):
        next_stage(stage1, Config(stage=3, **SMALL))
    with pytest.raises(wv.InputError, match="ssrl stage 1: unexpected tensor patch.0"):
        next_stage(stage2, Config(stage=2, **SMALL))
    with pytest.raises(wv.InputError, match="a stage that has one before it"):
        next_stage(stage1, Config(stage=1, **SMALL))


def test_running_statistics_of_frozen_modules_stay(backend):
    made = wv.create("ssrl", backend, stage=3, **SMALL)
    before = made.weights()
    native.training_losses(made, small_batch(made.config))
    after = made.weights()
    moved = {name for name, value in after.items() if not np.array_equal(value, before[name])}
    assert moved and all(name.startswith("patch.1.") for name in moved)
    assert any(name.startswith("patch.1.aggregate") for name in moved) and "patch.1.norm.running_var" in moved


@pytest.mark.parametrize("stage, later", [(1, 49), (2, 43), (3, 28), (4, 0)])
def test_a_detector_of_an_early_stage_drops_the_patches_of_later_ones(backend, stage, later):
    """Whose features have all patches: 3 crops, and 6, 15 and 28 patches behind them."""
    made = wv.create("ssrl", backend, stage=stage, **SMALL)
    video = features(0, "video", (3 + 49, 5, 16))
    scores = dataclasses.replace(made, later=later).score(video)
    assert np.array_equal(scores, made.score(video[:52 - later]))
    changed = video.copy()
    changed[52 - later:] += 1
    assert np.array_equal(dataclasses.replace(made, later=later).score(changed), scores)
    changed[51 - later] += 1
    assert not np.allclose(dataclasses.replace(made, later=later).score(changed), scores, rtol=1e-5)
