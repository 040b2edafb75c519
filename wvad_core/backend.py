"""Backends: what one must offer, and how it is found.

A backend is a module (or any object) with the functions of `Backend`. It is found through the entry-point group
`wvad.backends` and imported when it is asked for, not before.
"""
from __future__ import annotations

import re
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol

import numpy as np

from .configuration import Config
from .data.batches import Batch
from .errors import InputError
from .methods import Recipe

Array = np.ndarray
GROUP = "wvad.backends"


class Backend(Protocol):
    """The functions of a backend. Weights are {canonical name: array}; a network is the framework's own object."""

    def versions(self) -> dict[str, str]:
        """{package: version} of what computes here."""

    def build(self, method: str, config: Config, weights: dict[str, Array], device: str, precision: str,
              seed: int) -> Any:
        """A network with these weights on a device; `seed` starts the framework's generators (dropout, noise).

        Raises InputError for a device or precision that is not there.
        """

    def device(self, network: Any) -> str:
        """The device that a network computes on."""

    def weights(self, network: Any) -> dict[str, Array]: ...

    def score(self, network: Any, features: Array) -> Array:
        """(N, T, D) -> (T,) in evaluation mode; crops averaged as the published evaluation of the method does."""

    def losses(self, network: Any, batch: Batch, deterministic: bool = False) -> dict[str, float]:
        """The loss terms in training mode. As in training, running statistics move."""

    def gradients(self, network: Any, batch: Batch, deterministic: bool = False) -> dict[str, Array]:
        """{canonical name: gradient of the total loss}, likewise; of frozen parameters too."""

    def trainer(self, network: Any, recipe: Recipe) -> Any:
        """An object whose `step(batch, deterministic=False)` takes one optimiser step and returns the loss terms."""


def backends() -> tuple[str, ...]:
    """The names of the backends, whether or not their frameworks are installed."""
    return tuple(sorted(_entries()))


def backend(name: str) -> Backend:
    """Import a backend by its name."""
    entries = _entries()
    if name not in entries:
        raise InputError(f"unknown backend {name!r}; the backends are {', '.join(sorted(entries))}")
    try:
        return entries[name].load()
    except ImportError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"backend {name} cannot start ({reason}); install its framework: {_pip(entries[name])}") from error


def _entries() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _pip(entry: EntryPoint) -> str:
    """The pip command that installs what a backend's extra requires."""
    extra = re.compile(rf"""(.*?)\s*;\s*extra\s*==\s*["']{re.escape(entry.name)}["']""")
    needed = [match[1] for line in (entry.dist and entry.dist.requires) or () if (match := extra.fullmatch(line))]
    return "pip install " + " ".join(f'"{n}"' for n in needed)
