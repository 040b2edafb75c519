"""How tests reach into the native networks: one small adapter a backend, so that no test asks which backend it runs on."""
from __future__ import annotations

import importlib
import sys
from types import SimpleNamespace
from typing import Any

import devices
import numpy as np
from scipy.special import expit

import wvad_core as wv
from wvad_core.blocks import magnitude
from wvad_core.blocks import tensors as parameters
from wvad_core.blocks.tensors import Scope
from wvad_core.numpy_backend import Network as NumpyNetwork
from wvad_core.registry import specification


def to_native(backend: str, array: np.ndarray):
    return {"numpy": lambda x: x, "torch": lambda x: sys.modules["torch"].from_numpy(x).to(devices.of("torch")),
            "mindspore": lambda x: sys.modules["mindspore"].Tensor(x)}[backend](np.array(array))


def to_numpy(value) -> np.ndarray:
    """A native tensor as an array."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    return value.asnumpy() if hasattr(value, "asnumpy") else np.asarray(value)


def tensors(detector: wv.Detector) -> dict[str, Any]:
    """{canonical name: native tensor}, of which no copy is made."""
    return detector.network.weights if detector.backend_name == "numpy" else layer_tensors(detector.network)


def layer_tensors(layer) -> dict[str, Any]:
    """{name: native tensor} of a native layer or network, of which no copy is made."""
    return layer.state_dict() if hasattr(layer, "state_dict") else dict(layer.parameters_and_names())


def block(framework: str, home: str, name: str):
    """A layer's class, or a function, of a framework's blocks."""
    return getattr(importlib.import_module(f"wvad_{framework}.blocks.{home}"), name)


def without_gradients(framework: str, function, x: np.ndarray) -> np.ndarray:
    """function(x) where the framework records nothing for gradients, as in evaluation."""
    if framework == "torch":
        with sys.modules["torch"].inference_mode():
            return to_numpy(function(to_native(framework, x)))
    return to_numpy(function(to_native(framework, x)))


def value_and_gradient(framework: str, function, x: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """function(x), and the gradient by x of sum(weight function(x))."""
    given, weights = to_native(framework, x), to_native(framework, weight)
    if framework == "torch":
        given.requires_grad_()
        value = function(given)
        (value * weights).sum().backward()
        return to_numpy(value), to_numpy(given.grad)
    total = sys.modules["mindspore"].grad(lambda x: (function(x) * weights).sum())
    return to_numpy(function(given)), to_numpy(total(given))


def of_clips(framework: str, layer, clips: np.ndarray) -> np.ndarray:
    """What a native layer makes of clips, (N, F, H, W, C) -> (N, F', H', W', C')."""
    blocks = importlib.import_module(f"wvad_{framework}.blocks.convolution3d")
    made = layer(blocks.channels_last(to_native(framework, np.moveaxis(clips, -1, 1))))
    return np.moveaxis(to_numpy(made), {"torch": 1, "mindspore": -1}[framework], -1)


def moving(detector: wv.Detector) -> dict[str, np.ndarray]:
    """Copies of the running statistics."""
    return {name: np.array(to_numpy(value)) for name, value in tensors(detector).items()
            if name.rpartition(".")[2] in ("running_mean", "running_var", parameters.COUNTER)}


def rewind(detector: wv.Detector, statistics: dict[str, np.ndarray]) -> wv.Detector:
    """A network as it was built: what calls in training mode move goes back to `statistics`; it remembers nothing."""
    network, held = detector.network, tensors(detector)
    network.memory = specification(detector.method).memory(detector.config)
    for name, value in statistics.items():
        if detector.backend_name == "numpy":
            held[name] = value.copy()
        elif hasattr(network, "set_train"):
            held[name].set_data(to_native("mindspore", value))
        else:
            held[name].copy_(to_native("torch", value))
    if detector.backend_name != "numpy":
        set_training(network, False)
    return detector


def gradient_norms(detector: wv.Detector, batch: wv.Batch) -> dict[str, float]:
    """Of what `detector.gradients` gives, without dropout; MindSpore's one by one, since each is copied when read."""
    if detector.backend_name != "mindspore":
        return {name: np.linalg.norm(value) for name, value in detector.gradients(batch, deterministic=True).items()}
    named = {name: p for name, p in detector.network.parameters_and_names() if p.requires_grad}
    compute = sys.modules["wvad_mindspore.training"].losses_and_gradients
    found = compute(detector.network, batch, named, deterministic=True)[1]
    return {name: np.linalg.norm(to_numpy(found.pop(name))) for name in named}


def network_scores(detector: wv.Detector, features: np.ndarray) -> np.ndarray:
    """`network(features)` in evaluation mode."""
    return to_numpy(detector.network(to_native(detector.backend_name, features)))


def _training(detector: wv.Detector):
    """The functions of a network in training mode: those of the specification, or the native network's own."""
    network = detector.network
    if detector.backend_name != "numpy":
        return set_training(network, True)
    return _Specification(network.specification.module, Scope(network.weights, training=True), network.config)


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


def training_losses(detector: wv.Detector, batch: wv.Batch) -> dict[str, float]:
    """The loss terms by the network itself in training mode, without its random layers: one step of all that training
    remembers besides the weights, running statistics, a schedule, a memory."""
    network = detector.network
    if detector.backend_name == "numpy":
        found = network.losses(batch, deterministic=True)
    else:
        home = importlib.import_module(f"wvad_{detector.backend_name}.training")
        found = home.training_losses(network, batch, deterministic=True)
    return {name: float(to_numpy(value)) for name, value in found.items()}


def bn_wvad_normal_scores(detector: wv.Detector, batch: wv.Batch) -> np.ndarray:
    return to_numpy(_bn_wvad(detector, batch)[1][-1])


def bn_wvad_averaged_before_product(detector: wv.Detector, features: np.ndarray) -> np.ndarray:
    """Distances and normal scores averaged over the crops of (B, N, T, D) apart, in evaluation mode."""
    network = detector.network
    if detector.backend_name == "numpy":
        return network.specification.module.averaged_before_product(features, Scope(network.weights), network.config)
    return to_numpy(network.averaged_before_product(to_native(detector.backend_name, features)))


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
        return network.specification.module.branches(features, Scope(network.weights), network.config)
    attention, raw = network.branches(to_native(detector.backend_name, features))
    return to_numpy(attention), to_numpy(raw)


def ar_net_hidden(detector: wv.Detector, features: np.ndarray) -> np.ndarray:
    """The hidden features of (B, T, D) in evaluation mode."""
    network = detector.network
    if detector.backend_name == "numpy":
        return network.specification.module.hidden(features, Scope(network.weights), network.config)
    return to_numpy(network.hidden(to_native(detector.backend_name, features)))


def ar_net_branches(detector: wv.Detector, features: np.ndarray) -> dict[str, np.ndarray]:
    """The activations and video scores of both branches of variant bas, and its foreground weights."""
    network, config = detector.network, detector.config
    if detector.backend_name == "numpy":
        spec, scope = network.specification.module, Scope(network.weights)
        weights = spec.foreground(features, scope, config)
        base, suppressed = (spec.activations(x, scope, config) for x in (features, weights[..., None] * features))
    else:
        spec = sys.modules[type(network).__module__]
        base, suppressed, weights = network.branches(to_native(detector.backend_name, features))
    found = {"cas_base": base, "cas_suppressed": suppressed, "foreground": weights[..., None],
             "score_base": spec.video_scores(base, config), "score_suppressed": spec.video_scores(suppressed, config)}
    return {name: to_numpy(value) for name, value in found.items()}


def ar_net_packed_scores(detector: wv.Detector, batch: wv.Batch) -> np.ndarray:
    """The scores of a batch, in its order, packed by length as in training, without dropout."""
    network = detector.network
    if detector.backend_name == "numpy":
        return network.specification.module.scores(batch.features, Scope(network.weights), network.config, batch.true_lengths())
    features = to_native(detector.backend_name, batch.features)
    return to_numpy(network.scores(features, network.extra(batch, "true_lengths")))


def ar_net_gradients_of_packed_scores(detector: wv.Detector, batch: wv.Batch) -> dict[str, np.ndarray]:
    """The gradients of the sum of those scores."""
    network, features = detector.network, to_native(detector.backend_name, batch.features)
    lengths, named = network.extra(batch, "true_lengths"), network.trainable()

    def total():
        return network.scores(features, lengths).sum()

    if detector.backend_name == "torch":
        found = sys.modules["torch"].autograd.grad(total(), list(named.values()))
    else:
        found = sys.modules["mindspore"].grad(total, None, list(named.values()))()
    return {name: to_numpy(gradient) for name, gradient in zip(named, found)}


def ur_dmu_outputs(detector: wv.Detector, batch: wv.Batch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores and attentions by the abnormal and by the normal memory, normal videos first, in training mode."""
    network, features = _training(detector), to_native(detector.backend_name, batch.normal_first().features)
    if detector.backend_name == "numpy":
        scope = Scope(detector.network.weights, training=True, rng=detector.network.rng)
        found = network.specification.outputs(features, scope, network.config)
    else:
        found = network.outputs(features)
    logits, a, n = (to_numpy(value) for value in found[:3])
    return expit(logits), a, n


def set_noise(detector: wv.Detector, noise: np.ndarray) -> None:
    """Make a network without dropout draw this array wherever it draws normal numbers."""
    if detector.backend_name == "numpy":
        detector.network.rng = SimpleNamespace(standard_normal=lambda shape: noise.reshape(shape))
        return
    drawn = to_native(detector.backend_name, noise.astype(np.float32))
    call = {"torch": "forward", "mindspore": "on_numbers"}[detector.backend_name]
    setattr(detector.network.noise, call, lambda x: drawn)


def adplg_local_outputs(detector: wv.Detector, features: np.ndarray) -> list[np.ndarray]:
    """What each window size makes of (B, T, D), in evaluation mode."""
    network = detector.network
    if detector.backend_name == "numpy":
        return network.specification.module.local_outputs(features, Scope(network.weights).at("snippet"), network.config)
    return [to_numpy(x) for x in network.snippet.local_outputs(to_native(detector.backend_name, features))]


def adplg_video_branch(detector: wv.Detector, batch: wv.Batch) -> dict[str, np.ndarray]:
    """Video scores, normal ones first, attentions and fused features, without dropout."""
    network, features = detector.network, to_native(detector.backend_name, batch.normal_first().features)
    if detector.backend_name == "numpy":
        scope = Scope(network.weights).at("video")
        pairs = list(network.specification.module.video_branch(features, scope).values())
    else:
        pairs = network.video(features)
    found = {}
    for name, (attention, fused) in zip(("abnormal", "cross", "normal"), pairs):
        found |= {f"attention_{name}": to_numpy(attention), f"fused_{name}": to_numpy(fused)}
    fused = np.concatenate([found["fused_normal"], found["fused_abnormal"]])
    if detector.backend_name == "numpy":
        return found | {"video_scores": network.specification.module.classified(fused, scope.at("classifier"), network.config)}
    return found | {"video_scores": to_numpy(network.video.classifier(to_native(detector.backend_name, fused)))}


def adplg_snippet_loss(detector: wv.Detector, features: np.ndarray, labels: np.ndarray,
                       counted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Snippet scores (2B, T), and their loss for given labels, without dropout."""
    network = detector.network
    if detector.backend_name == "numpy":
        scores = network.specification.module.snippet_scores(features, Scope(network.weights).at("snippet"), network.config)
        return scores, network.specification.module.snippet_loss(scores, labels, counted)
    features, labels, counted = (to_native(detector.backend_name, x.astype(np.float32)) for x in (features, labels, counted))
    return to_numpy(network.snippet(features)), to_numpy(network.snippet_loss(features, labels, counted))


def adplg_snippet_gradients(detector: wv.Detector, *given: np.ndarray) -> dict[str, np.ndarray]:
    """The gradients of that loss."""
    network, named = detector.network, detector.network.trainable()
    given = [to_native(detector.backend_name, x.astype(np.float32)) for x in given]
    if detector.backend_name == "torch":
        loss = network.snippet_loss(*given)
        found = sys.modules["torch"].autograd.grad(loss, list(named.values()), allow_unused=True, materialize_grads=True)
    else:
        found = sys.modules["mindspore"].grad(lambda: network.snippet_loss(*given), None, list(named.values()))()
    return {name: to_numpy(gradient) for name, gradient in zip(named, found)}


def magnitude_branches(detector: wv.Detector, features: np.ndarray, training: bool) -> tuple[np.ndarray, np.ndarray]:
    """Scores and magnitudes, (B, T) each, of a network that learns from magnitudes. features (B, N, T, D)."""
    network, given = detector.network, to_native(detector.backend_name, features)
    if detector.backend_name == "numpy":
        p, spec = Scope(network.weights, training=training, frozen=detector.config.frozen), network.specification.module
        clips = spec.clips(given, p, network.config) if hasattr(spec, "clips") else given
        found = getattr(spec, "branches", magnitude.branches)(clips, p, network.config)
    else:
        set_training(network, training)
        for module in dropouts(network):
            set_training(module, False)
        found = network.branches(network.clips(given))
    scores, magnitudes = (to_numpy(value) for value in found[1:3])
    return scores, magnitudes


def s3r_outputs(detector: wv.Detector, features: np.ndarray, training: bool) -> dict[str, np.ndarray]:
    """What a network without dropout computes of (B, N, T, D): scores and magnitudes (B, T), macro scores (B,), and the
    attention of each crop, (B N, T, atoms)."""
    network, given = detector.network, to_native(detector.backend_name, features)
    items = given.reshape(-1, *features.shape[2:])
    if detector.backend_name == "numpy":
        p, spec = Scope(network.weights, training=training), network.specification.module
        found = *spec.branches(given, p, network.config), spec.attention(items, p)
    else:
        set_training(network, training)
        for module in dropouts(network):
            set_training(module, False)
        found = *network.branches(given), network.attention(items)
    names = ("scores", "feature_magnitudes", "macro_scores", "attention")
    return {name: to_numpy(value) for name, value in zip(names, found[1:])}


def dropouts(network) -> list:
    """The Dropouts of a native network."""
    modules = network.modules() if hasattr(network, "modules") else [cell for _, cell in network.cells_and_names()]
    return [module for module in modules if type(module).__name__ == "Dropout"]


def set_weights(layer, weights: dict[str, np.ndarray]) -> None:
    """Fill a native layer's tensors, all of them, by name."""
    if not hasattr(layer, "set_train"):  # what only MindSpore's cells have
        layer.to(devices.of("torch")).load_state_dict({n: to_native("torch", value) for n, value in weights.items()})
        return
    named = dict(layer.parameters_and_names())
    assert set(named) == set(weights)
    for name, parameter in named.items():
        parameter.set_data(to_native("mindspore", weights[name]))


def set_training(layer, training: bool):
    """The layer in training or evaluation mode."""
    return layer.set_train(training) if hasattr(layer, "set_train") else layer.train(training)


def modes(network) -> list[bool]:
    """Which layers of a native network are in training mode, in their order; a specification has no modes."""
    if isinstance(network, NumpyNetwork):
        return []
    modules = network.modules() if hasattr(network, "modules") else [cell for _, cell in network.cells_and_names()]
    return [module.training for module in modules]
