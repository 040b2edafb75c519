"""Fresh weights: each tensor's law, by PyTorch's defaults and the methods' own starts, written down a second time."""
import math

import numpy as np
import pytest
from scipy import stats

import wvad_core as wv

XAVIER = {"rtfm": ("classifier.",), "saa": ("classifier.",), "ssrl": ("classifier.",), "s3r": ("",),
          "clip-tsa": ("attention.", "aggregate.", "classifier.")}
"""Parts of uniform weights by Xavier, and zero biases."""
CONFIGS = [(method, {}) for method in ("saa", "ur-dmu")] + [
    ("bn-wvad", {"feature_dim": 64, "channels": 64, "depth": 1, "kernel_sizes": (3, 1, 1), "ratios": (2, 4)}),
    ("mgfn", {"feature_dim": 64, "channels": (16, 32), "depths": (1, 2), "blocks": ("glance", "focus"), "head_dim": 8}),
    ("clip-tsa", {"feature_dim": 136, "projection": True, "projection_dims": (72, 64)}),
    ("rtfm", {"feature_dim": 128}), ("s3r", {"feature_dim": 128, "atoms": 30}), ("ssrl", {"feature_dim": 64, "hidden_dims": (16, 8)}),
    ("adplg", {"feature_dim": 64, "channels": 64, "positions": 70}),
    *(("ar-net", {"feature_dim": 64, "variant": variant}) for variant in ("single", "sequence", "lstm", "bas"))]


def bound(method: str, name: str, shapes: dict) -> float:
    """The tensor is uniform in [-bound, bound]; with 0 it is constant."""
    module, _, kind = name.rpartition(".")
    shape, last = shapes[f"{module}.weight"] if f"{module}.weight" in shapes else shapes[name], module.split(".")[-1]
    if kind in ("running_mean", "running_var", "num_batches_tracked") or last in ("norm", "bn1", "bn2"):
        return 0
    if name == "dictionary":
        return 1
    if module.startswith(XAVIER.get(method, ())):
        return math.sqrt(6 / (sum(shape[:2]) * math.prod(shape[2:]))) if kind == "weight" else 0
    if last == "position":
        return math.sqrt(3)  # of variance 1
    return 1 / math.sqrt(64 if kind.endswith("_l0") else math.prod(shape[1:]))


def constant(name: str) -> float:
    """1 for scales and running variances, but for the scale of a non-local block, which so starts as the identity."""
    return float(name.endswith(("norm.weight", "bn1.weight", "bn2.weight", "running_var")) and "non_local" not in name
                 or name.endswith("non_local.norm.running_var"))


@pytest.mark.parametrize("method, config", CONFIGS)
def test_law_of_every_tensor(method, config):
    weights = wv.create(method, seed=5, **config).weights()
    shapes = {name: value.shape for name, value in weights.items()}
    for name, value in weights.items():
        limit = bound(method, name, shapes)
        if not limit:
            assert (value == constant(name)).all(), name
            continue
        assert value.dtype == np.float32 and np.abs(value).max() <= np.float32(limit), name
        if value.size > 30:
            some = np.random.default_rng(0).permutation(value.ravel())[:20000].astype(np.float64)
            assert stats.kstest(some / limit, stats.uniform(-1, 2).cdf).pvalue > 1e-5, name


def test_tensors_and_seeds_are_drawn_apart():
    first, second = (wv.create("ur-dmu", seed=seed).weights() for seed in (0, 1))
    drawn = [value.ravel()[:5000] for weights in (first, second) for value in weights.values() if value.size >= 5000]
    related = np.abs(np.corrcoef(drawn)) > 0.1
    assert len(drawn) >= 20 and np.array_equal(related, np.eye(len(drawn), dtype=bool))
    again = wv.create("ur-dmu", seed=1).weights()
    assert all(np.array_equal(again[name], value) for name, value in second.items())
