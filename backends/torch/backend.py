"""The PyTorch backend: what `wvad_core.backend.Backend` says, on CPU and CUDA."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import torch
from wvad_core.backend import Backend
from wvad_core.blocks.configuration import Settings
from wvad_core.data.batches import Batch
from wvad_core.errors import InputError
from wvad_core.registry import network_module
from wvad_core.training.options import Options
from wvad_core.training.recipe import Recipe

from . import parallel
from .isolation import evaluated, isolated, on_cpu_by_default, unchanged
from .network import ClipNetwork, VideoNetwork
from .parallel import local_rank
from .precision import product_dtype
from .threads import alone, check_process
from .training import TrainingSession, training_losses

Array = np.ndarray


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda", local_rank()) if torch.cuda.is_available() else torch.device("cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdigit()):
        raise InputError(f"unknown device {name!r}; the torch backend has cpu, cuda, cuda:INDEX and auto")
    found = torch.cuda.device_count()
    if kind == "cuda" and int(index or 0) >= found:
        raise InputError(f"device {name!r} is not there: PyTorch {torch.__version__} sees {found} CUDA devices")
    return torch.device(name)


def _writable(values: Array) -> Array:
    """float32 as PyTorch takes it: it warns of what is read-only, and has no negative strides."""
    return np.require(values, np.float32, ("C", "W"))


class NativeBackend(Backend):
    """PyTorch's."""

    name = "torch"
    TRAINS = True

    def versions(self) -> dict[str, str]:
        return {"torch": torch.__version__}

    def build(self, name: str, config: Settings, weights: Mapping[str, Array], device: str = "auto",
              precision: str = "float32", seed: int = 0) -> VideoNetwork | ClipNetwork:
        check_process()
        place = _device(device)
        reduced = product_dtype(precision, place)
        module = network_module(name, self.name, __package__)
        with torch.inference_mode(False), on_cpu_by_default():
            network = module.Network(config, weights=weights).float()  # whatever the caller's default dtype is
            network.to(place)
            network.reseed(seed)
        network.precision = reduced
        return network.eval()

    def join(self, device: str = "auto") -> tuple[int, int]:
        _device(device)
        return parallel.join()

    def processes(self) -> tuple[int, int]:
        return parallel.processes()

    def gather(self, array: Array) -> list[Array]:
        return parallel.gather(array)

    def device(self, network: VideoNetwork | ClipNetwork) -> str:
        return str(next(network.parameters()).device)

    def weights(self, network: VideoNetwork | ClipNetwork) -> dict[str, Array]:
        return {name: value.detach().cpu().numpy().copy() for name, value in network.state_dict().items()}

    def random_state(self, network: VideoNetwork) -> Any:
        return network.seed, {device: state.numpy().copy() for device, state in network.random_states.items()}

    def set_random_state(self, network: VideoNetwork, state: Any) -> None:
        network.seed, states = state
        network.random_states = {device: torch.from_numpy(value.copy()) for device, value in states.items()}

    def score(self, network: VideoNetwork, features: Array) -> Array:
        return self._evaluated(network, lambda items: (network(items),), features)[0]

    def classify(self, network: VideoNetwork, features: Array) -> Array:
        return self._evaluated(network, lambda items: (network.classify(items),), features)[0]

    def score_and_classify(self, network: VideoNetwork, features: Array) -> tuple[Array, Array]:
        scores, probabilities = self._evaluated(network, network.score_and_classify, features)
        return scores, probabilities

    def _evaluated(self, network: VideoNetwork, function: Callable[[torch.Tensor], tuple[torch.Tensor, ...]],
                   features: Array) -> list[Array]:
        """The means over a video's items, (N, T, D), of what a network computes of each in evaluation mode."""
        place = torch.device(self.device(network))
        with evaluated(network):
            items = torch.from_numpy(_writable(features)).to(place)
            values = function(items[None] if network.config.crops_together else items)
            return [value.float().mean(0).cpu().numpy() for value in values]

    def features(self, network: ClipNetwork, clips: Array) -> Array:
        place = torch.device(self.device(network))
        with evaluated(network):
            items = torch.from_numpy(_writable(clips)).to(place)
            return network(items).float().cpu().numpy()

    def losses(self, network: VideoNetwork, batch: Batch, deterministic: bool = False) -> dict[str, float]:
        with alone(), unchanged(network), isolated(network), torch.no_grad():
            return {name: value.item() for name, value in training_losses(network, batch, deterministic).items()}

    def gradients(self, network: VideoNetwork, batch: Batch, deterministic: bool = False) -> dict[str, Array]:
        named = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
        with alone(), unchanged(network), isolated(network):
            total = training_losses(network, batch, deterministic)["total"]
            found = torch.autograd.grad(total, list(named.values()), allow_unused=True, materialize_grads=True)
        return {name: gradient.cpu().numpy() for name, gradient in zip(named, found)}

    def training_session(self, network: VideoNetwork, recipe: Recipe, options: Options) -> TrainingSession:
        return TrainingSession(network, recipe, options)

    def export(self, network: VideoNetwork | ClipNetwork, path: Path, metadata: Mapping[str, str]) -> None:
        """An ONNX file."""
        from .export import write  # loads packages that nothing else needs

        write(network, path, metadata)


BACKEND = NativeBackend()
