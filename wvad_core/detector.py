"""A detector: a method, its configuration, and a network on a backend."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import parameters
from .backend import Backend
from .backend import backend as find_backend
from .checkpoints import safetensors
from .configuration import Config, configure
from .data.batches import Batch
from .errors import InputError, listing
from .methods import Published, names, specification

Array = np.ndarray


@dataclass(frozen=True)
class Detector:
    """What `create`, `load` and `from_published` make. `network` is the framework's own module."""
    method: str
    config: Config
    backend_name: str
    backend: Backend
    network: Any
    precision: str = "float32"

    def score(self, features: Array) -> Array:
        """Anomaly scores of one video: (T, D) or (N, T, D), N crops -> (T,) float32, one score for 16 frames.

        float64 features give float64 scores on the NumPy backend.
        """
        features = np.asarray(features)
        if features.ndim == 2:
            features = features[None]
        if features.ndim != 3 or 0 in features.shape:
            raise InputError(f"features of shape {features.shape}: expected (T, D) or (crops, T, D)")
        self._check_width(features)
        return self.backend.score(self.network, features)

    def weights(self) -> dict[str, Array]:
        """{canonical name: array}, every tensor of the network, running statistics included."""
        return self.backend.weights(self.network)

    def losses(self, batch: Batch, deterministic: bool = False) -> dict[str, float]:
        """{"total": ..., term: ...} of a training batch, in training mode: BatchNorm's running statistics move.

        deterministic: without dropout and sampling noise.
        """
        self._check_width(batch.features)
        return self.backend.losses(self.network, batch, deterministic)

    def gradients(self, batch: Batch, deterministic: bool = False) -> dict[str, Array]:
        """{canonical name: gradient of the total loss}, in training mode as `losses`. The NumPy backend has none."""
        self._check_width(batch.features)
        return self.backend.gradients(self.network, batch, deterministic)

    def save(self, path: str | Path) -> None:
        """Write the weights as one safetensors file that `load` reads on any backend."""
        safetensors.write(path, self.weights(), self.method, self.config.as_dict())

    def _check_width(self, features: Array) -> None:
        if features.shape[-1] != self.config.feature_dim:
            raise InputError(f"features have D = {features.shape[-1]}, this {self.method} detector takes "
                             f"D = {self.config.feature_dim}")


def create(method: str, backend: str = "numpy", device: str = "auto", precision: str = "float32", seed: int = 0,
           **config: Any) -> Detector:
    """A detector with fresh weights, the same for a seed on every backend."""
    spec = specification(method)
    configured = configure(spec.Config, config, method)
    weights = parameters.draw(spec.parameters(configured), seed)
    return from_weights(method, configured, weights, backend, device, precision, seed)


def load(path: str | Path, backend: str = "numpy", device: str = "auto", precision: str = "float32", seed: int = 0,
         method: str | None = None) -> Detector:
    """A detector from a checkpoint; with `method`, one of another method is an error."""
    found, config, weights = safetensors.read(path)
    if method not in (None, found):
        raise InputError(f"{path}: a checkpoint of method {found}, expected {method}")
    if found not in names():
        raise InputError(f"{path}: a checkpoint of method {found}, expected one of {', '.join(names())}")
    spec = specification(found)
    configured = configure(spec.Config, config, f"{path}: {found}")
    parameters.check(weights, spec.parameters(configured), str(path))
    return from_weights(found, configured, weights, backend, device, precision, seed)


def from_published(method: str, state: Mapping[str, Array], backend: str = "numpy", device: str = "auto",
                   precision: str = "float32", seed: int = 0, **config: Any) -> Detector:
    """A detector from the tensors of a published checkpoint, {published name: array}.

    A tensor whose sizes agree once axes of length 1 are dropped (MindSpore's (out, in, 1, k) kernels) is taken.
    Where a method's parts are published in files of their own, `state` may hold one of them or several; a part that
    it does not hold keeps fresh weights, drawn from `seed`.
    """
    spec = specification(method)
    configured = configure(spec.Config, config, method)
    wanted = spec.parameters(configured)
    weights = canonical(state, spec.published(configured), wanted, seed)
    parameters.check(weights, wanted, f"published {method} checkpoint")
    return from_weights(method, configured, weights, backend, device, precision, seed)


def published_names(method: str, **config: Any) -> dict[str, str]:
    """{tensor name in a published checkpoint: canonical name}, one to one."""
    spec = specification(method)
    return dict(spec.published(configure(spec.Config, config, method)).names)


def canonical(state: Mapping[str, Array], published: Published, wanted: Mapping[str, parameters.Parameter],
              seed: int = 0) -> dict[str, Array]:
    """Rename published tensors; what a release may lack becomes zeros, a part that is not there fresh weights.

    Raises InputError for an unknown name.
    """
    used = {n: v for n, v in state.items() if n not in published.unused}
    unknown = [f"unexpected tensor {n} {np.shape(v)}" for n, v in used.items() if n not in published.names]
    if unknown:
        raise InputError(f"published checkpoint: {listing(unknown)}")
    absent = {c for n, c in published.names.items() if n in published.optional} | {
        c for c in wanted if c.endswith(parameters.COUNTER)}
    weights = {c: np.zeros(wanted[c].shape, wanted[c].dtype) for c in absent}
    here = [part for part in published.parts if any(published.names[n].startswith(part) for n in used)]
    fresh = tuple(part for part in published.parts if here and part not in here)
    weights |= parameters.draw({c: p for c, p in wanted.items() if c.startswith(fresh)}, seed)
    for name, value in used.items():
        target, value = published.names[name], np.asarray(value)
        same = _squeezed(value.shape) == _squeezed(wanted[target].shape)
        weights[target] = value.reshape(wanted[target].shape) if same else value
    return weights


def _squeezed(shape: tuple[int, ...]) -> list[int]:
    return [size for size in shape if size != 1]


def from_weights(method: str, config: Config, weights: Mapping[str, Array], backend: str = "numpy", device: str = "auto",
                 precision: str = "float32", seed: int = 0) -> Detector:
    """A detector with these weights, {canonical name: array}, all of them in their shapes."""
    found = find_backend(backend)
    network = found.build(method, config, weights, device, precision, seed)
    return Detector(method, config, backend, found, network, precision)
