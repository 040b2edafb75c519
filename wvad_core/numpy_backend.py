"""The NumPy backend: the specifications themselves, run. It needs no framework; it scores but does not train."""
from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

from .backend import Backend
from .blocks.configuration import Config, ExtractorConfig, Settings
from .blocks.tensors import Scope
from .data.batches import Batch
from .errors import InputError
from .registry import ExtractorSpecification, MethodSpecification, extractor_specification, specification

Array = np.ndarray


class Network:
    """A method's specification with weights, {canonical name: array}."""

    def __init__(self, method: str, config: Config, weights: Mapping[str, Array], seed: int = 0):
        self.method, self.config, self.weights = method, config, dict(weights)
        self.rng = np.random.default_rng(seed)
        self.memory = self.specification.memory(config)

    @property
    def specification(self) -> MethodSpecification:
        """That of the method. Looked up, since no module can be copied or pickled."""
        return specification(self.method)

    def __call__(self, features: Array) -> Array:
        """Anomaly scores in evaluation mode: (B, T, D) or (B, N, T, D) -> (B, T)."""
        return self.specification.forward(features, Scope(self.weights), self.config)

    def classify(self, features: Array) -> Array:
        """Class probabilities in evaluation mode: (B, T, D) or (B, N, T, D) -> (B, T, K)."""
        return self.specification.classify(features, Scope(self.weights), self.config)

    def score_and_classify(self, features: Array) -> tuple[Array, Array]:
        """What both give of the same features."""
        if self.specification.score_and_classify is None:
            return self(features), self.classify(features)
        return self.specification.score_and_classify(features, Scope(self.weights), self.config)

    def losses(self, batch: Batch, deterministic: bool = False) -> dict[str, Array]:
        """The loss terms in training mode; running statistics move."""
        scope = Scope(self.weights, training=True, rng=None if deterministic else self.rng, frozen=self.config.frozen,
                      memory=self.memory)
        batch = batch.normal_first() if self.config.halves else batch
        return self.specification.losses(batch, scope, self.config)


class ClipNetwork:
    """An extractor's specification with weights, {canonical name: array}."""

    def __init__(self, name: str, config: ExtractorConfig, weights: Mapping[str, Array]):
        self.name, self.config, self.weights = name, config, dict(weights)

    @property
    def specification(self) -> ExtractorSpecification:
        """That of the extractor. Looked up, since no module can be copied or pickled."""
        return extractor_specification(self.name)

    def __call__(self, clips: Array) -> Array:
        """Features in evaluation mode: (B, C, F, H, W) -> (B, D)."""
        return self.specification.forward(clips, Scope(self.weights), self.config)


def _check_device(name: str) -> None:
    if name not in ("auto", "cpu"):
        raise InputError(f"device {name!r}: the numpy backend computes on cpu")


def _items(network: Network, features: Array) -> Array:
    """A video as a network takes it: its crops one by one, or together with their patches."""
    return features[None] if network.config.crops_together else features


class NumpyBackend(Backend):
    """The specifications themselves, run. It needs no framework; it scores but does not train."""

    name = "numpy"

    def versions(self) -> dict[str, str]:
        return {"numpy": np.__version__}

    def build(self, name: str, config: Settings, weights: Mapping[str, Array], device: str = "auto",
              precision: str = "float32", seed: int = 0) -> Network | ClipNetwork:
        _check_device(device)
        if precision != "float32":
            raise InputError(f"precision {precision!r}: the numpy backend computes in float32")
        return (ClipNetwork(name, config, weights) if isinstance(config, ExtractorConfig)
                else Network(name, config, weights, seed))

    def device(self, network: Network) -> str:
        return "cpu"

    def weights(self, network: Network) -> dict[str, Array]:
        return {name: value.copy() for name, value in network.weights.items()}

    def random_state(self, network: Network) -> Any:
        return copy.deepcopy(network.rng)

    def set_random_state(self, network: Network, state: Any) -> None:
        network.rng = copy.deepcopy(state)

    def score(self, network: Network, features: Array) -> Array:
        return network(_items(network, features)).mean(0)

    def classify(self, network: Network, features: Array) -> Array:
        return network.classify(_items(network, features)).mean(0)

    def score_and_classify(self, network: Network, features: Array) -> tuple[Array, Array]:
        scores, probabilities = network.score_and_classify(_items(network, features))
        return scores.mean(0), probabilities.mean(0)

    def features(self, network: ClipNetwork, clips: Array) -> Array:
        return network(clips)

    def losses(self, network: Network, batch: Batch, deterministic: bool = False) -> dict[str, float]:
        apart = copy.copy(network)  # a layer records statistics as new arrays in this dictionary
        apart.weights, apart.rng, apart.memory = dict(network.weights), copy.deepcopy(network.rng), copy.deepcopy(network.memory)
        return {name: float(value) for name, value in apart.losses(batch, deterministic).items()}

    def join(self, device: str = "auto") -> tuple[int, int]:
        _check_device(device)
        return self.processes()


BACKEND = NumpyBackend()
