"""Backends: what one offers, and how it is found.

A backend is an instance of a subclass of `Backend`, which an entry point of the group `wvad.backends` names, NAME =
package.module:INSTANCE. It is imported when it is asked for, not before.
"""
from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .blocks.configuration import Settings
from .data.batches import Batch
from .errors import InputError, did_you_mean, one_line
from .installed import entry_points

if TYPE_CHECKING:
    from .training.options import Options
    from .training.recipe import Recipe

Array = np.ndarray
GROUP = "wvad.backends"
EXPORTS = "wvad.exports"


class TrainingSession(Protocol):
    """Gradients and updates of a network's parameters, which stay on the device. What a caller has set in the framework
    changes none of it, and is left as it was.

    groups: the canonical names of the parameters that are not frozen, as `recipe.grouped` has them.
    """

    groups: list[list[str]]

    def differentiate(self, batch: Batch, deterministic: bool = False) -> Mapping[str, Any]:
        """Keep the gradients of the total loss by all parameters, averaged over processes; the loss terms, 0-d each.

        In training mode: running statistics, memory and random state move. deterministic: without the random layers.
        """
        ...

    def norm(self) -> float:
        """The Euclidean norm of all gradients together."""
        ...

    def scale(self, factor: float) -> None:
        """Multiply all gradients."""
        ...

    def update(self, group: int, rate: float, count: int) -> None:
        """Move the parameters of a group by the recipe's optimiser (`training.optimisers`), for the count-th time."""
        ...

    def slots(self, name: str) -> list[Array]:
        """Copies of what the optimiser keeps for a parameter that was moved, in the order of `optimisers.slots_of`."""
        ...

    def restore(self, name: str, slots: Sequence[Array], count: int) -> None:
        """Give the optimiser what `slots` gave for a parameter after so many updates."""
        ...

    def take(self, weights: Mapping[str, Array]) -> None:
        """Give the network these weights, {canonical name: array} of all its tensors. The optimiser stands as it did."""
        ...

    def reseed(self, seed: int) -> None:
        """Begin dropout and noise anew from a seed."""
        ...

    def random_state(self) -> Any:
        """What dropout and noise are drawn from next, as values that JSON has."""
        ...

    def set_random_state(self, state: Any) -> None:
        """Go on from what `random_state` gave. Raises any error for what it has not given."""
        ...


class Backend(ABC):
    """What one subclass for each framework does; its one instance is what the entry point names.

    Networks are the framework's own objects. Weights are {canonical name: array}, all tensors of the network.
    Features are float32 (or float64 for a backend that computes in it): (N, T, D), N crops
    (and patches) of T snippets. Errors are InputErrors of one line. What is not abstract has a default, that of a backend
    which computes alone and neither trains nor exports.

    name: as messages say it. TRAINS: whether it has `gradients` and a `training_session`.
    """

    name: str
    TRAINS = False

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """{package: version} of what computes here."""

    @abstractmethod
    def build(self, name: str, config: Settings, weights: Mapping[str, Array], device: str = "auto",
              precision: str = "float32", seed: int = 0) -> Any:
        """A method's or an extractor's network with these weights on a device, in evaluation mode; `seed` is of its own dropout
        and noise.

        The arrays of the weights may be kept: nobody changes them afterwards. A method's network has as `memory` what its
        training remembers besides the weights (`specification.memory`), or None. device: "auto" is the best that there is.
        Raises InputError for a device or a precision that is not there, and for a model that has no network here.
        """

    @abstractmethod
    def device(self, network: Any) -> str:
        """The device that a network computes on, as `build` takes it."""

    @abstractmethod
    def weights(self, network: Any) -> dict[str, Array]:
        """Copies of all tensors of a network, running statistics included, in their dtypes."""

    @abstractmethod
    def random_state(self, network: Any) -> Any:
        """What dropout and noise of a network are drawn from next, as plain values and arrays that can be pickled."""

    @abstractmethod
    def set_random_state(self, network: Any, state: Any) -> None:
        """Go on from what `random_state` gave."""

    @abstractmethod
    def score(self, network: Any, features: Array) -> Array:
        """(N, T, D) -> (T,) float32, in evaluation mode: the mean of what the network gives of each crop, or what it gives
        of all of them together, where the configuration has `crops_together`."""

    def classify(self, network: Any, features: Array) -> Array:
        """(N, T, D) -> (T, K) probabilities of a method's K classes, as `score` gives scores."""
        raise InputError(f"the {self.name} backend has no class probabilities")

    def score_and_classify(self, network: Any, features: Array) -> tuple[Array, Array]:
        """What `score` and what `classify` give, by one pass of the network where a method's does both."""
        return self.score(network, features), self.classify(network, features)

    def features(self, network: Any, clips: Array) -> Array:
        """Of an extractor's network: normalised clips, (N, C, F, H, W), whose numbers may lie in memory as those of (N, F, H, W,
        C), -> (N, D) float32."""
        raise InputError(f"the {self.name} backend has no extractors")

    @abstractmethod
    def losses(self, network: Any, batch: Batch, deterministic: bool = False) -> dict[str, float]:
        """{"total": ..., term: ...} in training mode; deterministic: without dropout and noise.

        The network stays as it is: mode, running statistics, memory, random state.
        """

    def gradients(self, network: Any, batch: Batch, deterministic: bool = False) -> dict[str, Array]:
        """{canonical name: gradient of the total loss} of every parameter that the network gives one, frozen ones too, otherwise as
        `losses`."""
        raise InputError(f"the {self.name} backend has no gradients; take a backend with a framework")

    def training_session(self, network: Any, recipe: Recipe, options: Options) -> TrainingSession:
        """What `training.trainer.Trainer` trains the network with. Raises InputError for a precision that is not there."""
        raise InputError(f"the {self.name} backend does not train; take a backend with a framework")

    def join(self, device: str = "auto") -> tuple[int, int]:
        """Set the device, and compute together with others from now on; what `processes` then gives.

        Others are the group that the caller has initialised, or else the processes that the framework's launcher has
        started, if there are several. Nothing but this call joins them.
        """
        return self.processes()

    def processes(self) -> tuple[int, int]:
        """(rank, size): which of how many processes that compute together this one is; (0, 1) on its own, or before `join`.

        With several, `losses`, `gradients` and steps take each process's share of a batch (`Batch.shard`), and give the
        terms of the whole batch. The mean over processes of what `gradients` gives is the gradient; a step takes that.
        """
        return 0, 1

    def gather(self, array: Array) -> list[Array]:
        """The float32 array (n,) of every process, by rank; n may differ."""
        return [array]

    def export(self, network: Any, path: Path, metadata: Mapping[str, str]) -> None:
        """Write what `score` computes to a file, in the format of its suffix (see `wvad_core.export`).

        metadata: goes into the file where the format has a place for it. Raises NotImplementedError with the reason
        where the format cannot express the network.
        """
        raise NotImplementedError(f"the {self.name} backend exports to no format")


def list_backends() -> tuple[str, ...]:
    """The names of the backends, whether or not their frameworks are installed."""
    return tuple(sorted(_entries()))


def find_backend(name: str) -> Backend:
    """Import a backend by its name."""
    entries = _entries()
    if name not in entries:
        raise InputError(f"unknown backend {name!r}{did_you_mean(name, entries)}; the backends are {', '.join(sorted(entries))}")
    try:
        return entries[name].load()
    except ImportError as error:
        raise InputError(f"backend {name} cannot start ({one_line(error)}); install its framework: "
                         f"{pip_command(entries[name])}") from error


def export_formats() -> dict[str, EntryPoint]:
    """{suffix: the backend that writes files for deployment in this format}, whether or not its framework is installed.

    An entry point's name is the suffix, and that of the extra with all that writing them takes.
    """
    return {f".{entry.name}": entry for entry in sorted(entry_points(group=EXPORTS), key=lambda entry: entry.name)}


def training_backend(name: str) -> Backend:
    """A backend that trains, by its name. Raises InputError for one that does not."""
    found = find_backend(name)
    if not found.TRAINS:
        others = ", ".join(other for other in list_backends() if other != name)
        raise InputError(f"the {name} backend does not train, expected one that does, of {others}")
    return found


def in_graphs(function: Callable, graphs: Mapping[str, Callable]) -> Callable:
    """For backends that compile: function(network, ...) with compiled functions, {name: function}, for methods of the network
    while it computes.

    A network keeps none of them: they are bound to it, so that a copy would compute with its weights.
    """
    def computed(network: Any, *given: object) -> Any:
        vars(network).update(graphs)
        try:
            return function(network, *given)
        finally:
            for name in graphs:
                del vars(network)[name]

    return computed


def _entries() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def pip_command(entry: EntryPoint) -> str:
    """The pip command that installs what the extra of an entry point's name requires."""
    extra = re.compile(rf"""(.*?)\s*;\s*extra\s*==\s*["']{re.escape(entry.name)}["']""")
    needed = [match[1] for line in (entry.dist and entry.dist.requires) or () if (match := extra.fullmatch(line))]
    return "pip install " + " ".join(f'"{n}"' for n in needed)
