"""What holds on the device of a run, `pytest --device cuda`: nothing is computed elsewhere, and memory is linear."""
from types import SimpleNamespace

import devices
import numpy as np
import pytest

import wvad_core as wv
from cases import CONFIGS, detector


def test_a_network_is_where_the_run_asks(framework):
    for made in (detector("saa", CONFIGS["saa"][0], framework), wv.create("saa", framework, **CONFIGS["saa"][0])):
        kind, _, index = made.backend.device(made.network).partition(":")
        asked, _, wanted = devices.of(framework).partition(":")
        assert kind == asked and (kind == "cpu" or index == (wanted or index))


@pytest.mark.parametrize("given, asked, expected", [
    ((), "cpu:0", "cpu:0"), (("auto",), "cuda:1", "cuda:1"), (("cpu",), "cuda", "cuda"), (("cuda:1",), "cpu", "cuda:1")])
def test_auto_and_cpu_are_the_device_of_the_run(given, asked, expected, monkeypatch):
    built, module = [], SimpleNamespace()
    module.build = lambda method, config, weights, device="auto", *more: built.append((device, *more))
    monkeypatch.setattr(devices, "find_backend", lambda name: module)
    monkeypatch.setenv(devices.VARIABLE, asked)
    for _ in range(2):
        devices.settle("torch")
    module.build("saa", None, {}, *given, *(["float32", 3] if given else []))
    assert built == [(expected, *(["float32", 3] if given else []))]
    assert devices.of("numpy") == "cpu" and devices.of("mindspore") == (asked if asked.startswith("cpu") else "cpu")


@pytest.mark.on_a_device
@pytest.mark.parametrize("user", devices.FRAMEWORKS[devices.kind()])
@pytest.mark.parametrize("method", wv.list_methods())
def test_memory_of_the_device_is_linear_in_the_number_of_snippets(method, user):
    made = wv.create(method, user)

    def peak(steps: int) -> int:
        features = np.ones((2 + made.config.patches, steps, made.config.feature_dim), np.float32)
        return devices.peak(lambda: made.score(features))

    peak(10)
    assert peak(2000) < 2.2 * peak(1000)
