"""Inception-I3D: its layers, the names and layouts of its releases, and weights that change."""
import importlib

import devices
import numpy as np
import pytest
from bf16 import bf16_or_refusal
from weight_changes import CHANGES

import golden
import native
import wvad_core as wv
from compare import OUTPUT, REDUCED, assert_close, error
from wvad_core.blocks.tensors import Scope, flatten
from wvad_core.checkpoints import formats
from wvad_core.checkpoints.contents import Contents
from wvad_core.extractors import i3d_inception as specification

NAME = "i3d-inception"
SMALLEST = (9, 193, 193)
FOLDERS = {"b0": "Branch_0/Conv3d_0a_1x1", "b1a": "Branch_1/Conv3d_0a_1x1", "b1b": "Branch_1/Conv3d_0b_3x3",
           "b2a": "Branch_2/Conv3d_0a_1x1", "b2b": "Branch_2/Conv3d_0b_3x3", "b3b": "Branch_3/Conv3d_0b_1x1"}
VARIABLES = {"bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def test_every_layer_and_the_logits():
    """In float32, by which a layer that is another one shows; features are compared in float64 with all cases."""
    case = golden.load("i3d_inception_odd")
    config, weights = specification.Config(**case.about["config"]), Scope(case.weights())
    norms = {}
    for name, x in specification.stages(case.inputs()["clip"], weights, config):
        norms[name] = np.linalg.norm(x.astype(np.float64))
        frames, rows, columns, channels = x.shape[1:]
        assert [1, channels, frames, rows, columns] == list(case.outputs[f"size:{name}"])
    expected = {name: case.outputs[f"norm:{name}"] for name in norms}
    assert list(norms) == [key.removeprefix("norm:") for key in case.outputs if key.startswith("norm:")]
    assert all(abs(norms[name] - value) <= OUTPUT * value for name, value in expected.items())
    windows = specification.mean_pool3d(x, specification.WINDOW)
    assert_close(np.moveaxis(windows, -1, 1), case.outputs["features"], OUTPUT)
    logits = specification.classify(windows, weights)
    assert_close(np.moveaxis(logits[:, :, 0, 0], -1, 1), case.outputs["logits"], OUTPUT)


def fresh(**config) -> dict[str, np.ndarray]:
    """Fresh weights, with statistics as of a trained network: not 0 and 1."""
    rng, found = np.random.default_rng(5), wv.create(NAME, **config).weights()
    for name, value in found.items():
        if name.endswith(("bn.bias", "running_mean", "running_var")):
            found[name] = rng.uniform(0.5, 2, value.shape).astype(np.float32)
    return found


def tensorflow(state: dict, stream: str) -> dict[str, np.ndarray]:
    """The variables of DeepMind's code with these weights, its BatchNorms having none."""
    found = {}
    for name, value in state.items():
        module, kind, tensor = name.rsplit(".", 2)
        layer, _, branch = module.partition(".")
        folder = "Branch_2/Conv3d_0a_3x3" if module == "Mixed_5b.b2b" else FOLDERS.get(branch, "")
        place = "Logits/Conv3d_0c_1x1" if layer == "logits" else f"{layer}/{folder}".rstrip("/")
        path = f"{stream}/inception_i3d/{place}"
        if kind == "conv3d":
            found[f"{path}/conv_3d/{tensor[0]}"] = np.moveaxis(value, (0, 1), (4, 3)) if tensor == "weight" else value
        elif tensor in VARIABLES:
            found[f"{path}/batch_norm/{VARIABLES[tensor]}"] = value.reshape(1, 1, 1, 1, -1)
    return found


@pytest.mark.parametrize("stream, channels", [("RGB", 3), ("Flow", 2)])
def test_variables_of_tensorflow(tmp_path, stream, channels):
    state = fresh(in_channels=channels)
    np.savez(tmp_path / "i3d.npz", **tensorflow(state, stream))
    loaded = wv.load(tmp_path / "i3d.npz")
    assert (loaded.name, loaded.config) == (NAME, specification.Config(in_channels=channels))
    found = loaded.weights()
    assert set(found) == set(state) and all(np.array_equal(found[name], value) for name, value in state.items())
    assert loaded.assumed.settings == {"norm_eps": 1e-3, "scale": "symmetric"} and not loaded.assumed.zeros


def test_a_variable_of_another_name_is_told(tmp_path):
    variables = tensorflow(fresh(), "RGB")
    variables["RGB/inception_i3d/Mixed_3b/Branch_4/Conv3d_0a_1x1/conv_3d/w"] = np.ones((1, 1, 1, 192, 8), np.float32)
    np.savez(tmp_path / "i3d.npz", **variables)
    with pytest.raises(wv.InputError, match=f"what comes nearest is {NAME} .*\n.*unexpected tensor RGB/.*/Branch_4/Conv3d_0a"):
        wv.load(tmp_path / "i3d.npz")


def saved(path, state: dict):
    formats.by_suffix(path).write(path, Contents(state, {}))
    return path


def test_a_file_of_pytorch_0_3_without_classifier(tmp_path):
    """No counters; and what features do without is no matter of theirs."""
    state = {name: value for name, value in fresh().items() if not name.endswith("num_batches_tracked")}
    without = {name: value for name, value in state.items() if not name.startswith("logits.")}
    with pytest.warns(wv.AssumedWarning, match="features depend on .* does not say: norm_eps=0.001 scale=symmetric"):
        loaded = wv.load(saved(tmp_path / "rgb.pt", without))
    assert loaded.name == NAME and set(loaded.assumed.scored) == {"norm_eps", "scale"}
    assert loaded.assumed.fresh == ("logits.conv3d.weight", "logits.conv3d.bias")
    found = loaded.weights()
    assert all(np.array_equal(found[name], value) for name, value in without.items())


def ported(name: str) -> str:
    """Mixed_3b.b1a.bn.bias -> mixed_3b.branch_1.0.batch3d.bias"""
    branches = {"b0": "branch_0", "b1a": "branch_1.0", "b1b": "branch_1.1", "b2a": "branch_2.0", "b2b": "branch_2.1",
                "b3b": "branch_3.1", "logits": "conv3d_0c_1x1", "bn": "batch3d"}
    return ".".join(branches.get(part, part[0].lower() + part[1:]) for part in name.split("."))


def test_files_of_the_ported_network(tmp_path):
    """With the classes of another data set; both settings given, nothing is assumed."""
    state = fresh(classes=7)
    file = saved(tmp_path / "model_rgb.pth", {ported(name): value for name, value in state.items()})
    loaded = wv.load(file, norm_eps=1e-5, scale="raw")
    assert loaded.config == specification.Config(classes=7, norm_eps=1e-5, scale="raw") and not loaded.assumed
    assert all(np.array_equal(value, state[name]) for name, value in loaded.weights().items())
    cut = {ported(name): value for name, value in state.items() if name != "Mixed_4c.b2a.conv3d.weight"}
    with pytest.raises(wv.InputError, match="missing tensor Mixed_4c.b2a.conv3d.weight"):
        wv.load(saved(tmp_path / "cut.pth", cut))


@pytest.mark.parametrize("frames, rows, columns", [(8, 224, 224), (16, 192, 224), (16, 224, 192)])
def test_a_clip_that_is_too_small_is_refused(frames, rows, columns):
    found, expected = f"clips of {frames} frames of {rows} x {columns}", "at least 9 frames and height at least 193"
    with pytest.raises(wv.InputError, match=f"{found} .*, {NAME} takes {expected} and width at least 193") as raised:
        wv.create(NAME).features(np.zeros((1, frames, rows, columns, 3), np.uint8))
    assert "\n" not in str(raised.value)


def clips(channels: int = 3) -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, (1, *SMALLEST, channels)).astype(np.float32)


@pytest.mark.parametrize("change", sorted({name for changes in CHANGES.values() for name in changes}))
def test_folded_weights_are_never_stale(framework, change):
    """What a block computes that was changed after it had computed is what the specification gives of its weights."""
    if change not in CHANGES[framework]:
        return
    widths, rng = specification.Mixed(4, 5, 6, 3, 4, 2), np.random.default_rng(3)
    block = importlib.import_module(f"wvad_{framework}.extractors.i3d_inception").Mixed(6, widths, 1e-3)
    native.set_training(block, False)
    wanted = flatten(specification.mixed_parameters(6, widths))
    first, other = ({n: rng.uniform(0.5, 1, p.shape).astype(p.dtype) for n, p in wanted.items()} for _ in range(2))
    x = rng.uniform(size=(1, 3, 4, 5, 6)).astype(np.float32)
    native.set_weights(block, first)
    before = native.of_clips(framework, block, x)
    CHANGES[framework][change](block, other)
    now = {name: native.to_numpy(value) for name, value in native.layer_tensors(block).items()}
    expected = specification.mixed(x.astype(np.float64), Scope(now), 1e-3)
    assert_close(native.of_clips(framework, block, x), expected, OUTPUT)
    assert error(before, expected) > 0.01


@pytest.mark.needs("torch")
def test_training_mode_does_not_fold():
    """Natively the network trains as any other: BatchNorm by the batch's statistics, which move."""
    import torch
    from wvad_torch.extractors.i3d_inception import Mixed

    block = Mixed(6, specification.Mixed(4, 5, 6, 3, 4, 2), 1e-3).train()
    x = torch.rand(2, 6, 3, 4, 4)
    y = block(x)
    for name, start in (("b0", 0), ("b1b", 4), ("b2b", 10), ("b3b", 14)):
        bn = getattr(block, name).bn
        assert bn.num_batches_tracked == 1 and y[:, start:start + len(bn.bias)].shape[1] == len(bn.bias)
    means = torch.relu(torch.nn.functional.batch_norm(block.b0.conv3d(x), None, None, training=True, eps=1e-3))
    assert torch.allclose(y[:, :4], means, atol=1e-5)
    y.sum().backward()
    assert all(parameter.grad is not None for parameter in block.parameters())


@pytest.mark.needs("torch")
def test_bf16():
    state = fresh()
    with bf16_or_refusal():
        exact, reduced = (wv.from_published(NAME, state, "torch", devices.of("torch"), precision)
                          for precision in ("float32", "bf16"))
        assert 0 < error(reduced.features(clips()), exact.features(clips())) < REDUCED
