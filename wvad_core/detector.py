"""A detector: a method, its configuration, and a network on a backend."""
from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from .backend import Backend, find_backend
from .blocks import tensors
from .blocks.configuration import PUBLISHED_CROPS, Config
from .checkpoints import formats
from .checkpoints.assumed import Assumed
from .checkpoints.contents import describe
from .checkpoints.threshold import Threshold
from .data.arrays import as_features
from .data.batches import Batch
from .errors import Failure, InputError
from .origin import Origin
from .registry import classes_of, memory_state, restore_memory, specification

Array = np.ndarray
C = TypeVar("C", bound=Config, covariant=True)
MOST = 1 << 16
"""Snippets, those of each crop counted, that a network scores at once: of ten crops 70 minutes. What it computes of more would fill
the memory."""


@dataclass(frozen=True, eq=False, repr=False)
class Detector(Generic[C]):
    """What `create`, `load` and `from_published` make. `network` is the framework's own module.

    It can be copied (`copy.deepcopy`, with whatever was done to the network) and pickled, for process pools: its weights
    travel, what training remembers and the random state with them, and a network is built of them on the same backend
    and device, in evaluation mode. `Detector[Config]`, of the Config in a method's module, is the type of that method's detectors.

    later: how many of the patches at the end of the features' crop axis are for later stages of training; they are dropped.
    crops: how many crops videos have, where that is known: any other number is an error. Where it is not, a number that is
        not from 1 to 10 is (`Config.crops_of`); `dataclasses.replace(detector, crops=20)` takes more.
    assumed: what the file that it was loaded from does not say.
    threshold: from which score on it raises an alarm, and what that is known from; None where that is not known (`wvad calibrate`).
    origin: what the features are made by that it was trained on; None where that is not known.
    """
    method: str
    config: C
    backend_name: str
    backend: Backend
    network: Any
    precision: str = "float32"
    later: int = 0
    crops: int | None = None
    assumed: Assumed = Assumed()
    threshold: Threshold | None = None
    origin: Origin | None = None

    @property
    def name(self) -> str:
        """The method's name, as of every model."""
        return self.method

    def __repr__(self) -> str:
        """<Detector METHOD on BACKEND, DEVICE, PRECISION: settings that are not as published; how many parameters>."""
        defaults = specification(self.method).Config()
        settings = [f"{field.name}={value!r}" for field in fields(self.config)
                    if (value := getattr(self.config, field.name)) != getattr(defaults, field.name)]
        size = tensors.learned(specification(self.method).parameters(self.config))
        return (f"<Detector {self.method} on {self.backend_name}, {self.backend.device(self.network)}, {self.precision}: "
                f"{', '.join(settings) or 'settings as published'}; {size:,} parameters>")

    def __deepcopy__(self, memo: dict[int, Any]) -> Detector[C]:
        return replace(self, network=copy.deepcopy(self.network, memo))

    def __reduce__(self) -> tuple[Any, ...]:
        built = (self.method, self.config, self.weights(), self.backend_name, self.backend.device(self.network),
                 self.precision)
        rest = {name: getattr(self, name) for name in ("later", "crops", "assumed", "threshold", "origin")}
        return _unpickled, (built, rest, self.backend.random_state(self.network), memory_state(self.network.memory))

    def score(self, features: Any, raw: bool = False) -> Array:
        """Anomaly scores of one video: (T, D) or (N, T, D), N crops -> (T,) float32, one score for 16 frames.

        raw: without what the method does to the scores at last, such as smoothing (`postprocess` of its specification).
        Numbers of any type are taken; an array of float64 gives float64 scores on the NumPy backend. Raises InputError for
        what are no finite numbers, a D that is not the configuration's, and a wrong number on the crop axis; what looks
        like (T, N, D) is told so.
        """
        (scores,) = self._over_crops(lambda *given: (self.backend.score(*given),), features)
        return scores if raw else self.postprocess(scores)

    def postprocess(self, scores: Array) -> Array:
        """What the method makes of a video's raw scores (T,) at last, such as smoothed ones; by most methods they stay."""
        made = np.asarray(specification(self.method).postprocess(scores, self.config), scores.dtype)
        if made.shape != scores.shape:
            raise Failure(f"{self.method}: scores {scores.shape} became {made.shape} by its post-processing, expected as many")
        return made

    @property
    def classes(self) -> tuple[str, ...]:
        """The categories that the method knows, as tables name them; () where it knows none."""
        return classes_of(self.config)

    def classify(self, features: Any) -> Array:
        """Class probabilities of one video: (T, D) or (N, T, D) -> (T, K) float32, averaged over crops; columns as `classes`.

        Features are taken, and refused, as by `score`. Raises InputError where the method tells no classes apart.
        """
        self._check_classifies()
        return self._over_crops(lambda *given: (self.backend.classify(*given),), features)[0]

    def score_and_classify(self, features: Any, raw: bool = False) -> tuple[Array, Array]:
        """What `score` and what `classify` give of one video; the features pass the network once where the method does both."""
        self._check_classifies()
        scores, probabilities = self._over_crops(self.backend.score_and_classify, features)
        return scores if raw else self.postprocess(scores), probabilities

    def _over_crops(self, compute: Callable[[Any, Array], tuple[Array, ...]], features: Any) -> tuple[Array, ...]:
        """What a backend computes of features as `score` takes them: of a long video some crops at a time, of which this is the mean."""
        features = self._prepared(features)
        step = len(features) if self.config.crops_together else max(1, MOST // features.shape[1])
        parts = [features[start:start + step] for start in range(0, len(features), step)]
        if len(parts) == 1:
            return compute(self.network, features)
        means = [[value * len(part) for value in compute(self.network, part)] for part in parts]
        return tuple(np.sum(values, axis=0, dtype=values[0].dtype) / len(features) for values in zip(*means))

    def _check_classifies(self) -> None:
        if specification(self.method).classify is None:
            raise InputError(f"{self.method} tells no classes of anomalies apart, it only scores; expected another method")

    def _prepared(self, features: Any) -> Array:
        """The features (N, T, D) that the network takes of a video. Raises InputError for others."""
        features = as_features(features)
        self._check_width(features)
        try:
            self.config.crops_of(len(features) - self.later, self.crops)
        except InputError as error:
            raise InputError(f"features of shape {features.shape}: {error}{self._axes(features.shape)}") from None
        return features[:len(features) - self.later]

    def weights(self) -> dict[str, Array]:
        """{canonical name: array}, every tensor of the network, running statistics included."""
        return self.backend.weights(self.network)

    def losses(self, batch: Batch, deterministic: bool = False) -> dict[str, float]:
        """{"total": ..., term: ...} of a training batch, in training mode.

        deterministic: without dropout and sampling noise. The network stays as it is, its running statistics, memory and
        random state too: a second call gives the same. `network.losses(batch)` moves them, as training does.
        """
        self._check_batch(batch.features)
        return self.backend.losses(self.network, batch, deterministic)

    def gradients(self, batch: Batch, deterministic: bool = False) -> dict[str, Array]:
        """{canonical name: gradient of the total loss}, in training mode as `losses`; of parts that the method itself keeps from
        having one, zeros. The NumPy backend has none."""
        self._check_batch(batch.features)
        found = self.backend.gradients(self.network, batch, deterministic)
        parameters = specification(self.method).parameters(self.config)
        return {name: found[name] if name in found else np.zeros(p.shape, p.dtype) for name, p in parameters.items() if p.trained}

    def deployed(self) -> Detector[C]:
        """A detector that scores and classifies alike with fewer tensors, where the method has some that training alone takes;
        else this one. It may not train any further."""
        weights, config = specification(self.method).deployed(self.weights(), self.config)
        if config == self.config:
            return self
        return self._rebuilt(config, weights)

    def _rebuilt(self, config: Any, weights: Mapping[str, Array]) -> Detector[C]:
        """The same on the same device, in another configuration with these weights."""
        network = self.backend.build(self.method, config, weights, self.backend.device(self.network), self.precision)
        return replace(self, config=config, network=network)

    def save(self, path: str | Path) -> None:
        """Write the weights, with method and configuration, as one file that `load` reads on any backend.

        The suffix names the format: .safetensors; .pt, .pth, .pkl (PyTorch); .ckpt (MindSpore). Raises InputError for any
        other, before anything is written.
        """
        kind = formats.by_suffix(Path(path))
        kind.write(Path(path), describe(self.weights(), self.method, self.config.as_dict(), self.assumed, self.threshold,
                                        self.origin))

    def _check_batch(self, features: Array) -> None:
        self._check_width(features)
        try:
            self.config.crops_of(features.shape[1] if features.ndim == 4 else 1, self.crops)
        except InputError as error:
            raise InputError(f"batch features of shape {features.shape}: {error}") from None

    def _axes(self, shape: tuple[int, ...]) -> str:
        """A hint for features (N, T, D) with a wrong N."""
        if shape[1] - self.config.patches - self.later in PUBLISHED_CROPS and shape[0] > shape[1]:
            return "; they look like (T, N, D), wvad_core.data.read_features(path) gives (N, T, D)"
        return ""

    def _check_width(self, features: Array) -> None:
        if features.shape[-1] != self.config.feature_dim:
            raise InputError(f"features have D = {features.shape[-1]}, this {self.method} detector takes "
                             f"D = {self.config.feature_dim}")


def with_settings(detector: Detector[C], settings: Mapping[str, Any]) -> Detector[C]:
    """A detector of the same weights whose configuration has other settings, which change no tensor.

    Itself, where it has these already. Raises InputError for weights that the configuration would have otherwise.
    """
    config = replace(detector.config, **settings)
    if config == detector.config:
        return detector
    weights = detector.weights()
    tensors.check(weights, specification(detector.method).parameters(config), f"weights with {', '.join(settings)} changed")
    return detector._rebuilt(config, weights)


def _unpickled(built: tuple[Any, ...], rest: Mapping[str, Any], random: Any, memory: Mapping[str, Array]) -> Detector[Any]:
    """A detector of what its `__reduce__` gave. Raises InputError where its backend or its device is not there."""
    made = replace(from_weights(*built), **rest)
    made.backend.set_random_state(made.network, random)
    restore_memory(made.network.memory, memory)
    return made


def from_weights(method: str, config: Config, weights: Mapping[str, Array], backend: str = "numpy", device: str = "auto",
                 precision: str = "float32", seed: int = 0) -> Detector[Any]:
    """A detector with these weights, {canonical name: array}, all of them in their shapes."""
    found = find_backend(backend)
    network = found.build(method, config, weights, device, precision, seed)
    return Detector(method, config, backend, found, network, precision)
