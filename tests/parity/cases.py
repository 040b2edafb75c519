"""The table that all parity tests run over: small random configurations of every method, lengths, crops."""
from __future__ import annotations

import devices
import numpy as np

import wvad_core as wv
from wvad_core.backend import find_backend
from wvad_core.registry import specification

CONFIGS = {
    "ar-net": [
        {"variant": "single", "feature_dim": 16},
        {"variant": "mean", "feature_dim": 24, "k": 3, "dropout": 0.2, "center_weight": 1000},
        {"variant": "sequence", "feature_dim": 40},
        {"variant": "concatenate", "feature_dim": 16, "k": 7},
        {"variant": "lstm", "feature_dim": 24, "center_weight": 100},
        {"variant": "bas", "feature_dim": 16, "classes": 2, "num_segments": 40, "filter_dim": 12, "cas_dim": 20,
         "leaky_slope": 0.1, "norm_weight": 0.1},
    ],
    "bn-wvad": [
        {"feature_dim": 24, "channels": 32, "depth": 2, "heads": 2, "head_dim": 8, "feed_forward_dim": 16, "ratios": (4, 8)},
        {"feature_dim": 16, "channels": 48, "depth": 1, "heads": 3, "head_dim": 16, "feed_forward_dim": 40,
         "ratios": (6, 4), "kernel_sizes": (3, 3, 5), "ratio_sample": 0.1, "ratio_batch": 0.3, "margin": 2.0},
    ],
    "clip-tsa": [
        {"feature_dim": 16, "hidden_dims": (12, 6), "scorer_dim": 12, "k": 0.7, "num_samples": 4},
        {"feature_dim": 40, "projection": True, "projection_dims": (24, 16), "hidden_dims": (8, 8), "scorer_dim": 8, "k": 0.4,
         "num_samples": 3, "sigma": 0.3, "num_segments": 5, "dropout": 0.3, "margin": 7.0,
         "magnitude_weight": 0.01, "smooth_weight": 0.2, "sparsity_weight": 0.3},
    ],
    "deep-mil": [
        {"feature_dim": 16, "hidden_dims": (12, 6)},
        {"feature_dim": 24, "hidden_dims": (8, 4), "num_segments": 20, "dropout": 0.3, "margin": 0.1, "smooth_weight": 0.1,
         "sparsity_weight": 0.01, "norm_weight": 0.1, "normalise": True},
    ],
    "mgfn": [
        {"feature_dim": 16, "channels": (8, 16), "depths": (1, 1), "blocks": ("glance", "focus"), "head_dim": 4, "expansion": 2},
        {"feature_dim": 24, "channels": (8, 12), "depths": (1, 2), "blocks": ("focus", "glance"), "head_dim": 2, "kernel_size": 3,
         "magnitude_ratio": 0.3, "dropout": 0.3, "k": 2, "margin": 8, "contrast_weight": 0.1, "magnitude_weight": 0.5,
         "smooth_weight": 0.1, "sparsity_weight": 0.2},
    ],
    # The power norm has a derivative of 1 / (2 sqrt|y|): of this size, no y of these batches is too near to 0 for float32.
    "pel4vad": [
        {"feature_dim": 16, "attention_dim": 4, "channels": 7},
        {"feature_dim": 24, "attention_dim": 8, "channels": 6, "window_size": 4, "kernel_size": 3, "power_norm": False,
         "gamma": 0.06, "bias": 0.02, "temperature": 0.2, "dropout": 0.3, "k": 4, "prompt_weight": 3,
         "categories": ("Normal", "Fight", "Riot"), "texts": "first", "smoothing": "fixed", "smoothing_window": 4},
    ],
    "rtfm": [
        {"feature_dim": 16, "hidden_dims": (12, 6)},
        {"feature_dim": 40, "hidden_dims": (8, 8), "num_segments": 5, "dropout": 0.3, "margin": 7.0,
         "magnitude_weight": 0.1, "smooth_weight": 0.2, "sparsity_weight": 0.3},
    ],
    "s3r": [
        {"feature_dim": 32, "atoms": 5},
        {"feature_dim": 64, "atoms": 3, "norm_groups": 4, "num_segments": 5, "dropout": 0.3, "margin": 7.0, "magnitude_weight": 0.1,
         "smooth_weight": 0.2, "sparsity_weight": 0.3, "macro_weight": 0.4},
    ],
    "saa": [
        {"feature_dim": 16, "attention_dim": 12, "hidden_dims": (20, 10)},
        {"feature_dim": 40, "attention_dim": 24, "hidden_dims": (8, 8), "k": 4, "guide_steps": 1, "suppression": 0.5},
    ],
    "ssrl": [
        {"feature_dim": 16, "stage": 1, "hidden_dims": (12, 6)},
        {"feature_dim": 24, "stage": 2, "patch_sizes": (34, 23), "hidden_dims": (10, 10), "num_segments": 70},
        {"feature_dim": 16, "hidden_dims": (8, 6), "dropout": 0.3, "margin": 7.0, "magnitude_weight": 0.005,
         "smooth_weight": 0.01, "sparsity_weight": 0.02},
    ],
    "ur-dmu": [
        {"feature_dim": 16, "channels": 24, "depth": 1, "heads": 2, "head_dim": 8, "feed_forward_dim": 20,
         "abnormal_memory": 5, "normal_memory": 7, "hidden_dim": 9, "k": 3, "kl_weight": 1, "distance_weight": 0.5},
        {"feature_dim": 24, "channels": 16, "depth": 2, "heads": 3, "head_dim": 8, "feed_forward_dim": 16,
         "abnormal_memory": 20, "normal_memory": 17, "hidden_dim": 11, "dropout": 0.2, "margin": 0.1,
         "distance_margin": 2.0, "attention_weight": 0.5, "triplet_weight": 0.7, "kl_weight": 0.1, "distance_weight": 0.3},
    ],
    # Labels hang on thresholds of float32 attentions: in these batches no normalised mean or variance comes nearer to
    # one than 5e-5, so that rounding flips no label. 10000 positions, for the export with so many snippets.
    "adplg": [
        {"feature_dim": 16, "hidden": 12, "channels": 24, "local_heads": 2, "local_head_dim": 8, "positions": 10000,
         "depth": 1, "heads": 2, "head_dim": 8, "feed_forward_dim": 20, "classifier_dim": 8, "history": 2, "warm_up": 0},
        {"feature_dim": 24, "hidden": 16, "channels": 32, "window_sizes": (3, 20), "local_heads": 3, "local_head_dim": 6,
         "positions": 10000, "depth": 2, "heads": 1, "head_dim": 16, "feed_forward_dim": 16, "classifier_dim": 12,
         "history": 3, "label_threshold": 0.15, "variance_threshold": 0.5, "warm_up": 1},
    ],
    "vadclip": [
        {"feature_dim": 40, "max_length": 16, "depth": 1, "classes": ("normal", "abuse", "car accident"), "test_crop": 0,
         "text_width": 8, "text_heads": 1, "text_depth": 1},
        {"feature_dim": 24, "max_length": 24, "depth": 2, "heads": 3, "attention_window": 6, "classes": ("normal", "riot"),
         "prompt_prefix": 0, "prompt_postfix": 3, "text_width": 16, "text_heads": 2, "text_depth": 2,
         "score_branch": "alignment", "test_crop": 1, "separation_weight": 0.5},
    ],
}
WITHOUT_PUBLISHED_GRADIENTS = [
    # the golden case of an LSTM has other gradients than its losses', that of BaS-Net none
    ("ar-net", {"variant": "lstm", "feature_dim": 16}),
    ("ar-net", {"variant": "bas", "feature_dim": 16, "classes": 2, "num_segments": 40, "filter_dim": 12, "cas_dim": 20}),
    # the target of a term carries no gradient: one step brings the network to those in which it does not move
    ("saa", {"feature_dim": 16, "attention_dim": 12, "hidden_dims": (20, 10), "guide_steps": 1}),
]
PAIRS_OF_CROPS = {"mgfn": 3}
"""{method whose losses compare two crops of a video, and so take an even number: the fewest snippets that they take}."""

COMPANIONS = {"prompts": lambda made, count: (count, made.feature_dim // 2)}
"""{companion of a batch: its shape for a configuration with so many classes}."""
NETWORKS = [(method, config) for method in CONFIGS for config in CONFIGS[method]]
LENGTHS_AND_CROPS = [(1, 1), (1, 10), (2, 5), (7, 1), (64, 10), (65, 1), (130, 5), (400, 2)]
"""Of one snippet; shorter than kernels and windows, and longer; on the edge of blocks and beyond it."""


def detector(method: str, config: dict, backend: str, seed: int = 3) -> wv.Detector:
    """A network with random values in every tensor, not only where fresh ones are random: the same on every backend."""
    made = wv.create(method, backend="numpy", **config)
    rng = np.random.default_rng(seed)
    weights = {name: perturbed(name, value, rng) for name, value in made.weights().items()}
    found = find_backend(backend)
    network = found.build(method, made.config, weights, devices.of(backend), "float32", 0)
    return wv.Detector(method, made.config, backend, found, network)


def perturbed(name: str, value: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if value.dtype != np.float32:
        return value
    noise = np.asarray(rng.standard_normal(value.shape), np.float32)
    return 0.5 + noise**2 if name.endswith("running_var") else np.asarray(value + np.float32(0.1) * noise)


def video(method: str, config: dict, steps: int, crops: int = 1, seed: int = 0) -> np.ndarray:
    """(N, T, D), non-negative and sparse as pooled activations are: `crops`, and the patches that the method takes."""
    made = specification(method).Config(**config)
    return activations((crops + made.patches, steps, made.feature_dim), seed)


def items(method: str, config: dict, steps: int, crops: int = 1) -> np.ndarray:
    """A video as `network(features)` takes it: crops as items, or crops and patches as one."""
    features = video(method, config, steps, crops)
    return features[None] if specification(method).Config.crops_together else features


def batch(method: str, config: dict, steps: int, videos: int = 3, crops: int | None = None, seed: int = 0) -> wv.Batch:
    """`videos` normal and as many abnormal videos, in mixed order and of different magnitude.

    Where the method takes single features, or videos in any order, they are padded with zeros from some length on. Where it has
    classes, some abnormal videos are of two.
    """
    made = specification(method).Config(**config)
    if method in PAIRS_OF_CROPS:
        steps, crops = max(steps, PAIRS_OF_CROPS[method]), -(-(crops or 1) // 2) * 2
    rng = np.random.default_rng([seed, steps, videos])
    shape = (2 * videos, steps, made.feature_dim)
    if crops is not None or made.patches:
        shape = (2 * videos, (crops or 1) + made.patches, *shape[1:])
    features = activations(shape, seed) * rng.uniform(0.3, 2, (2 * videos,) + (1,) * (len(shape) - 1))
    if made.layout == "single" or not made.halves:
        lengths = rng.integers(1, steps, 2 * videos, endpoint=True)
        if not made.halves:
            lengths[0] = steps  # a batch that is cut to its longest stays as it is
        for i, length in enumerate(lengths):
            features[i, ..., length:, :] = 0
    labels = rng.permutation(np.repeat([0, 1], videos))
    return wv.Batch(features.astype(np.float32), labels, videos=rng.permutation(2 * videos),
                    classes=classes(method, made, labels, seed), companions=companions(method, made))


def classes(method: str, made, labels: np.ndarray, seed: int = 0) -> list[tuple[int, ...]] | None:
    """Of each video: (0,) of a normal one, one or two others of an abnormal one; None where the method has no classes."""
    names, rng = specification(method).classes(made), np.random.default_rng([seed, len(labels)])
    if not names:
        return None
    return [tuple(1 + rng.permutation(len(names) - 1)[:1 + i % 2]) if label else (0,) for i, label in enumerate(labels)]


def companions(method: str, made) -> dict[str, np.ndarray]:
    """Of a training set of a method with a configuration; rows are alike, as those of texts are."""
    spec, rng = specification(method), np.random.default_rng(5)
    shapes = {name: COMPANIONS[name](made, len(spec.classes(made))) for name in spec.COMPANIONS
              if name in COMPANIONS}
    return {name: (1 + 0.5 * rng.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}


def activations(shape: tuple[int, ...], seed: int) -> np.ndarray:
    rng = np.random.default_rng([seed, *shape])
    return np.maximum(rng.standard_normal(shape), 0).astype(np.float32)
