"""Reference cases: what the published implementations compute on reproducible weights and inputs.

A case does not store weights. It stores, for every tensor of the published implementation's
checkpoint, its published name and shape; `weight(seed, name, shape)` draws that tensor's values, the
same on every machine (NumPy's frozen legacy generator). Inputs are drawn in the same way by `features`.
The outputs in the case were computed by the published implementation, in float64 where it allows it
(the case's "dtype" says), on exactly these weights and inputs.

    case = load("bn_wvad_eval")
    state = case.weights()            # {published name: float32 array}
    inputs = case.inputs()            # {input name: array}
    case.outputs                      # {output name: float64 array}

Compare with ||a - b|| <= rtol * ||b|| + 1e-12: a bias right before a training-mode BatchNorm has a
gradient of exactly zero, which the stored value gives as rounding noise.
"""
from __future__ import annotations

import json
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent / "golden"
DRAWN: dict[tuple, np.ndarray] = {}
"""Hundreds of megabytes: the tensors of one case, by what they were drawn from."""


def _normal(seed: int, name: str, shape: tuple[int, ...]) -> np.ndarray:
    state = np.random.RandomState(zlib.crc32(f"{seed}:{name}".encode()))
    return state.standard_normal(math.prod(shape)).reshape(shape)


def weight(seed: int, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Draw the float32 tensor that the published checkpoint calls `name`."""
    z = _normal(seed, name, tuple(shape))
    dtype = np.float32
    if name.endswith("num_batches_tracked"):
        value, dtype = np.zeros(shape), np.int64
    elif name.endswith(("running_var", "moving_variance")):
        value = 0.5 + z**2
    elif name.endswith(("running_mean", "moving_mean", "bias", "beta")) or "bias_" in name:
        value = 0.1 * z
    elif len(shape) == 1:
        value = 1.0 + 0.1 * z
    else:
        value = z / math.sqrt(math.prod(shape[1:]))
    value = np.asarray(value, dtype)  # of a scalar tensor a scalar
    value.flags.writeable = False  # cases share it
    return value


def features(seed: int, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Draw float32 snippet features: non-negative and sparse, as pooled I3D activations are."""
    return np.maximum(_normal(seed, name, tuple(shape)), 0).astype(np.float32)


def clips(seed: int, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Draw float32 pixels in [-1, 1], for the inputs of extractors: those called `clip` or `image`."""
    return np.clip(0.5 * _normal(seed, name, tuple(shape)), -1, 1).astype(np.float32)


@dataclass(frozen=True)
class Case:
    name: str
    about: dict
    outputs: dict[str, np.ndarray]

    def weights(self) -> dict[str, np.ndarray]:
        """As drawn; the tensors of the case that was asked for last are kept, so that the next one may have them."""
        keys = {n: (self.about["seed"], n, tuple(s)) for n, s in self.about["weights"]}
        for key in DRAWN.keys() - set(keys.values()):
            del DRAWN[key]
        for key in keys.values():
            if key not in DRAWN:
                DRAWN[key] = weight(*key)
        return {n: DRAWN[key] for n, key in keys.items()}

    def inputs(self) -> dict[str, np.ndarray]:
        """Features as drawn; a case with "scales" multiplies each video of an input by its factor."""
        seed, scales = self.about["seed"], self.about.get("scales", {})
        drawn = {n: (clips if n in ("clip", "image") else features)(seed, n, tuple(s))
                 for n, s in self.about["inputs"].items()}
        for n, factors in scales.items():
            drawn[n] *= np.reshape(np.asarray(factors, np.float32), (-1,) + (1,) * (drawn[n].ndim - 1))
        return drawn


def names(root: Path = ROOT) -> list[str]:
    return sorted(p.stem for p in root.glob("*.json"))


def load(name: str, root: Path = ROOT) -> Case:
    about = json.loads((root / f"{name}.json").read_text())
    with np.load(root / f"{name}.npz", allow_pickle=False) as stored:
        outputs = {k: stored[k] for k in stored.files}
    return Case(name, about, outputs)
