"""Fine-tuning: the first weights of a run, taken from a checkpoint as far as they fit."""
from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..blocks.configuration import Config
from ..blocks.tensors import COUNTER, Parameter, draw
from ..checkpoints import formats
from ..checkpoints.identification.recognition import Checkpoint, identify
from ..checkpoints.identification.naming import as_computed
from ..errors import InputError, one_line
from ..registry import specification


@dataclass(frozen=True)
class Initial:
    """What the first weights of a run are: those of `file` that are `taken`, and those that are `fresh`, by canonical names.

    In neither list are counters of training forwards, which begin at 0, and what the dataset brings. origin: of the features
    that the file was trained on, as plain data; None where it does not say.
    """
    file: str
    taken: tuple[str, ...]
    fresh: tuple[str, ...]
    origin: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        for name in ("taken", "fresh"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    def __str__(self) -> str:
        fresh = f"; fresh: {', '.join(self.fresh)}" if self.fresh else ""
        return f"{self.file}: {len(self.taken)} of {len(self.taken) + len(self.fresh)} tensors are taken{fresh}"


def initial_weights(path: str | Path, method: str, config: Config, seed: int) -> tuple[dict[str, np.ndarray], Initial]:
    """The weights that the first stage of a configuration starts with, {canonical name: array}, and what they are.

    path: a checkpoint of the method that `load` reads, this library's or a published one. A tensor of it is taken where name
    and shape are those of the first stage's; the others are drawn from the seed. Raises InputError for a file that is none,
    for one of another method, and where no matrix and no kernel fits.
    """
    spec = specification(method)
    wanted = spec.parameters(spec.stages(config)[0])
    found = _identified(Path(path), method, config, seed)
    given = as_computed(found.weights, spec.parameters(found.config))
    own = [name for name in wanted if not name.endswith(COUNTER) and name not in spec.COMPANIONS]
    taken = [name for name in own if name in given and given[name].shape == wanted[name].shape
             and name not in found.assumed.fresh]
    if not any(given[name].ndim > 1 for name in taken):  # single biases, which fit any sizes, are no start
        count = sum(value.ndim > 1 for value in given.values())
        raise InputError(f"{path}: none of its {count} matrices and kernels has the name and the shape of one that is trained"
                         + _other_settings(found, config))
    fresh = tuple(name for name in own if name not in taken)
    weights = draw(wanted, seed) | {name: given[name] for name in taken}
    return weights, Initial(str(path), tuple(taken), fresh, found.origin and found.origin.as_dict())


def brought(companions: Mapping[str, np.ndarray], parameters: Mapping[str, Parameter],
            files: Mapping[str, str | Path] | None = None) -> dict[str, np.ndarray]:
    """The companions of a training set that are first values of tensors, {canonical name: array}.

    files: where they are from, for what is raised: InputError for one of another shape than its tensor.
    """
    found = {name: array for name, array in companions.items() if name in parameters}
    for name, array in found.items():
        if array.shape != parameters[name].shape:
            source = f": {files[name]}" if files else ""
            raise InputError(f"companion {name}{source}: has shape {array.shape}, expected {parameters[name].shape}")
    return {name: array.astype(parameters[name].dtype) for name, array in found.items()}


def _identified(path: Path, method: str, config: Config, seed: int) -> Checkpoint:
    """What the file holds by itself; where it does not show that, what it holds by the settings of the run."""
    _, contents = formats.read(path)
    try:
        return identify(contents, str(path), method, seed=seed)
    except InputError as error:
        with suppress(InputError):
            return identify(contents, str(path), method, config.as_dict(), seed)
        raise error


def _other_settings(found: Checkpoint, config: Config) -> str:
    """A hint of the settings that the file has and the run has not."""
    ours: Mapping[str, Any] = config.as_dict()
    others = [f"{name}={one_line(value)}" for name, value in found.config.as_dict().items()
              if value != ours[name] and name not in config.training_only]
    return f"; its settings are {' '.join(others)}" if others else ""
