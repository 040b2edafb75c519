"""PyTorch's networks are ordinary modules: state_dict, hooks, float64 and export with any T work."""
import devices
import numpy as np
import pytest
from bf16 import bf16_or_refusal

from cases import NETWORKS, detector, items, video
from compare import OUTPUT, REDUCED, SPECIFICATION, assert_close
from native import to_native, to_numpy

pytestmark = [pytest.mark.needs("torch"), pytest.mark.parametrize("method, config", NETWORKS)]

SOONER = ("ar-net", "rtfm", "saa")


@pytest.fixture
def torch():
    import torch

    with torch.no_grad():
        yield torch


def test_the_state_dict_is_the_weights(torch, method, config):
    made = detector(method, config, "torch")
    state = made.network.state_dict()
    assert set(state) == set(made.weights())
    fresh = type(made.network)(made.config)
    fresh.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in made.weights().items()})
    features = to_native("torch", items(method, config, 9, 2))
    assert torch.equal(fresh.to(features.device).eval()(features), made.network(features))


def test_float64(torch, method, config):
    features = items(method, config, 70, 2).astype(np.float64)
    network = detector(method, config, "torch").network.double()
    expected = detector(method, config, "numpy").network(features)
    assert_close(to_numpy(network(to_native("torch", features))), expected, SPECIFICATION)


def test_export_with_any_length(torch, method, config, request):
    """Without --slow, of recurrences, convolutions and attention; all methods are exported in test_export.py."""
    if method not in SOONER and not request.config.getoption("--slow"):
        pytest.skip("takes minutes for all")
    network = detector(method, config, "torch").network
    first, other = (to_native("torch", items(method, config, steps, 2)) for steps in (30, 77))
    steps = torch.export.Dim("steps", min=2, max=10000)
    exported = torch.export.export(network, (first,), dynamic_shapes={"features": {first.ndim - 2: steps}})
    assert_close(to_numpy(exported.module()(other)), to_numpy(network(other)), OUTPUT)


def test_bf16_is_near_and_leaves_the_weights_alone(torch, method, config):
    import wvad_core as wv

    exact = detector(method, config, "torch")
    with bf16_or_refusal():
        network = exact.backend.build(method, exact.config, exact.weights(), devices.of("torch"), "bf16", 0)
        reduced = wv.Detector(method, exact.config, "torch", exact.backend, network)
        features = video(method, config, 90, 2)
        scores = reduced.score(features)
        assert scores.dtype == np.float32 and not np.array_equal(scores, exact.score(features))
        assert_close(scores, exact.score(features), REDUCED)
        assert all(np.array_equal(value, exact.weights()[name]) for name, value in reduced.weights().items())
