"""A detector: a method, its configuration, and a network on a backend."""
from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from .backend import Backend, export_formats, find_backend, pip_command
from .blocks import tensors
from .blocks.configuration import PUBLISHED_CROPS, Config, configure
from .checkpoints import formats
from .checkpoints.assumed import Assumed
from .checkpoints.contents import completed, describe
from .checkpoints.identification.recognition import Checkpoint, identify, of_published
from .checkpoints.identification.naming import as_computed
from .data.arrays import as_features
from .data.batches import Batch
from .data.companions import read_companions
from .errors import Failure, InputError, one_line
from .files import written_whole
from .registry import classes_of, memory_state, restore_memory, specification

Array = np.ndarray
C = TypeVar("C", bound=Config, covariant=True)


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
        rest = {name: getattr(self, name) for name in ("later", "crops", "assumed")}
        return _unpickled, (built, rest, self.backend.random_state(self.network), memory_state(self.network.memory))

    def score(self, features: Any, raw: bool = False) -> Array:
        """Anomaly scores of one video: (T, D) or (N, T, D), N crops -> (T,) float32, one score for 16 frames.

        raw: without what the method does to the scores at last, such as smoothing (`postprocess` of its specification).
        Numbers of any type are taken; an array of float64 gives float64 scores on the NumPy backend. Raises InputError for
        what are no finite numbers, a D that is not the configuration's, and a wrong number on the crop axis; what looks
        like (T, N, D) is told so.
        """
        scores = self.backend.score(self.network, self._prepared(features))
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
        if specification(self.method).classify is None:
            raise InputError(f"{self.method} tells no classes of anomalies apart, it only scores; expected another method")
        return self.backend.classify(self.network, self._prepared(features))

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
        """{canonical name: gradient of the total loss}, in training mode as `losses`. The NumPy backend has none."""
        self._check_batch(batch.features)
        return self.backend.gradients(self.network, batch, deterministic)

    def save(self, path: str | Path) -> None:
        """Write the weights, with method and configuration, as one file that `load` reads on any backend.

        The suffix names the format: .safetensors; .pt, .pth, .pkl (PyTorch); .ckpt (MindSpore). Raises InputError for any
        other, before anything is written.
        """
        kind = formats.by_suffix(Path(path))
        kind.write(Path(path), describe(self.weights(), self.method, self.config.as_dict(), self.assumed))

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


def create(method: str, backend: str = "numpy", device: str = "auto", precision: str = "float32", seed: int = 0,
           **config: Any) -> Detector[Any]:
    """A detector with fresh weights, the same for a seed on every backend."""
    spec = specification(method)
    configured = configure(spec.Config, config, method)
    weights = tensors.draw(spec.parameters(configured), seed)
    return from_weights(method, configured, weights, backend, device, precision, seed)


def load(path: str | Path, backend: str = "numpy", device: str = "auto", precision: str = "float32", seed: int = 0,
         method: str | None = None, allow_fresh: bool = False, companions: Mapping[str, Any] | None = None,
         **config: Any) -> Detector[Any]:
    """A detector from a checkpoint file: this library's or a published one, in any format.

    companions: {name: array, or a .npy file} of tensors that a published checkpoint lacks, as it has them in a file apart.
    What a file does not say is seen from its tensors. `method` and settings decide where several detectors fit; a file
    of another method is an error. What neither shows is assumed: `detector.assumed` has it, and an AssumedWarning says
    so where scores depend on it. A file without a part that scores are computed from is an error, unless allow_fresh draws
    its weights, to train further. seed: of what is random in training, and of weights that are drawn. Raises InputError.
    """
    _, contents = formats.read(Path(path))
    contents = completed(contents, read_companions(companions), str(path))
    found = identify(contents, str(path), method, config, seed)
    detector = from_checkpoint(found, str(path), backend, device, precision, seed, allow_fresh)
    detector.assumed.warn(str(path))
    return detector


def from_checkpoint(checkpoint: Checkpoint, source: str, backend: str = "numpy", device: str = "auto",
                    precision: str = "float32", seed: int = 0, allow_fresh: bool = False) -> Detector[Any]:
    """A detector from what a file was found to hold. Raises InputError, which names `source`, as `load`; it does not warn."""
    checkpoint.check_whole(source, allow_fresh)
    weights = as_computed(checkpoint.weights, specification(checkpoint.method).parameters(checkpoint.config), source)
    made = from_weights(checkpoint.method, checkpoint.config, weights, backend, device, precision, seed)
    return replace(made, assumed=checkpoint.assumed)


def from_published(method: str, state: Mapping[str, Array], backend: str = "numpy", device: str = "auto",
                   precision: str = "float32", seed: int = 0, allow_fresh: bool = False, **config: Any) -> Detector[Any]:
    """A detector from the tensors of a published checkpoint, {published name: array}. Settings are the defaults or given.

    A tensor whose sizes agree once axes of length 1 are dropped (MindSpore's (out, in, 1, k) kernels) is taken.
    Where a method's parts are published in files of their own, `state` may hold one of them or several; a part that
    it does not hold has fresh weights, drawn from `seed`: an error where scores are computed from it, unless allow_fresh.
    `assumed`, and the warning, are as `load`'s.
    """
    configured = configure(specification(method).Config, config, method)
    source = f"published {method} checkpoint"
    detector = from_checkpoint(of_published(method, configured, state, config, source, seed), source, backend, device,
                               precision, seed, allow_fresh)
    detector.assumed.warn(source)
    return detector


def export(detector: Detector[Any], path: str | Path) -> None:
    """Write one file for deployment, which needs nothing of this library: .onnx, or .mindir.

    It computes `detector.score(features, raw=True)`, (N, T, D) float32 -> (T,) float32.

    Where the method does something to the scores at last, the file does not, and its metadata say so: `scores` is "raw". The detector may be on any backend: its weights go to the one that writes the format. Raises InputError where that
    backend is not installed, and with the reason where the format cannot express the method.
    """
    path, known = Path(path), export_formats()
    if path.suffix not in known:
        raise InputError(f"{path}: cannot export to {path.suffix or 'a file without a suffix'}; the formats are "
                         f"{', '.join(known)}")
    metadata = {"method": detector.method, "config": json.dumps(detector.config.as_dict()), "version": version("wvad")}
    metadata |= detector.assumed.metadata()
    if hasattr(specification(detector.method).module, "postprocess"):
        metadata["scores"] = "raw"
    try:
        writer: Backend = known[path.suffix].load()
        network = writer.build(detector.method, detector.config, detector.weights(), "cpu", "float32", 0)
        with written_whole(path) as temporary:
            writer.export(network, temporary, metadata)
    except ImportError as error:
        raise InputError(f"{path}: cannot be written ({one_line(error)}); install what it takes: "
                         f"{pip_command(known[path.suffix])}") from error
    except NotImplementedError as error:
        raise InputError(f"{path}: {path.suffix[1:]} cannot express this {detector.method} detector: {error}") from error


def published_names(method: str, **config: Any) -> dict[str, str]:
    """{tensor name in a published checkpoint: canonical name}, one to one."""
    spec = specification(method)
    return dict(spec.published(configure(spec.Config, config, method)).names)


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
