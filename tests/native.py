"""How tests reach into the native networks: one small adapter a backend, so that no test asks which backend it runs on."""
from __future__ import annotations

import sys

import numpy as np

import wvad_core as wv
from wvad_core.layers import Scope


def to_native(backend: str, array: np.ndarray):
    return {"numpy": lambda x: x, "torch": lambda x: sys.modules["torch"].from_numpy(x),
            "mindspore": lambda x: sys.modules["mindspore"].Tensor(x)}[backend](np.array(array))


def to_numpy(value) -> np.ndarray:
    """A native tensor as an array."""
    if hasattr(value, "detach"):
        value = value.detach().numpy()
    return value.asnumpy() if hasattr(value, "asnumpy") else np.asarray(value)


def network_scores(detector: wv.Detector, features: np.ndarray) -> np.ndarray:
    """`network(features)` in evaluation mode."""
    return to_numpy(detector.network(to_native(detector.backend_name, features)))


def _training(detector: wv.Detector):
    """The functions of a network in training mode: those of the specification, or the native network's own."""
    network = detector.network
    if detector.backend_name != "numpy":
        return set_training(network, True)
    return _Specification(network.specification, Scope(network.weights, training=True), network.config)


class _Specification:
    """The NumPy specification of BN-WVAD under the names of the native networks."""

    def __init__(self, specification, scope, config):
        self.specification, self.scope, self.config, self.head = specification, scope, config, self

    def levels(self, features):
        levels, normal = self.specification.head(features, self.scope, self.config)
        return *levels, normal

    def distances(self, *levels):
        return [self.specification.distance(f, self.scope.at(f"head.bn{i + 1}")) for i, f in enumerate(levels)]


def _bn_wvad(detector: wv.Detector, batch: wv.Batch):
    network = _training(detector)
    return network, network.levels(to_native(detector.backend_name, batch.normal_first().features))


def bn_wvad_normal_scores(detector: wv.Detector, batch: wv.Batch) -> np.ndarray:
    return to_numpy(_bn_wvad(detector, batch)[1][-1])


def bn_wvad_training_forward(detector: wv.Detector, batch: wv.Batch):
    """The levels, their distances, and the backend's own `screen`, all on arrays."""
    network, (*levels, _) = _bn_wvad(detector, batch)
    distances = network.head.distances(*levels)
    home = {"numpy": "wvad_core", "torch": "wvad_torch", "mindspore": "wvad_mindspore"}[detector.backend_name]
    native_screen = sys.modules[f"{home}.methods.bn_wvad"].screen

    def screen(normal: np.ndarray, abnormal: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
        halves = (to_native(detector.backend_name, half) for half in (normal, abnormal))
        *picks, count = (to_numpy(value) for value in native_screen(*halves, detector.config))
        return *picks, int(count)

    return [to_numpy(f) for f in levels], [to_numpy(d) for d in distances], screen


def saa_branches(detector: wv.Detector, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Attention and raw scores of (B, T, D) in evaluation mode."""
    network = detector.network
    if detector.backend_name == "numpy":
        return network.specification.branches(features, Scope(network.weights), network.config)
    attention, raw = network.branches(to_native(detector.backend_name, features))
    return to_numpy(attention), to_numpy(raw)


def set_weights(layer, weights: dict[str, np.ndarray]) -> None:
    """Fill a native layer's tensors, all of them, by name."""
    if not hasattr(layer, "set_train"):  # what only MindSpore's cells have
        layer.load_state_dict({name: to_native("torch", value) for name, value in weights.items()})
        return
    named = dict(layer.parameters_and_names())
    assert set(named) == set(weights)
    for name, parameter in named.items():
        parameter.set_data(to_native("mindspore", weights[name]))


def set_training(layer, training: bool):
    """The layer in training or evaluation mode."""
    return layer.set_train(training) if hasattr(layer, "set_train") else layer.train(training)
