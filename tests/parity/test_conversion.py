"""A checkpoint is the same one in every format, and a detector from it the same one on every backend."""
from itertools import cycle
from pathlib import Path

import devices
import numpy as np
import pytest
from ml_dtypes import bfloat16

import golden
import wvad_core as wv
from cases import CONFIGS, NETWORKS, detector, video
from compare import OUTPUT, assert_close
from test_golden import state
from wvad_core.checkpoints import formats
from wvad_core.checkpoints.contents import Contents, describe, digest
from wvad_core.checkpoints.identification.recognition import identify

SUFFIXES = (".ckpt", ".pt", ".safetensors")
SMALL = 2e6
"""Numbers of a golden case that is converted; the larger ones have the same names."""

CASES = {name: case for name in golden.names() if (case := golden.load(name)).about["inputs"].get("features")
         and sum(np.prod(shape) for _, shape in case.about["weights"]) < SMALL}


def write(path: Path, tensors: dict, metadata: dict) -> Path:
    formats.by_suffix(path).write(path, Contents(tensors, metadata))
    return path


def converted(source: Path, target: Path, method: str | None = None, **given) -> Path:
    found = identify(formats.read(source)[1], str(source), method, given)
    formats.by_suffix(target).write(target, describe(found.weights, found.method, found.config.as_dict()))
    return target


@pytest.mark.parametrize("method, config", NETWORKS)
def test_the_same_scores_in_every_format_on_every_backend(method, config, tmp_path, request):
    made, features = detector(method, config, "numpy"), video(method, config, 20, 2)
    made.save(tmp_path / "0.safetensors")
    paths = [tmp_path / "0.safetensors"]
    for i, suffix in enumerate((".ckpt", ".pt", ".ckpt", ".safetensors", ".pt"), 1):
        paths.append(converted(paths[-1], tmp_path / f"{i}{suffix}"))
        assert digest(formats.read(paths[-1])[1].tensors) == digest(made.weights())
    expected = made.score(features.astype(np.float64))
    for name, path in zip(request.config.wvad_versions, cycle(paths[1:])):
        loaded = wv.load(path, backend=name, device=devices.of(name))
        assert loaded.config == made.config
        assert_close(loaded.score(features), expected, OUTPUT)


@pytest.mark.parametrize("method, config", NETWORKS)
def test_published_tensors_in_every_format(method, config, tmp_path):
    made = detector(method, config, "numpy")
    weights, features = made.weights(), video(method, config, 20, 2)
    state = {theirs: weights[ours] for theirs, ours in wv.published_names(method, **config).items()}
    expected = wv.from_published(method, state, **config).score(features)
    for suffix, other in zip(SUFFIXES, reversed(SUFFIXES)):
        path = write(tmp_path / f"x{suffix}", state, {})
        for loaded in (wv.load(path, method=method, **config),
                       wv.load(converted(path, tmp_path / f"y{other}", method, **config))):
            assert loaded.config == made.config
            assert_close(loaded.score(features), expected, 1e-7)


@pytest.mark.parametrize("name", CASES)
def test_golden_states(name, tmp_path):
    case = CASES[name]
    features = case.inputs()["features"][0]
    made = wv.from_published(case.about["method"], state(case), **case.about["config"])
    path = write(tmp_path / "official.pt", state(case), {})
    unseen = {name: getattr(made.config, name) for name in wv.load(path).assumed.settings}
    for suffix in SUFFIXES:
        found = wv.load(converted(path, tmp_path / f"x{suffix}", **unseen))
        assert found.method == made.method
        assert digest(found.weights()) == digest(made.weights())
        assert_close(found.score(features), made.score(features), 1e-7)


@pytest.mark.needs("torch", "mindspore")
@pytest.mark.parametrize("method, config", [(method, configs[0]) for method, configs in CONFIGS.items()])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, bfloat16])
def test_from_torch_to_mindspore_and_back(method, config, dtype, tmp_path):
    """Written by PyTorch, opened by MindSpore, written by it, and opened by PyTorch again: bit by bit the same."""
    import mindspore
    import torch

    kind = getattr(torch, np.dtype(dtype).name)
    state = {name: value.to(kind) if value.is_floating_point() else value
             for name, value in detector(method, config, "torch").network.state_dict().items()}
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "a.pt")
    converted(tmp_path / "a.pt", tmp_path / "b.ckpt", method, **config)
    loaded = mindspore.load_checkpoint(str(tmp_path / "b.ckpt"))
    text = loaded.pop("wvad")
    mindspore.save_checkpoint([{"name": n, "data": p} for n, p in loaded.items()], str(tmp_path / "c.ckpt"),
                              append_dict={"wvad": text})
    converted(tmp_path / "c.ckpt", tmp_path / "d.pt")
    back = torch.load(tmp_path / "d.pt", weights_only=True)
    assert set(back) == set(state)
    for name, value in state.items():
        assert back[name].dtype == value.dtype and back[name].shape == value.shape
        assert torch.equal(back[name], value)
    features = video(method, config, 20)
    score = wv.load(tmp_path / "d.pt").score(features)
    assert score.dtype == np.float32
    assert_close(wv.load(tmp_path / "c.ckpt", backend="torch", device=devices.of("torch")).score(features), score, OUTPUT)


@pytest.mark.needs("mindspore")
@pytest.mark.parametrize("method, config", NETWORKS)
def test_mindspore_loads_all_of_it(method, config, tmp_path):
    import mindspore

    made = detector(method, config, "numpy")
    made.save(tmp_path / "x.safetensors")
    path = converted(tmp_path / "x.safetensors", tmp_path / "x.ckpt")
    other = detector(method, config, "mindspore", seed=9)
    missing, unused = mindspore.load_param_into_net(other.network, mindspore.load_checkpoint(str(path)))
    assert (missing, unused) == ([], ["wvad"])
    assert digest(other.weights()) == digest(made.weights())
