"""The MindSpore backend: what `wvad_core.backend.Backend` says, on CPU, GPU and Ascend."""
from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import mindspore as ms
from mindspore import Tensor
from wvad_core.backend import Backend
from wvad_core.blocks.configuration import Settings
from wvad_core.data.batches import Batch
from wvad_core.errors import InputError
from wvad_core.registry import network_module
from wvad_core.training.options import Options
from wvad_core.training.recipe import Recipe

from . import caches, parallel
from .isolation import evaluated, isolated, unchanged
from .network import ClipNetwork, VideoNetwork
from .threads import alone
from .training import TrainingSession, losses_and_gradients, training_losses

Array = np.ndarray
TARGETS = {"cpu": "CPU", "cuda": "GPU", "ascend": "Ascend"}


def _set_device(name: str) -> None:
    """Choose the device, which MindSpore does once a process; "auto" leaves its choice alone."""
    kind, _, index = name.partition(":")
    if name != "auto":
        if kind not in TARGETS or (index and not index.isdigit()):
            raise InputError(f"unknown device {name!r}; the mindspore backend has cpu, cuda[:INDEX], ascend[:INDEX] "
                             "and auto")
        if kind != "cpu" and not getattr(ms.device_context, {"cuda": "gpu"}.get(kind, kind)).is_available():
            raise InputError(f"device {name!r} is not there: MindSpore {ms.__version__} here has no {TARGETS[kind]}")
        target, given = TARGETS[kind], ms.get_context("device_id")  # msrun gives each process another one
        if (target, int(index or given)) != (ms.get_context("device_target"), given):
            ms.set_device(target, int(index or given))


class NativeBackend(Backend):
    """MindSpore's."""

    name = "mindspore"
    TRAINS = True

    def versions(self) -> dict[str, str]:
        return {"mindspore": ms.__version__}

    def build(self, name: str, config: Settings, weights: Mapping[str, Array], device: str = "auto",
              precision: str = "float32", seed: int = 0) -> VideoNetwork | ClipNetwork:
        _set_device(device)
        if precision != "float32":
            raise InputError(f"precision {precision!r}: the mindspore backend computes in float32")
        module = network_module(name, self.name, __package__)
        with alone():
            network = module.Network(config, weights=weights)
            network.reseed(seed)
            return network.set_train(False)

    def join(self, device: str = "auto") -> tuple[int, int]:
        _set_device(device)
        return parallel.join()

    def processes(self) -> tuple[int, int]:
        return parallel.processes()

    def gather(self, array: Array) -> list[Array]:
        with alone():
            return parallel.gather(array)

    def device(self, network: VideoNetwork | ClipNetwork) -> str:
        kind = {target: name for name, target in TARGETS.items()}[ms.get_context("device_target")]
        return kind if kind == "cpu" else f"{kind}:{ms.get_context('device_id')}"

    def weights(self, network: VideoNetwork | ClipNetwork) -> dict[str, Array]:
        with alone():
            return {name: parameter.asnumpy().copy() for name, parameter in network.parameters_and_names()}

    def random_state(self, network: VideoNetwork) -> Any:
        """Of layers that the host draws for; MindSpore's own kernels begin anew from the seed."""
        return network.seed, [copy.deepcopy(layer.rng) for layer in network.random_layers()]

    def set_random_state(self, network: VideoNetwork, state: Any) -> None:
        seed, generators = state
        network.reseed(seed)
        for layer, rng in zip(network.random_layers(), generators, strict=True):
            layer.rng = copy.deepcopy(rng)

    def score(self, network: VideoNetwork, features: Array) -> Array:
        return self._evaluated(network, lambda items: (network(items),), features)[0]

    def classify(self, network: VideoNetwork, features: Array) -> Array:
        return self._evaluated(network, lambda items: (network.classify(items),), features)[0]

    def score_and_classify(self, network: VideoNetwork, features: Array) -> tuple[Array, Array]:
        scores, probabilities = self._evaluated(network, network.score_and_classify, features)
        return scores, probabilities

    def _evaluated(self, network: VideoNetwork, function: Callable[[Tensor], tuple[Tensor, ...]], features: Array) -> list[Array]:
        """The means over a video's items, (N, T, D), of what a network computes of each in evaluation mode."""
        with evaluated(network):
            items = Tensor(np.asarray(features, np.float32))
            values = [value.asnumpy().mean(0) for value in function(items[None] if network.config.crops_together else items)]
            if self.device(network) == "cpu":
                caches.computed(items.shape)
            return values

    def features(self, network: ClipNetwork, clips: Array) -> Array:
        with evaluated(network):
            rows = np.ascontiguousarray(np.moveaxis(clips, 1, -1), np.float32)  # as they lie already
            return network(Tensor.from_numpy(rows).transpose(0, 4, 1, 2, 3)).asnumpy()

    def losses(self, network: VideoNetwork, batch: Batch, deterministic: bool = False) -> dict[str, float]:
        with isolated(network), unchanged(network):
            return {name: float(value.asnumpy()) for name, value in training_losses(network, batch, deterministic).items()}

    def gradients(self, network: VideoNetwork, batch: Batch, deterministic: bool = False) -> dict[str, Array]:
        named = {name: p for name, p in network.parameters_and_names() if p.requires_grad}
        with isolated(network), unchanged(network):
            found = losses_and_gradients(network, batch, named, deterministic)[1]
            return {name: value.asnumpy().copy() for name, value in found.items()}

    def training_session(self, network: VideoNetwork, recipe: Recipe, options: Options) -> TrainingSession:
        return TrainingSession(network, recipe, options)

    def export(self, network: VideoNetwork | ClipNetwork, path: Path, metadata: Mapping[str, str]) -> None:
        """A MindIR file."""
        from .export import write  # what nothing else here needs

        with alone():
            write(network, path, metadata)


BACKEND = NativeBackend()
