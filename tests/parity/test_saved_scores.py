"""Scores of a detector in the process that trained or changed it are those of its saved file, bit for bit.

What a network keeps of its weights from one call to the next (transformed kernels, say) is of no use after they have
changed, and no framework says reliably when they have. The widths here take every fast path that published ones take.
"""
import copy
import dataclasses
from pathlib import Path

import devices
import filtered
import numpy as np
import pytest
from weight_changes import CHANGES, keep_first_kernels

import wvad_core as wv
from cases import batch, video
from wvad_core.blocks import magnitude
from wvad_core.training.recipe import Recipe
from wvad_core.training.trainer import Trainer

STEPS = 70   # so that a convolution of dilation 4 has tiles enough
HEADS = {"depth": 1, "heads": 2, "head_dim": 8, "feed_forward_dim": 16}
WIDE = [
    ("adplg", {"feature_dim": 128, "channels": 128, "hidden": 8, "local_heads": 1, "local_head_dim": 8, "positions": STEPS,
               "num_segments": 20, "classifier_dim": 8, "warm_up": 0, **HEADS}),
    ("ar-net", {"variant": "mean", "feature_dim": 128}),
    ("ar-net", {"variant": "lstm", "feature_dim": 128}),
    ("ar-net", {"variant": "bas", "feature_dim": 128, "cas_dim": 128, "filter_dim": 8, "classes": 2}),
    ("bn-wvad", {"feature_dim": 128, "channels": 128, **HEADS}),
    ("clip-tsa", {"feature_dim": 512, "hidden_dims": (16, 8), "scorer_dim": 16, "num_samples": 5}),
    ("mgfn", {"feature_dim": 512, "channels": (64, 128), "depths": (1, 1), "blocks": ("glance", "focus"), "expansion": 2}),
    ("rtfm", {"feature_dim": 512, "hidden_dims": (16, 8)}),
    ("saa", {"feature_dim": 512, "attention_dim": 128, "hidden_dims": (16, 8)}),
    ("ssrl", {"feature_dim": 128, "stage": 2, "hidden_dims": (16, 8)}),
    ("ur-dmu", {"feature_dim": 128, "channels": 128, "abnormal_memory": 5, "normal_memory": 5, "hidden_dim": 8, **HEADS}),
]
RECIPE = Recipe(segments=20, videos=2, steps=2, learning_rate=1e-3, clip_norm=1.0)


@pytest.fixture(autouse=True)
def blocks(monkeypatch, request):
    """Several of them, as of long videos; and what pays for many rows."""
    monkeypatch.setattr(magnitude, "EVALUATION_BLOCK", STEPS)
    if "torch" in request.config.getoption("--backends").split(","):
        from wvad_torch.methods import mgfn

        monkeypatch.setattr(mgfn, "ROWS", 16)
        monkeypatch.setattr(mgfn, "HIDDEN", 50)
        filtered.whatever_the_size(monkeypatch)


def made_for(method: str, config: dict, framework: str) -> wv.Detector:
    return wv.create(method, backend=framework, device=devices.of(framework), seed=3, **config)


def moved(weights: dict[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """Every tensor a little, so that scores stay away from 0 and 1."""
    rng = np.random.default_rng(seed)
    return {name: value if value.dtype != np.float32 else
            value * rng.uniform(1, 1.1, value.shape).astype(np.float32)
            + rng.normal(0, 1e-3, value.shape).astype(np.float32)
            for name, value in weights.items()}


def assert_scores_are_those_of_the_file(made: wv.Detector, features: np.ndarray, folder: Path) -> None:
    path = folder / "weights.safetensors"
    made.save(path)
    loaded = wv.load(path, backend=made.backend_name, device=devices.of(made.backend_name))
    assert loaded.config == made.config
    scores = made.score(features)
    assert len(np.unique(scores)) > STEPS // 2, "scores that differ by snippet"
    assert np.array_equal(scores, loaded.score(features)), "scores are not those of the saved weights"


def stepped(made: wv.Detector, config: dict) -> None:
    trainer = Trainer(made, RECIPE)
    for seed in range(RECIPE.steps):
        trainer.step(batch(made.method, config, RECIPE.segments, RECIPE.videos, seed=seed))


@pytest.mark.parametrize("method, config", WIDE)
def test_after_optimiser_steps_and_of_a_deep_copy_with_weights_of_its_own(method, config, framework, tmp_path):
    made, features = made_for(method, config, framework), video(method, config, STEPS, 2)
    before = made.score(features)
    stepped(made, config)
    assert_scores_are_those_of_the_file(made, features, tmp_path)
    after = made.score(features)
    assert not np.array_equal(after, before)
    other = dataclasses.replace(made, network=copy.deepcopy(made.network))
    assert np.array_equal(other.score(features), after)
    stepped(other, config)
    assert_scores_are_those_of_the_file(other, features, tmp_path)
    assert not np.array_equal(other.score(features), after)
    assert np.array_equal(made.score(features), after)


@pytest.mark.parametrize("method, config", WIDE)
def test_after_every_way_to_change_weights(method, config, framework, tmp_path):
    made, features = made_for(method, config, framework), video(method, config, STEPS, 2)
    start = made.weights()
    for seed, (name, change) in enumerate(CHANGES[framework].items()):
        before = made.score(features)
        change(made.network, moved(start, seed))
        assert_scores_are_those_of_the_file(made, features, tmp_path)
        assert not np.array_equal(made.score(features), before), name


@pytest.mark.parametrize("method, config", [case for case in WIDE if case[0] in ("bn-wvad", "rtfm")])
@pytest.mark.parametrize("change", ("steps", "weights"))
def test_kernels_kept_from_the_first_call_are_noticed(method, config, framework, change, tmp_path, monkeypatch):
    keep_first_kernels(framework, monkeypatch)
    made, features = made_for(method, config, framework), video(method, config, STEPS, 2)
    assert_scores_are_those_of_the_file(made, features, tmp_path)
    if change == "steps":
        stepped(made, config)
    else:
        next(iter(CHANGES[framework].values()))(made.network, moved(made.weights(), 0))
    with pytest.raises(AssertionError, match="not those of the saved weights"):
        assert_scores_are_those_of_the_file(made, features, tmp_path)


@pytest.mark.needs("torch")
@pytest.mark.parametrize("method, config", [case for case in WIDE if case[1].get("variant") != "lstm"])
def test_these_widths_take_minimal_filtering_on_the_cpu(method, config, monkeypatch):
    taken = filtered.counted("torch", monkeypatch)
    made = made_for(method, config, "torch")
    made.score(video(method, config, STEPS, 2))
    assert taken
