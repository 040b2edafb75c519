"""Ways to change a native network's weights, and convolutions that do not notice: an adapter a backend."""
from __future__ import annotations

import sys
from functools import partial

import numpy as np

from native import to_native, to_numpy


def _torch_data(network, other: dict[str, np.ndarray]) -> None:
    """A moving average through `.data`, and running statistics in place."""
    for name, value in network.state_dict(keep_vars=True).items():
        if value.is_floating_point():
            value.data.lerp_(to_native("torch", other[name]), 0.5)


def _torch_swap(network, other: dict[str, np.ndarray]) -> None:
    """As a moving average's weights are swapped in."""
    for name, parameter in network.named_parameters():
        parameter.data = to_native("torch", other[name])


def _torch_copy(network, other: dict[str, np.ndarray]) -> None:
    with sys.modules["torch"].no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(to_native("torch", other[name]))


def _torch_load(network, other: dict[str, np.ndarray], assign: bool = False) -> None:
    network.load_state_dict({name: to_native("torch", value) for name, value in other.items()}, assign=assign)


def _torch_move(network, other: dict[str, np.ndarray]) -> None:
    """Changed in another dtype, on another device where there is one, and brought back."""
    place = "cuda" if sys.modules["torch"].cuda.is_available() else "cpu"
    home = next(network.parameters()).device
    network.double().to(place)
    for parameter in network.parameters():
        parameter.data.mul_(1.01)
    network.to(home).float()


def _mindspore_set(network, other: dict[str, np.ndarray]) -> None:
    for name, parameter in network.parameters_and_names():
        parameter.set_data(to_native("mindspore", other[name]))


def _mindspore_assign(network, other: dict[str, np.ndarray]) -> None:
    for name, parameter in network.parameters_and_names():
        sys.modules["mindspore"].ops.assign(parameter, to_native("mindspore", other[name]))


def _mindspore_load(network, other: dict[str, np.ndarray]) -> None:
    ms = sys.modules["mindspore"]
    ms.load_param_into_net(network, {name: ms.Parameter(to_native("mindspore", value)) for name, value in other.items()},
                           strict_load=True)


def _mindspore_in_place(network, other: dict[str, np.ndarray]) -> None:
    for name, parameter in network.parameters_and_names():
        parameter.copy_(to_native("mindspore", other[name]))


CHANGES = {"torch": {"data": _torch_data, "swap": _torch_swap, "copy": _torch_copy, "load": _torch_load,
                     "assign": partial(_torch_load, assign=True), "move": _torch_move},
           "mindspore": {"set": _mindspore_set, "assign": _mindspore_assign, "load": _mindspore_load,
                         "in place": _mindspore_in_place}}
"""Ways to change a network's weights: functions of it and of other weights, {canonical name: array}."""


def keep_first_kernels(backend: str, monkeypatch) -> None:
    """Make convolutions over time score with the weights of their first call: with a fault, on purpose."""
    call, change = {"torch": ("forward", lambda layer, value: layer._parameters.update(weight=value)),
                    "mindspore": ("construct", lambda layer, value: layer.weight.set_data(value))}[backend]
    kind, kept = sys.modules[f"wvad_{backend}.blocks.convolution"].Conv1d, {}
    compute = getattr(kind, call)

    def stale(self, x):
        if self.training:
            return compute(self, x)
        now = self.weight if backend == "torch" else to_native(backend, to_numpy(self.weight))
        _, first = kept.setdefault(id(self), (self, to_native(backend, to_numpy(self.weight))))
        change(self, first)
        y = compute(self, x)
        change(self, now)
        return y

    monkeypatch.setattr(kind, call, stale)
