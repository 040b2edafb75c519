"""I3D ResNet-50: its stages and logits, its files of caffe2 and PyTorch, and what is no such file."""
import pickle
import struct
from functools import cache

import numpy as np
import pytest
from bf16 import bf16_or_refusal

import golden
import wvad_core as wv
from compare import OUTPUT, REDUCED, assert_close, error
from wvad_core.blocks.linear import linear
from wvad_core.blocks.tensors import Scope
from wvad_core.checkpoints.contents import Contents
from wvad_core.checkpoints.identification.recognition import identify
from wvad_core.extractors import i3d_resnet50 as specification

NAME = "i3d-resnet50"


def test_every_stage_and_the_logits():
    """In float32, by which a stage that is another one shows; features are compared in float64 with all cases."""
    case = golden.load("i3d_resnet50_odd")
    weights, config = Scope(case.weights()), specification.Config()
    found = dict(specification.stages(case.inputs()["clip"], weights, config))
    assert [f"norm:{name}" for name in found] == [name for name in case.outputs if name.startswith("norm:")]
    for name, x in found.items():
        assert [x.shape[0], x.shape[4], *x.shape[1:4]] == list(case.outputs[f"size:{name}"])
        assert_close(np.linalg.norm(x.astype(np.float64)), case.outputs[f"norm:{name}"], OUTPUT)
    features = found["layer4"].mean((1, 2, 3))
    assert_close(linear(features, **weights.at("fc")), case.outputs["logits"], OUTPUT)


@cache
def state(non_local: bool) -> dict[str, np.ndarray]:
    """A tensor for each canonical name, each full of a number of its own."""
    wanted = specification.parameters(specification.Config(non_local=non_local))
    return {name: np.full(p.shape, number, p.dtype) for number, (name, p) in enumerate(wanted.items())}


def caffe2(name: str) -> str:
    """layer1.0.bn1.weight -> res2_0_branch2a_bn_s, written from the other side than the library has it."""
    module, _, tensor = name.rpartition(".")
    parts = module.split(".")
    ends = {"weight": "s", "bias": "b", "running_mean": "rm", "running_var": "riv"} if "bn" in parts[-1] or (
        parts[-2:-1] == ["downsample"] and parts[-1] == "1") else {"weight": "w", "bias": "b"}
    end = ends[tensor]
    if parts == ["fc"]:
        return f"pred_{end}"
    if len(parts) == 1:
        return f"res_conv1_bn_{end}" if parts == ["bn1"] else f"conv1_{end}"
    layer, block = int(parts[0][-1]) + 1, parts[1]
    if parts[2] == "nl":
        return f"nonlocal_conv{layer}_{block}_{parts[3]}_{end}"
    if parts[2] == "downsample":
        return f"res{layer}_{block}_branch1_" + ("bn_" if parts[3] == "1" else "") + end
    return f"res{layer}_{block}_branch2{'abc'[int(parts[2][-1]) - 1]}_" + ("bn_" if parts[2][:2] == "bn" else "") + end


class Python2(pickle._Pickler):
    """Writes text and bytes as Python 2 wrote its strings."""

    dispatch = dict(pickle._Pickler.dispatch)

    def string(self, value) -> None:
        content = value.encode("latin-1") if isinstance(value, str) else value
        short = len(content) < 256
        self.write(pickle.SHORT_BINSTRING + bytes([len(content)]) if short else pickle.BINSTRING + struct.pack("<i", len(content)))
        self.write(content)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = string


def test_caffe2s_pickles(tmp_path):
    """As Python 2 wrote them, with what training keeps besides; read without running anything."""
    blobs = {caffe2(name): value for name, value in state(True).items() if not name.endswith("num_batches_tracked")}
    assert len(blobs) == 327 and {"nonlocal_conv3_1_theta_w", "res2_0_branch1_bn_riv", "res5_2_branch2c_w"} <= set(blobs)
    beside = {"lr": np.zeros(1, np.float32), "model_iter": np.zeros(1, np.int64), "conv1_w_momentum": blobs["conv1_w"]}
    with open(tmp_path / "i3d_nonlocal.pkl", "wb") as file:
        Python2(file, 2).dump({"blobs": blobs | beside})
    made = wv.load(tmp_path / "i3d_nonlocal.pkl", scale="symmetric", norm_eps=1e-5)
    assert (made.name, made.config) == (NAME, specification.Config(non_local=True, scale="symmetric")) and not made.assumed
    counters = {name for name in state(True) if name.endswith("num_batches_tracked")}
    assert all(np.array_equal(value, state(True)[name] * (name not in counters)) for name, value in made.weights().items())


def test_pytorch_files_without_counters_and_classifier():
    bare = {name: value for name, value in state(False).items() if not name.endswith("num_batches_tracked")}
    found = identify(Contents({f"module.{name}": value for name, value in bare.items()}, {}), "r50.pth")
    assert (found.method, found.config, found.prefix) == (NAME, specification.Config(), "module.")
    assert found.assumed.scored == ("norm_eps", "scale") and not found.assumed.fresh
    without = {name: value for name, value in bare.items() if not name.startswith("fc.")}
    found = identify(Contents(without, {}), "r50.pth")
    assert found.assumed.fresh == ("fc.weight", "fc.bias") and not found.absent and found.assumed.scored == ("norm_eps", "scale")
    other = identify(Contents(bare | {"fc.weight": np.ones((7, 2048), np.float32), "fc.bias": np.ones(7, np.float32),
                                      "conv1.weight": np.ones((64, 2, 5, 7, 7), np.float32)}, {}), "r50.pth")
    assert other.config == specification.Config(in_channels=2, classes=7)


@pytest.mark.parametrize("change, message", [
    ({"layer3.5.conv1.weight": None}, "missing tensor layer3.5.conv1.weight"),
    ({"conv1.weight": None}, "has no tensors of conv1, without which the features of i3d-resnet50 are random"),
    ({"layer4.3.conv1.weight": np.zeros(3, np.float32)}, "unexpected tensor layer4.3.conv1.weight"),
    ({"layer2.0.conv2.weight": np.zeros((128, 128, 3, 3, 3), np.float32)}, "tensor layer2.0.conv2.weight has shape"),
    ({"conv1.weight": np.zeros((64, 3, 5, 7, 7), np.int64)}, "tensor conv1.weight is of type int64")])
def test_what_is_no_such_file(tmp_path, change, message):
    given = {name: value for name, value in (state(False) | change).items() if value is not None}
    with pytest.raises(wv.InputError, match=message):
        identify(Contents(given, {}), "r50.pth").check_whole("r50.pth", False)


def test_the_smallest_clip(backend):
    """On every backend, with weights that arrive as they were given; and in bf16 where the processor has it."""
    weights = specification.parameters(specification.Config())
    rng = np.random.default_rng(0)
    given = {name: rng.uniform(0, 0.05, p.shape).astype(p.dtype) + (name.endswith("running_var")) for name, p in weights.items()}
    clips = rng.integers(0, 256, (1, 7, 5, 5, 3)).astype(np.uint8)
    made = wv.from_published(NAME, given, backend, norm_eps=1e-5, scale="kinetics")
    expected = wv.from_published(NAME, given, norm_eps=1e-5, scale="kinetics").features(
        (clips.astype(np.float64) - 114.75) / 57.375)
    assert_close(made.features(clips), expected, OUTPUT)
    found = made.weights()
    assert all(np.array_equal(found[name], value) and found[name].dtype == value.dtype for name, value in given.items())
    if backend == "torch":
        with bf16_or_refusal():
            reduced = wv.from_published(NAME, given, backend, precision="bf16", norm_eps=1e-5, scale="kinetics")
            assert 0 < error(reduced.features(clips), expected) < REDUCED
