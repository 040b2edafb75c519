"""An extractor: a frozen network that turns clips of video frames into snippet features."""
from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from .backend import Backend, find_backend
from .blocks import tensors
from .blocks.clips import ClipSizes, scaled
from .blocks.configuration import ExtractorConfig
from .checkpoints import formats
from .checkpoints.assumed import Assumed
from .checkpoints.contents import describe
from .errors import InputError, one_line
from .registry import ExtractorSpecification, extractor_specification

Array = np.ndarray
C = TypeVar("C", bound=ExtractorConfig, covariant=True)
PIXELS = 2 * 16 * 224 * 224
"""Of the clips that a network takes at once on a CPU: with more its caches no longer hold what passes from layer to layer, and a
crop takes longer. A device takes MORE times as many."""
MORE = 20


@dataclass(frozen=True, eq=False, repr=False)
class Extractor(Generic[C]):
    """What `create`, `load` and `from_published` make of an extractor's name or checkpoint.

    `network` is the framework's own module. It can be copied (`copy.deepcopy`) and pickled, for process pools: its weights
    travel, and a network is built of them on the same backend and device.

    name: of the extractor. assumed: what the file that it was loaded from does not say.

        extractor = wv.load("i3d.pth", backend="torch", scale="kinetics")
        extractor.features(clips)       # (N, 16, 224, 224, 3) uint8 -> (N, 2048) float32
    """
    name: str
    config: C
    backend_name: str
    backend: Backend
    network: Any
    precision: str = "float32"
    assumed: Assumed = Assumed()

    def __repr__(self) -> str:
        """<Extractor NAME on BACKEND, DEVICE, PRECISION: settings that are not as published; how many parameters>."""
        defaults = self.specification.Config()
        settings = [f"{field.name}={value!r}" for field in fields(self.config)
                    if (value := getattr(self.config, field.name)) != getattr(defaults, field.name)]
        size = tensors.learned(self.specification.parameters(self.config))
        return (f"<Extractor {self.name} on {self.backend_name}, {self.backend.device(self.network)}, {self.precision}: "
                f"{', '.join(settings) or 'settings as published'}; {size:,} parameters>")

    def __deepcopy__(self, memo: dict[int, Any]) -> Extractor[C]:
        return replace(self, network=copy.deepcopy(self.network, memo))

    def __reduce__(self) -> tuple[Any, ...]:
        built = (self.name, self.config, self.weights(), self.backend_name, self.backend.device(self.network), self.precision)
        return _unpickled, (built, self.assumed)

    @property
    def specification(self) -> ExtractorSpecification:
        """That of the extractor."""
        return extractor_specification(self.name)

    @property
    def clip_sizes(self) -> ClipSizes:
        """The clips that it takes."""
        return self.specification.clip_sizes(self.config)

    def features(self, clips: Any) -> Array:
        """Features of clips: (N, F, H, W, C) -> (N, D) float32, one vector for a clip of F frames.

        clips: uint8 frames as cropped, channels R, G, B, which are normalised by `config.scale`; or floating-point numbers
        that are normalised already, of which float64 gives float64 on the NumPy backend. N may be 0. They are computed some
        at a time, so that memory does not grow with N. Raises InputError for clips of another type, or of sizes that it does
        not take, for uint8 where its scale is not known, and for numbers that are not finite.
        """
        clips = self._checked(clips)
        limit = PIXELS if self.backend.device(self.network) == "cpu" else PIXELS * MORE
        step = max(1, limit // math.prod(clips.shape[1:4]))
        parts = [self.backend.features(self.network, self._normalised(clips[start:start + step]))
                 for start in range(0, len(clips), step)]
        return np.concatenate(parts) if parts else np.zeros((0, self.config.feature_dim), np.float32)

    def weights(self) -> dict[str, Array]:
        """{canonical name: array}, every tensor of the network, running statistics included."""
        return self.backend.weights(self.network)

    def save(self, path: str | Path) -> None:
        """Write the weights, with name and configuration, as one file that `load` reads on any backend.

        The suffix names the format, as of `Detector.save`. Raises InputError for any other, before anything is written.
        """
        kind = formats.by_suffix(Path(path))
        kind.write(Path(path), describe(self.weights(), self.name, self.config.as_dict(), self.assumed))

    def _checked(self, clips: Any) -> Array:
        """The clips as an array of uint8, float32 or float64."""
        try:
            found = np.asarray(clips)
        except (TypeError, ValueError, RuntimeError) as error:  # ragged lists; tensors on a device, or with a gradient
            raise InputError(f"clips are no array of numbers ({one_line(error)})") from error
        if found.dtype != np.uint8 and found.dtype.kind != "f" and found.dtype.name != "bfloat16":
            raise InputError(f"clips are of type {found.dtype}, expected uint8 frames or normalised floating-point numbers")
        if found.ndim != 5 or found.shape[-1] != self.config.in_channels:
            raise InputError(f"clips of shape {found.shape}: expected (N, frames, height, width, {self.config.in_channels})")
        _, frames, height, width, _ = found.shape
        self.clip_sizes.check((frames, height, width), self.name)
        if found.dtype == np.uint8 and self.config.scale is None:
            raise InputError(f"clips are uint8 frames, and the scale of what {self.name} takes is not known: expected the "
                             "setting scale, or normalised numbers")
        return found

    def _normalised(self, clips: Array) -> Array:
        """Some clips as a network takes them, (N, C, F, H, W): a view, whose numbers lie as those of (N, F, H, W, C) do."""
        if clips.dtype == np.uint8:
            clips = scaled(clips, str(self.config.scale))
        elif not np.isfinite(clips.sum(dtype=np.float32)) and not np.isfinite(clips).all():
            raise InputError(f"clips have numbers that are not finite in clip {int(_first_flaw(clips))}, expected finite numbers")
        exact = clips.dtype == np.float64
        return np.moveaxis(clips if exact else clips.astype(np.float32, copy=False), -1, 1)


def _first_flaw(clips: Array) -> int:
    """Which of some clips is the first with a number that is not finite."""
    return int((~np.isfinite(clips)).any(axis=(1, 2, 3, 4)).argmax())


def _unpickled(built: tuple[Any, ...], assumed: Assumed) -> Extractor[Any]:
    """An extractor of what its `__reduce__` gave. Raises InputError where its backend or its device is not there."""
    return replace(from_weights(*built), assumed=assumed)


def from_weights(name: str, config: ExtractorConfig, weights: Mapping[str, Array], backend: str = "numpy",
                 device: str = "auto", precision: str = "float32") -> Extractor[Any]:
    """An extractor with these weights, {canonical name: array}, all of them in their shapes."""
    found = find_backend(backend)
    network = found.build(name, config, weights, device, precision)
    return Extractor(name, config, backend, found, network, precision)
