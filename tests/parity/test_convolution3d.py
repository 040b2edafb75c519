"""Convolutions of clips and their pools: the specification against loops, the frameworks against it, folded BatchNorm."""
import importlib
from itertools import product

import native
import numpy as np
import onednn
import pytest
from weight_changes import CHANGES

from compare import OUTPUT, assert_close, error
from wvad_core.blocks import convolution3d as blocks
from wvad_core.blocks.normalisation import folded
from wvad_core.blocks.tensors import Scope, flatten
from wvad_core.extractors import i3d_resnet50

# kernel, stride, padding, None for "same"
SHAPES = [((1, 1, 1), (1, 1, 1), blocks.NONE), ((1, 1, 1), (1, 2, 2), blocks.NONE), ((3, 1, 1), (1, 1, 1), blocks.symmetric(1, 0, 0)),
          ((1, 3, 3), (1, 2, 2), blocks.symmetric(0, 1, 1)), ((5, 7, 7), (2, 2, 2), blocks.symmetric(2, 3, 3)),
          ((3, 3, 3), (1, 1, 1), None), ((7, 7, 7), (2, 2, 2), None), ((2, 3, 2), (3, 1, 2), ((1, 0), (0, 2), (1, 1)))]
POOLS = [((1, 3, 3), (1, 2, 2), None), ((3, 3, 3), (1, 1, 1), None), ((2, 2, 2), (2, 2, 2), None),
         ((2, 3, 3), (2, 2, 2), blocks.NONE), ((2, 1, 1), (2, 1, 1), blocks.NONE), ((2, 2, 2), (2, 2, 2), blocks.symmetric(0, 1, 1))]


def clips(channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(2, 7, 6, 9, channels))


def around(x: np.ndarray, kernel, stride, padding):
    return blocks.same_padding(x.shape[1:4], kernel, stride) if padding is None else padding


def by_loops(x: np.ndarray, kernel, stride, padding, function, value: float = 0) -> np.ndarray:
    """function(window (N, KF, KH, KW, C)) of every window, written out."""
    x = np.pad(x, [(0, 0), *around(x, kernel, stride, padding), (0, 0)], constant_values=value)
    sizes = [(n - k) // s + 1 for n, k, s in zip(x.shape[1:4], kernel, stride)]
    places = product(*map(range, sizes))
    found = [function(x[:, f * stride[0]:f * stride[0] + kernel[0], h * stride[1]:h * stride[1] + kernel[1],
                        w * stride[2]:w * stride[2] + kernel[2]]) for f, h, w in places]
    return np.stack(found, 1).reshape(len(x), *sizes, -1)


@pytest.mark.parametrize("kernel, stride, padding", SHAPES)
@pytest.mark.parametrize("block", [1, 1500, 10**9])
def test_the_specification_convolves(monkeypatch, kernel, stride, padding, block):
    """However many frames are laid out at once."""
    monkeypatch.setattr(blocks, "BLOCK", block)
    x, rng = clips(), np.random.default_rng(1)
    weight, bias = rng.normal(size=(4, 3, *kernel)), rng.normal(size=4)
    expected = by_loops(x, kernel, stride, padding, lambda window: np.einsum("nfhwc,ocfhw->no", window, weight) + bias)
    assert_close(blocks.conv3d(x, weight, bias, stride, around(x, kernel, stride, padding)), expected, 1e-13)


@pytest.mark.parametrize("kernel, stride, padding", [*POOLS, ((1, 8, 3), (1, 1, 2), ((0, 5), (4, 0), (3, 0)))])
def test_the_specification_pools(kernel, stride, padding):
    x = clips()
    expected = by_loops(x, kernel, stride, padding, lambda window: window.max((1, 2, 3)), -np.inf)
    assert np.array_equal(blocks.max_pool3d(x, kernel, stride, around(x, kernel, stride, padding)), expected)
    mean = by_loops(x, (2, 3, 4), (1, 1, 1), blocks.NONE, lambda window: window.mean((1, 2, 3)))
    assert_close(blocks.mean_pool3d(x, (2, 3, 4)), mean, 1e-13)


@pytest.mark.parametrize("size, kernel, stride, expected", [
    (224, 7, 2, (2, 3)), (112, 3, 2, (0, 1)), (16, 7, 2, (2, 3)), (8, 3, 2, (0, 1)), (7, 3, 1, (1, 1)), (7, 2, 2, (0, 1)), (5, 1, 2, (0, 0))])
def test_same_padding(size, kernel, stride, expected):
    """Worked out by hand from TensorFlow's rule: ceil(n / s) outputs, the smaller half before."""
    assert blocks.same_padding((size,) * 3, (kernel,) * 3, (stride,) * 3) == (expected,) * 3


def check_convolution(framework: str, kernel, stride, padding) -> None:
    x, rng = clips(), np.random.default_rng(1)
    weights = {"weight": rng.normal(size=(4, 3, *kernel)).astype(np.float32), "bias": rng.normal(size=4).astype(np.float32)}
    layer = importlib.import_module(f"wvad_{framework}.blocks.convolution3d").Conv3d(3, 4, kernel, stride, padding, bias=True)
    native.set_weights(layer, weights)
    expected = blocks.conv3d(x, **weights, stride=stride, padding=around(x, kernel, stride, padding))
    for relu in (False, True):
        found = native.of_clips(framework, lambda given, relu=relu: layer(given, relu=relu), x.astype(np.float32))
        assert_close(found, np.maximum(expected, 0) if relu else expected, OUTPUT)


def check_pools(framework: str, kernel, stride, padding) -> None:
    layers, x = importlib.import_module(f"wvad_{framework}.blocks.convolution3d"), np.maximum(clips(), 0).astype(np.float32)
    found = native.of_clips(framework, lambda given: layers.max_pool3d(given, kernel, stride, padding), x)
    assert np.array_equal(found, blocks.max_pool3d(x, kernel, stride, around(x, kernel, stride, padding)))
    found = native.of_clips(framework, lambda given: layers.mean_pool3d(given, (2, 3, 4)), x)
    assert_close(found, blocks.mean_pool3d(x, (2, 3, 4)), OUTPUT)


@pytest.mark.parametrize("kernel, stride, padding", SHAPES)
def test_frameworks_convolve(monkeypatch, framework, kernel, stride, padding):
    monkeypatch.setattr(blocks, "BLOCK", 1500)  # several for a clip
    check_convolution(framework, kernel, stride, padding)


@pytest.mark.parametrize("kernel, stride, padding", POOLS)
def test_frameworks_pool(framework, kernel, stride, padding):
    check_pools(framework, kernel, stride, padding)


@pytest.mark.needs("mindspore")
@pytest.mark.parametrize("check, shape", [(check_convolution, shape) for shape in SHAPES] + [(check_pools, shape) for shape in POOLS])
def test_mindspores_own_kernels(monkeypatch, check, shape):
    """Those that devices take."""
    routes = importlib.import_module("wvad_mindspore.routes")
    monkeypatch.setattr(routes, "TABLE", dict.fromkeys(routes.TABLE, routes.TABLE["device"]))
    check("mindspore", *shape)


def random_weights(parameters: dict, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(0.2, 1, p.shape).astype(p.dtype) for name, p in flatten(parameters).items()}


def test_folding_is_the_norm_behind_the_convolution():
    rng, x = np.random.default_rng(2), clips()
    convolution = {"weight": rng.normal(size=(4, 3, 1, 2, 2)), "bias": rng.normal(size=4)}
    norm = {name: rng.uniform(0.5, 2, 4) for name in ("weight", "bias", "running_mean", "running_var")}
    y = blocks.conv3d(x, **convolution)
    expected = (y - norm["running_mean"]) / np.sqrt(norm["running_var"] + 0.1) * norm["weight"] + norm["bias"]
    assert_close(blocks.conv3d(x, *folded(convolution, norm, 0.1, np.dtype(np.float64))), expected, 1e-13)


BLOCKS = [i3d_resnet50.Block(4, 3, 3, 2, True, True), i3d_resnet50.Block(12, 3, 1, 1, False, False)]


@pytest.mark.parametrize("change", sorted({name for changes in CHANGES.values() for name in changes}))
@pytest.mark.parametrize("block", BLOCKS)
def test_bottlenecks_compute_with_the_weights_of_the_moment(framework, block, change):
    """With a non-local block and without; after weights are changed in every way, what the specification gives of them."""
    if change not in CHANGES[framework]:
        return
    layer = importlib.import_module(f"wvad_{framework}.extractors.i3d_resnet50").Bottleneck(block, 1e-3)
    native.set_training(layer, False)
    first, other = (random_weights(i3d_resnet50._block_parameters(block), seed) for seed in (3, 4))
    x = clips(block.inputs).astype(np.float32)
    native.set_weights(layer, first)
    before = native.of_clips(framework, layer, x)
    assert_close(before, i3d_resnet50.bottleneck(x.astype(np.float64), Scope(first), block, 1e-3), OUTPUT)
    CHANGES[framework][change](layer, other)
    now = {name: native.to_numpy(value) for name, value in native.layer_tensors(layer).items()}
    after = native.of_clips(framework, layer, x)
    assert_close(after, i3d_resnet50.bottleneck(x.astype(np.float64), Scope(now), block, 1e-3), OUTPUT)
    assert error(before, after) > 1e-3


@pytest.mark.needs("torch")
@pytest.mark.on_the_cpu
@pytest.mark.parametrize("threads", (1, 2))
@pytest.mark.parametrize("kernel, stride, padding", SHAPES)
def test_every_kernel_is_onednn_s_with_one_thread_too(kernel, stride, padding, threads):
    """PyTorch's own convolution takes up to ten times as long."""
    import torch

    from wvad_torch.blocks.convolution3d import Conv3d

    layer, x = Conv3d(40, 40, kernel, stride, padding), torch.ones(2, 40, 7, 9, 9)
    with torch.no_grad():
        assert onednn.computes(lambda: layer(x), threads)
