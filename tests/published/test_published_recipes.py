"""Recipes and defaults of every method as its authors published them, written down a second time.

Sources: the papers (PAPER of each method) and the authors' code. A figure that was not published is this library's
choice; `CHOSEN` names those, and they are pinned all the same.
"""
import math

import numpy as np
import pytest

import wvad_core as wv
from wvad_core.data.draws import DRAWS
from wvad_core.registry import specification
from wvad_core.training.overrides import Resolved, resolve
from wvad_core.training.recipe import Group, Recipe

# Adam everywhere. videos: normal ones of a batch, with as many abnormal ones. metric: that of the published result.
COMMON = {"betas": (0.9, 0.999), "clip_norm": None, "seed": 0, "crops": "random", "sampling": "segments", "groups": (),
          "metric": "auc", "optimiser": "adam", "eps": 1e-8, "schedule": "constant", "warm_up_steps": 0, "batches": "halves", "draw": "packs",
          "evaluate_every": None, "evaluate_after": 0, "reload_best_every": None}
UR_DMU = {"learning_rate": 1e-4, "weight_decay": 5e-5, "videos": 64, "segments": 200, "steps": 3000}
RTFM = {"learning_rate": 1e-3, "weight_decay": 5e-3, "videos": 32, "segments": 32, "steps": 15000, "crops": "all"}
SSRL = {"learning_rate": 1e-3, "weight_decay": 5e-3, "videos": 8 * 4, "segments": 32, "steps": 15000, "crops": "all"}
VADCLIP = {"optimiser": "adamw", "weight_decay": 0.01, "segments": 256, "sampling": "segments-or-padded", "crops": "each",
           "schedule": "multi-step", "decay": 0.1, "seed": 234}
S3R = {"learning_rate": 1e-3, "weight_decay": 5e-3, "videos": 32, "segments": 32, "steps": 15000, "crops": "all",
       "sampling": "resized", "evaluate_every": 1}
ADPLG = {"learning_rate": 1e-4, "weight_decay": 5e-3, "videos": 32, "segments": 64, "steps": 20000}
PEL4VAD = {"learning_rate": 5e-4, "weight_decay": 0.0, "videos": 128, "segments": 200, "sampling": "picked",
           "batches": "items", "draw": "epochs-with-rest", "crops": "each", "schedule": "cosine", "final_rate": 0.0}
CLIP_TSA = {"learning_rate": 1e-3, "weight_decay": 5e-3, "videos": 16, "segments": 32, "crops": "all", "evaluate_every": 5,
            "evaluate_after": 150}
RECIPES = {
    ("pel4vad", "ucf-crime"): PEL4VAD | {"steps": 50 * 126, "decay_steps": 60 * 126, "schedule_every": 126,
                                         "evaluate_every": 126, "seed": 9},
    ("pel4vad", "xd-violence"): PEL4VAD | {"steps": 50 * 155, "decay_steps": 60 * 155, "schedule_every": 155,
                                           "evaluate_every": 155, "seed": 4, "metric": "ap"},
    ("pel4vad", "shanghaitech"): PEL4VAD | {"steps": 50 * 19, "decay_steps": 60 * 19, "schedule_every": 19,
                                            "evaluate_every": 19, "seed": 0},
    ("ar-net", "shanghaitech"): {"learning_rate": 1e-4, "weight_decay": 5e-4, "videos": 30, "segments": 300,
                                 "steps": 1000, "sampling": "snippets"},
    ("bn-wvad", "xd-violence"): {"learning_rate": 1e-4, "weight_decay": 5e-5, "videos": 64, "segments": 200,
                                 "steps": 1000, "clip_norm": 1.0, "seed": 2022, "metric": "ap",
                                 "evaluate_every": 5},
    ("clip-tsa", "ucf-crime"): CLIP_TSA | {"steps": 4000, "seed": 2},
    ("clip-tsa", "xd-violence"): CLIP_TSA | {"steps": 4000, "seed": 0, "metric": "ap"},
    ("clip-tsa", "shanghaitech"): CLIP_TSA | {"steps": 35000, "seed": 1},
    ("deep-mil", "ucf-crime"): {"optimiser": "adagrad", "learning_rate": 0.01, "eps": 1e-8, "weight_decay": 0.0, "videos": 30,
                                "segments": 32, "steps": 20000, "sampling": "unit-segments", "draw": "afresh"},
    ("mgfn", "ucf-crime"): {"learning_rate": 1e-3, "weight_decay": 5e-4, "videos": 16, "segments": 32, "steps": 50000,
                            "crops": "all", "draw": "file-order", "evaluate_every": 50},
    ("rtfm", "ucf-crime"): RTFM,
    ("rtfm", "shanghaitech"): RTFM,
    ("rtfm", "xd-violence"): RTFM | {"metric": "ap"},
    ("s3r", "ucf-crime"): S3R | {"seed": 49, "evaluate_after": 10},
    ("s3r", "shanghaitech"): S3R | {"seed": 823, "evaluate_after": 5000},
    ("saa", "ucf-crime"): {"learning_rate": 1e-4, "weight_decay": 5e-5, "videos": 64, "segments": 320, "steps": 3000},
    ("ssrl", "ucf-crime"): SSRL,
    ("ssrl", "shanghaitech"): SSRL,
    ("ur-dmu", "ucf-crime"): UR_DMU,
    ("ur-dmu", "xd-violence"): UR_DMU | {"metric": "ap"},
    ("adplg", "ucf-crime"): ADPLG,
    ("adplg", "xd-violence"): ADPLG | {"metric": "ap"},
    ("adplg", "shanghaitech"): ADPLG,
    ("vadclip", "ucf-crime"): VADCLIP | {"videos": 64, "learning_rate": 2e-5, "steps": 1250, "milestones": (500, 1000),
                                         "draw": "epochs", "evaluate_every": 10, "evaluate_after": 1, "reload_best_every": 125},
    ("vadclip", "xd-violence"): VADCLIP | {"videos": 96, "learning_rate": 1e-5, "steps": 4120, "milestones": (1236, 2472),
                                           "batches": "items", "draw": "epochs-with-rest", "evaluate_every": 412,
                                           "reload_best_every": 412, "metric": "average_precision"},
}
CHOSEN = {"ar-net": {"steps"}, "rtfm": {"steps"}, "saa": {"steps"}, "ssrl": {"steps"}}

# label threshold, variance threshold, attentions that make a label, steps before the snippet branch trains
ADPLG_LABELS = {"ucf-crime": (0.25, 0.4, 3, 1000), "xd-violence": (0.15, 0.5, 5, 1500),
                "shanghaitech": (0.2, 0.4, 4, 1000)}
CLIP_TSA_K = {"ucf-crime": 0.95, "xd-violence": 0.9, "shanghaitech": 0.01}

TRANSFORMER = {"feature_dim": 1024, "channels": 512, "depth": 2, "heads": 4, "head_dim": 128, "feed_forward_dim": 512}
MAGNITUDES = {"feature_dim": 2048, "num_segments": 32, "hidden_dims": (512, 128), "dropout": 0.7, "margin": 100.0,
              "magnitude_weight": 1e-4, "smooth_weight": 8e-4, "sparsity_weight": 8e-3}
UCF_CRIME = ("Normal", "Abuse", "Arrest", "Arson", "Assault", "Burglary", "Explosion", "Fighting", "RoadAccidents",
             "Robbery", "Shooting", "Shoplifting", "Stealing", "Vandalism")
OTHER_SETTINGS = {
    ("s3r", "shanghaitech"): {"atoms": 158},
    ("vadclip", "xd-violence"): {"depth": 1, "attention_window": 64, "score_branch": "alignment", "test_crop": 0,
                                 "separation_weight": 1e-4,
                                 "classes": ("normal", "fighting", "shooting", "riot", "abuse", "car accident", "explosion")},
    ("pel4vad", "xd-violence"): {
        "kernel_size": 3, "gamma": 0.06, "bias": 0.02, "power_norm": False, "temperature": 0.05, "texts": "first",
        "categories": ("Normal", "B5", "B6", "G", "B1", "B4", "B2"), "smoothing": "fixed", "smoothing_window": 8},
    ("pel4vad", "shanghaitech"): {
        "window_size": 5, "kernel_size": 3, "gamma": 0.08, "bias": 0.1, "temperature": 0.2, "prompt_weight": 9.0,
        "categories": ("Normal", "cycling", "chasing", "handcart", "fighting", "skateboarding", "vehicle", "running",
                       "jumping", "wandering", "lifting", "robbery", "climbing over", "throwing"), "smoothing_window": 3},
}
"""{(method, dataset): settings} where a recipe has others than the defaults."""
DEFAULTS = {
    "pel4vad": {"feature_dim": 1024, "attention_dim": 128, "channels": 300, "window_size": 9, "kernel_size": 9,
                "power_norm": True, "gamma": 0.6, "bias": 0.2, "temperature": 0.09, "dropout": 0.1, "k": 16,
                "prompt_weight": 1.0, "categories": UCF_CRIME, "texts": "mean", "smoothing": "slide", "smoothing_window": 7},
    "ar-net": {"variant": "single", "feature_dim": 2048, "dropout": 0.7, "k": 4, "center_weight": 20.0, "classes": 1,
               "num_segments": 300, "filter_dim": 512, "cas_dim": 2048, "leaky_slope": 0.01, "norm_weight": 1e-4},
    "bn-wvad": TRANSFORMER | {"ratios": (16, 32), "kernel_sizes": (1, 1, 1), "ratio_sample": 0.2, "ratio_batch": 0.4,
                              "margin": 1.0, "level_weights": (5.0, 20.0)},
    "clip-tsa": MAGNITUDES | {"feature_dim": 512, "hidden_dims": (128, 32), "k": 0.95, "num_samples": 100, "sigma": 0.05,
                              "noise_samples": 0, "noise_seed": 0, "scorer_dim": 256, "projection": False,
                              "projection_dims": (1024, 512), "disable_HA": False},
    "deep-mil": {"feature_dim": 4096, "num_segments": 32, "hidden_dims": (512, 32), "dropout": 0.6, "margin": 1.0,
                 "smooth_weight": 8e-5, "sparsity_weight": 8e-5, "norm_weight": 1e-3, "normalise": False},
    "mgfn": {"feature_dim": 2048, "channels": (64, 128, 1024), "depths": (3, 3, 2), "blocks": ("glance", "focus", "focus"),
             "head_dim": 64, "kernel_size": 5, "expansion": 4, "magnitude_ratio": 0.1, "dropout": 0.7, "k": 3, "margin": 200.0,
             "contrast_weight": 1e-3, "magnitude_weight": 1e-3, "smooth_weight": 8e-4, "sparsity_weight": 8e-3},
    "rtfm": MAGNITUDES,
    "s3r": {name: value for name, value in MAGNITUDES.items() if name != "hidden_dims"} | {"atoms": 400, "norm_groups": 8, "macro_weight": 1.0},
    "saa": {"feature_dim": 1024, "attention_dim": 512, "hidden_dims": (512, 128), "dropout": 0.7, "leaky_slope": 0.2,
            "k": 16, "suppression": 0.2, "branch_weights": (0.8, 0.2), "guide_steps": 400, "guide_threshold": 0.5,
            "norm_weight": 0.8, "smooth_weight": 0.01, "sparse_weight": 0.01},
    "ssrl": MAGNITUDES | {"stage": 4, "patch_sizes": (23, 35, 47)},
    "ur-dmu": TRANSFORMER | {"abnormal_memory": 60, "normal_memory": 60, "hidden_dim": 128, "dropout": 0.5, "k": 16,
                             "margin": 1.0, "distance_margin": 100.0, "attention_weight": 0.1, "triplet_weight": 0.1,
                             "kl_weight": 0.001, "distance_weight": 0.0001},
    "adplg": {"feature_dim": 1024, "hidden": 512, "channels": 1024, "window_sizes": (2, 4, 6, 8), "local_heads": 8,
              "local_head_dim": 64, "positions": 6750, "depth": 2, "heads": 4, "head_dim": 256,
              "feed_forward_dim": 1024, "classifier_dim": 32, "dropout": 0.5, "classifier_dropout": 0.7,
              "num_segments": 64, "history": 3,
              "label_threshold": 0.25, "variance_threshold": 0.4, "warm_up": 1000},
    "vadclip": {"feature_dim": 512, "max_length": 256, "heads": 1, "depth": 2, "attention_window": 8,
                "classes": ("normal", "abuse", "arrest", "arson", "assault", "burglary", "explosion", "fighting",
                            "roadAccidents", "robbery", "shooting", "shoplifting", "stealing", "vandalism"),
                "categories": (), "token_ids": (), "prompt_prefix": 10, "prompt_postfix": 10, "text_width": 512,
                "text_heads": 8, "text_depth": 12, "vocabulary": 49408, "image_depth": 12, "text": "encoder",
                "score_branch": "classifier", "test_crop": 5, "separation_weight": 0.1},
}
RESULTS = {  # in percent
    "pel4vad": {"ucf-crime": {"auc": 86.76, "ap": 33.99}, "xd-violence": {"ap": 85.59, "auc": 94.94},
                "shanghaitech": {"auc": 98.14, "ap": 72.56}},
    "ar-net": {"shanghaitech": {"auc": 91.24}},
    "bn-wvad": {"xd-violence": {"auc": 94.71, "auc_sub": 83.59, "ap": 84.93, "ap_sub": 85.45}},
    "clip-tsa": {"ucf-crime": {"auc": 87.58}, "shanghaitech": {"auc": 98.32}, "xd-violence": {"ap": 82.19}},
    "deep-mil": {"ucf-crime": {"auc": 75.41}},
    "mgfn": {"ucf-crime": {"auc": 86.98}, "xd-violence": {"ap": 80.11}},
    "rtfm": {"ucf-crime": {"auc": 84.30}, "shanghaitech": {"auc": 97.21}, "xd-violence": {"ap": 77.81}},
    "s3r": {"ucf-crime": {"auc": 85.99}, "shanghaitech": {"auc": 97.48}, "xd-violence": {"ap": 80.26}},
    "saa": {"ucf-crime": {"auc": 86.19}, "xd-violence": {"ap": 83.59}},
    "ssrl": {"ucf-crime": {"auc": 87.43}, "shanghaitech": {"auc": 97.98}},
    "ur-dmu": {"ucf-crime": {"auc": 86.97}, "xd-violence": {"ap": 81.66}},
    "adplg": {},
    "vadclip": {"ucf-crime": {"auc": 88.02}, "xd-violence": {"ap": 84.51}},
}


def published(method: str, dataset: str) -> Resolved:
    spec = specification(method)
    return resolve(spec.RECIPES[dataset], spec.Config, {}, method)


def test_every_published_recipe_is_pinned():
    found = {(method, dataset) for method in wv.list_methods() for dataset in specification(method).RECIPES}
    assert {(method, dataset) for method, dataset in found if dataset != "demo"} == set(RECIPES)
    assert {method for method, _ in RECIPES} == set(DEFAULTS) == set(RESULTS) >= set(CHOSEN)


@pytest.mark.parametrize("method, dataset", RECIPES)
def test_recipe(method, dataset):
    recipe = published(method, dataset).recipe
    expected = COMMON | RECIPES[method, dataset]
    if method == "adplg":
        expected |= {"groups": (Group("video.", 1e-4, 1.0, 1, 0),
                                Group("snippet.", 1e-3, 0.9, 4000, ADPLG_LABELS[dataset][3]))}
    assert {name: getattr(recipe, name) for name in expected} == expected


@pytest.mark.parametrize("method, dataset", RECIPES)
def test_settings_of_a_recipe(method, dataset):
    config, expected = published(method, dataset).config.as_dict(), DEFAULTS[method] | OTHER_SETTINGS.get((method, dataset), {})
    if method == "adplg":
        names = "label_threshold", "variance_threshold", "history", "warm_up"
        expected = expected | dict(zip(names, ADPLG_LABELS[dataset]))
    if method == "clip-tsa":
        expected = expected | {"k": CLIP_TSA_K[dataset]}
    if method == "deep-mil":
        expected = expected | {"normalise": True}
    assert config == expected


@pytest.mark.parametrize("method", DEFAULTS)
def test_default_settings(method):
    assert specification(method).Config().as_dict() == DEFAULTS[method]


@pytest.mark.parametrize("method", RESULTS)
def test_published_results(method):
    assert specification(method).PAPER.results == RESULTS[method]


def test_a_recipe_left_to_itself_is_adam_without_clipping():
    plain = Recipe(segments=1, videos=1, steps=1)
    assert {name: getattr(plain, name) for name in COMMON} == COMMON
    assert (plain.learning_rate, plain.weight_decay) == (1e-4, 5e-5)


def test_rates_of_adplg_over_its_20000_steps():
    """The snippet branch begins after the warm-up; its rate falls to 0.9 of itself every 4000 steps of its own."""
    recipe = published("adplg", "ucf-crime").recipe
    assert [recipe.rates(step)[2] for step in (1, 1000)] == [None, None]
    for step, rate in ((1001, 1e-3), (5000, 1e-3), (5001, 9e-4), (9001, 8.1e-4), (20000, 6.561e-4)):
        assert recipe.rates(step)[1:] == [1e-4, pytest.approx(rate, rel=1e-12)]
    assert recipe.grouped(["video.q.weight", "snippet.norm.bias"]) == [[], ["video.q.weight"], ["snippet.norm.bias"]]


@pytest.mark.parametrize("method, config, count, arguments, expected", [
    ("ur-dmu", {}, "largest", (60,), 4), ("ur-dmu", {}, "largest", (200,), 13), ("ur-dmu", {}, "largest", (15,), 1),
    ("ur-dmu", {"k": 1}, "largest", (3,), 3),                                     # n // 16 + 1, at most all
    ("rtfm", {}, "selected", (32,), 3), ("rtfm", {}, "selected", (2,), 2), ("s3r", {}, "selected", (32,), 3),
    ("clip-tsa", {}, "selected", (32,), 3), ("clip-tsa", {}, "attended", (32,), 30),
    ("clip-tsa", {}, "attended", (20,), 19),                                      # 18 with a k in float32
    ("clip-tsa", {"k": 0.9}, "attended", (32,), 28), ("clip-tsa", {"k": 0.01}, "attended", (32,), 1),
    ("clip-tsa", {"k": 0.01}, "attended", (299,), 2), ("clip-tsa", {"k": 2}, "attended", (7,), 7),
    ("clip-tsa", {}, "attended_in_scoring", (1, 1052), 999), ("clip-tsa", {}, "attended_in_scoring", (1, 1080), 1000),
    ("clip-tsa", {}, "attended_in_scoring", (2, 1080), 1026),
    ("clip-tsa", {"projection": True, "feature_dim": 2048}, "attended_in_scoring", (2, 1080), 1000),
    ("rtfm", {"num_segments": 9}, "selected", (9,), 1), ("ssrl", {"num_segments": 199}, "selected", (199,), 19)])
def test_how_many_snippets_stand_for_a_video(method, config, count, arguments, expected):
    assert getattr(specification(method).Config(**config), count)(*arguments) == expected


@pytest.mark.parametrize("segments, expected", [(300, 37), (40, 5), (7, 1)])
def test_how_many_activations_of_a_class_are_averaged(segments, expected):
    assert specification("ar-net").Config(variant="bas", num_segments=segments).highest == expected


def test_rates_of_a_cosine_that_is_stepped_after_each_epoch():
    """The first epoch at 5e-4, the 50th, with 10 more to go, at 5e-4 (1 + cos(49 pi / 60)) / 2; an epoch of 16 100 items,
    128 a step, has 126 steps, of which the last has 100 items."""
    recipe = published("pel4vad", "ucf-crime").recipe
    for step, epochs in ((1, 0), (126, 0), (127, 1), (252, 1), (49 * 126, 48), (50 * 126, 49)):
        assert recipe.rates(step) == [pytest.approx(5e-4 * (1 + math.cos(math.pi * epochs / 60)) / 2, rel=1e-12)]
    sizes = [len(DRAWS[recipe.draw]([np.arange(16100)], recipe.videos, step, 0)[0]) for step in (0, 124, 125, 126)]
    assert sizes == [128, 128, 100, 128] and recipe.steps == 50 * 126
