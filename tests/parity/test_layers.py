"""Every layer of the frameworks against its NumPy specification, forward in both modes, and properties of that."""
import importlib
import math

import numpy as np
import pytest
from scipy import signal, stats

import native
from cases import perturbed
from compare import OUTPUT, SPECIFICATION, assert_close
from wvad_core.blocks import aggregation, attention, transformer
from wvad_core.blocks.activations import gelu
from wvad_core.blocks.aggregation import non_local_parameters, pyramid_aggregation_parameters
from wvad_core.blocks.attention import local_attention_parameters
from wvad_core.blocks.convolution import causal_conv1d, conv1d, conv1d_parameters, conv2d, conv2d_parameters
from wvad_core.blocks.heads import score_head, score_head_parameters
from wvad_core.blocks.linear import linear, linear_parameters
from wvad_core.blocks.normalisation import batch_norm, batch_norm_parameters, group_norm, layer_norm, layer_norm_parameters
from wvad_core.blocks.random import dropout
from wvad_core.blocks.tensors import Parameter, Scope, draw, flatten
from wvad_core.blocks.transformer import transformer_parameters
from wvad_core.errors import InputError

# layer: (constructor arguments, its tensors, its specification, C of the input (B, T, C); of (B, T, 4, C) for a grid)
LAYERS = {
    "Linear": ((6, 5), linear_parameters(6, 5), lambda x, p: linear(x, **p), 6),
    "Conv1d": ((6, 5, 3, 4), conv1d_parameters(6, 5, 3), lambda x, p: conv1d(x, **p, dilation=4), 6),
    **{f"CausalConv1d, {kernel}": ((6, outputs, kernel), conv1d_parameters(6, outputs, kernel), lambda x, p: causal_conv1d(x, **p), 6)
       for outputs, kernel in ((1, 9), (2, 4), (3, 1))},
    "Conv2d, padded": ((6, 5, 3, 1), conv2d_parameters(6, 5, 3), lambda x, p: conv2d(x, **p, padding=1), (4, 6)),
    "Conv2d, not padded": ((6, 5, 1), conv2d_parameters(6, 5, 1), lambda x, p: conv2d(x, **p), (4, 6)),
    "BatchNorm": ((6,), batch_norm_parameters(6), batch_norm, 6),
    "LayerNorm": ((6,), layer_norm_parameters(6), lambda x, p: layer_norm(x, **p), 6),
    "GroupNorm": ((2, 6), layer_norm_parameters(6), lambda x, p: group_norm(x, **p, groups=2), 6),
    "Transformer": ((6, 2, 3, 8, 10), transformer_parameters(6, 2, 3, 8, 10),
                    lambda x, p: transformer.transformer(x, p, 2, 3), 6),
    "Transformer, global": ((6, 2, 3, 8, 10, 0.0, False), transformer_parameters(6, 2, 3, 8, 10, local=False),
                            lambda x, p: transformer.transformer(x, p, 2, 3, local=False), 6),
    **{f"LocalAttention, {w}": (
        (6, 2, 8, w), local_attention_parameters(6, 2, 8),
        lambda x, p, w=w: attention.local_attention(layer_norm(x, **p.at("norm")), p, 2, w), 6) for w in (1, 3, 8, 20)},
    "PositionEmbedding": ((300, 6), {"weight": Parameter((300, 6), 1.0)},
                          lambda x, p: attention.with_positions(x, **p), 6),
    "NonLocal": ((6,), non_local_parameters(6), aggregation.non_local, 6),
    "PyramidAggregation": ((16,), pyramid_aggregation_parameters(16, aggregation.PYRAMID_DILATIONS), aggregation.pyramid_aggregation, 16),
    "PyramidAggregation, with GroupNorm": (
        (32, 8), pyramid_aggregation_parameters(32, aggregation.PYRAMID_DILATIONS, 8),
        lambda x, p: aggregation.pyramid_aggregation(x, p, 8), 32),
    "ScoreHead": ((6, (5, 4), 0.0), score_head_parameters(6, (5, 4)), lambda x, p: score_head(x, p, 0.0), 6),
}


def sequence(steps: int, channels: int | tuple[int, ...], seed: int = 0) -> np.ndarray:
    shape = (3, steps, *np.atleast_1d(channels))
    return np.random.default_rng([seed, steps]).standard_normal(shape).astype(np.float32)


HOMES = ("linear", "convolution", "normalisation", "attention", "transformer", "aggregation", "heads")


def native_layer(framework: str, name: str, arguments: tuple, weights: dict, training: bool):
    """The framework's layer with these weights, as a function of arrays."""
    homes = (importlib.import_module(f"wvad_{framework}.blocks.{home}") for home in HOMES)
    layer = next(getattr(home, name) for home in homes if hasattr(home, name))(*arguments)
    native.set_weights(layer, weights)
    native.set_training(layer, training)
    return lambda x: native.to_numpy(layer(native.to_native(framework, x)))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("steps", (1, 2, 9, 64, 65, 200))
def test_layer(framework, name, training, steps):
    arguments, tree, specification, channels = LAYERS[name]
    rng = np.random.default_rng(1)
    weights = {n: perturbed(n, value, rng) for n, value in draw(flatten(tree), 0).items()}
    x = sequence(steps, channels)
    expected = specification(x.astype(np.float64), Scope(dict(weights), training=training))
    assert_close(native_layer(framework, name.partition(",")[0], arguments, weights, training)(x), expected, OUTPUT)


def test_batch_statistics_of_many_positions_keep_their_digits(framework):
    """All patches of a training batch are tens of thousands; a running sum in float32 would lose three digits."""
    weights = draw(flatten(batch_norm_parameters(6)), 0)
    x = np.abs(sequence(20000, 6))
    expected = batch_norm(x.astype(np.float64), Scope(dict(weights), training=True))
    assert_close(native_layer(framework, "BatchNorm", (6,), weights, True)(x), expected, 1e-6)


def test_group_norm_by_its_definition():
    x, weight, bias = sequence(7, 6).astype(np.float64), np.arange(6.0), np.arange(6.0) - 3
    expected = np.empty_like(x)
    for item, first in np.ndindex(3, 2):
        place = item, slice(None), slice(3 * first, 3 * first + 3)
        values = x[place]
        deviation = math.sqrt(sum((value - values.mean()) ** 2 for value in values.flat) / values.size + 1e-5)
        expected[place] = (values - values.mean()) / deviation
    assert_close(group_norm(x, weight, bias, 2), expected * weight + bias, SPECIFICATION)


def test_group_statistics_of_long_videos_keep_their_digits(framework):
    weights = draw(flatten(layer_norm_parameters(8)), 0)
    x = 3 + np.abs(sequence(20000, 8))
    expected = group_norm(x.astype(np.float64), **weights, groups=2)
    assert_close(native_layer(framework, "GroupNorm", (2, 8), weights, False)(x), expected, 3e-6)


@pytest.mark.parametrize("steps", (1, 2, 3, 50, 101, 500))
@pytest.mark.parametrize("dtype, rtol", [(np.float64, SPECIFICATION), (np.float32, OUTPUT)])
def test_decay_attention_is_the_matrix_of_the_paper(steps, dtype, rtol):
    t = sequence(steps, 4).astype(dtype)
    places = np.arange(steps)
    weights = np.exp(-np.abs(places[:, None] - places) / math.e)
    expected = (weights / weights.sum(0)) @ t.astype(np.float64)
    found = attention.decay_attention(t)
    assert found.dtype == dtype
    assert_close(found, expected, rtol)
    assert_close(attention.decay_sums(steps), weights.sum(0), SPECIFICATION)


def test_rows_of_the_decay_attention_do_not_sum_to_one_near_the_ends():
    rows = attention.decay_attention(np.ones((1, 40, 1)))[0, :, 0]
    assert abs(rows[20] - 1) < 1e-2 and rows[0] < 0.9


@pytest.mark.parametrize("block", (1, 7, 1 << 20))
def test_softmax_attention_in_blocks_is_the_whole(block, monkeypatch):
    q, k, v = (np.random.default_rng(i).standard_normal((2, 3, 33, 8)) for i in range(3))
    logits = q @ k.swapaxes(-1, -2) / math.sqrt(8)
    weights = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    monkeypatch.setattr(attention, "ATTENTION_BLOCK", block)
    assert_close(attention.softmax_attention(q, k, v), weights @ v, SPECIFICATION)
    assert np.isfinite(attention.softmax_attention(1e4 * q, k, v)).all()


@pytest.mark.parametrize("framework_block", (1, 50, 1 << 22))
def test_softmax_attention_of_the_frameworks_in_blocks(framework, framework_block, monkeypatch):
    home = importlib.import_module(f"wvad_{framework}.blocks.attention")
    monkeypatch.setattr(home, "ATTENTION_BLOCK", framework_block)
    arguments, tree, specification, channels = LAYERS["Transformer"]
    weights = draw(flatten(tree), 0)
    x = sequence(21, channels)
    expected = specification(x.astype(np.float64), Scope(dict(weights)))
    assert_close(native_layer(framework, "Transformer", arguments, weights, False)(x), expected, OUTPUT)


@pytest.mark.parametrize("window", (1, 2, 5, 8))
@pytest.mark.parametrize("steps", (1, 2, 7, 8, 37))
def test_windowed_attention_is_that_of_windows_and_their_neighbours(window, steps):
    """As published: keys are numbered from the left neighbour's first one, queries have the last numbers, everything is
    zero-padded to whole windows, and only then |i - j| <= window."""
    q, k, v = (np.random.default_rng([i, steps]).standard_normal((steps, 6)) for i in range(3))
    count = -(-steps // window)
    padded = [np.pad(x, ((0, count * window - steps), (0, 0))).reshape(count, window, 6) for x in (q, k, v)]

    def turn(x, place):
        turned = (x[:3] + 1j * x[3:]) * np.exp(1j * place * 10000 ** (-np.arange(3) / 3))
        return np.concatenate([turned.real, turned.imag])

    expected = np.zeros((count, window, 6))
    for n in range(count):
        neighbours = [m for m in (n - 1, n, n + 1) if 0 <= m < count]
        for a in range(window):
            query, weights, values = turn(padded[0][n, a], 2 * window + a), [], []
            for m, b in ((m, b) for m in neighbours for b in range(window)):
                if abs((n - m) * window + a - b) <= window:
                    key = turn(padded[1][m, b], (m - n + 1) * window + b)
                    weights.append(np.exp(query @ key / math.sqrt(6)))
                    values.append(padded[2][m, b])
            expected[n, a] = np.average(values, axis=0, weights=weights)
    found = attention.windowed_attention(q, k, v, window)
    assert_close(found, expected.reshape(-1, 6)[:steps], SPECIFICATION)


def test_rotary_positions_keep_their_digits_in_a_long_video(framework):
    arguments, tree, specification, channels = LAYERS["LocalAttention, 8"]
    weights, x = draw(flatten(tree), 0), sequence(6750, channels)
    expected = specification(x.astype(np.float64), Scope(dict(weights)))
    assert_close(native_layer(framework, "LocalAttention", arguments, weights, False)(x), expected, 1e-6)


def test_a_video_longer_than_the_positions_is_refused(framework):
    layer = native_layer(framework, "PositionEmbedding", (9, 4), {"weight": np.zeros((9, 4), np.float32)}, False)
    for refusing in (layer, lambda x: attention.with_positions(x, np.zeros((9, 4)))):
        assert refusing(np.ones((1, 9, 4), np.float32)).shape == (1, 9, 4)
        with pytest.raises(InputError, match="a video of 10 snippets: this network has positions for 9 at most"):
            refusing(np.ones((1, 10, 4), np.float32))


@pytest.mark.parametrize("taps", (1, 3, 5))
@pytest.mark.parametrize("dilation", (1, 2, 4))
@pytest.mark.parametrize("steps", (1, 2, 5, 30))
def test_conv1d_is_a_correlation(taps, dilation, steps):
    x, weight = sequence(steps, 2).astype(np.float64), np.random.default_rng(0).standard_normal((3, 2, taps))
    spread = np.zeros((3, 2, dilation * (taps - 1) + 1))
    spread[:, :, ::dilation] = weight
    half = spread.shape[-1] // 2
    padded = np.pad(x, ((0, 0), (half, half), (0, 0)))
    expected = np.stack([[sum(signal.correlate(b[:, i], kernel[i], "valid") for i in range(2)) for kernel in spread]
                         for b in padded]).swapaxes(1, 2)
    assert_close(conv1d(x, weight, dilation=dilation), expected, SPECIFICATION)


@pytest.mark.parametrize("shape", [(2, 3), (3, 5), (4, 7), (3, 3)])
@pytest.mark.parametrize("padding", (0, 1))
def test_conv2d_is_a_correlation(framework, shape, padding):
    if min(shape) + 2 * padding < 3:
        shape = shape[::-1] + np.array((0, 1))
    x = np.random.default_rng(0).standard_normal((4, *shape, 2))
    drawn = draw(flatten(conv2d_parameters(2, 6, 3)), 0)
    weights = {name: value.astype(np.float64) for name, value in drawn.items()}
    padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    expected = np.stack([[sum(signal.correlate(grid[..., i], kernel[i], "valid") for i in range(2))
                          for kernel in weights["weight"]] for grid in padded]).transpose(0, 2, 3, 1) + weights["bias"]
    assert_close(conv2d(x, **weights, padding=padding), expected, SPECIFICATION)
    single = {name: value.astype(np.float32) for name, value in weights.items()}
    found = native_layer(framework, "Conv2d", (2, 6, 3, padding), single, False)(x.astype(np.float32))
    assert_close(found, expected, OUTPUT)


@pytest.mark.parametrize("axis, size", [(0, 1), (0, 2), (1, 4), (-2, 3), (1, 100)])
def test_in_blocks(backend, axis, size):
    home = {"numpy": "wvad_core", "torch": "wvad_torch", "mindspore": "wvad_mindspore"}[backend]
    seen = []

    def function(part):
        seen.append(tuple(part.shape))
        return part * 2

    x = sequence(9, 5)
    found = importlib.import_module(f"{home}.blocks.crops").in_blocks(function, native.to_native(backend, x), axis, size)
    assert_close(native.to_numpy(found), 2 * x, OUTPUT)
    assert max(shape[axis] for shape in seen) == min(size, x.shape[axis]) and len(seen) == -(-x.shape[axis] // size)


def test_gelu_is_exact():
    x = np.linspace(-6, 6, 101)
    assert_close(gelu(x), x * stats.norm.cdf(x), SPECIFICATION)


def test_non_local_is_the_mean_over_pairs():
    rng = np.random.default_rng(0)
    weights = {n: perturbed(n, v, rng) for n, v in draw(flatten(non_local_parameters(6)), 0).items()}
    p, x = Scope(weights), sequence(11, 6).astype(np.float64)
    theta, phi, g = (conv1d(x, **p.at(name)) for name in ("theta", "phi", "g"))
    y = np.einsum("bic,bjc,bjd->bid", theta, phi, g) / 11
    expected = x + batch_norm(conv1d(y, **p.at("out")), p.at("norm"))
    assert_close(aggregation.non_local(x, p), expected, SPECIFICATION)
    fresh = Scope(draw(flatten(non_local_parameters(6)), 0))
    assert_close(aggregation.non_local(x, fresh), x, SPECIFICATION)


def test_dropout_keeps_the_mean_and_needs_a_generator():
    x = np.ones((200, 500), np.float32)
    dropped = dropout(x, 0.7, np.random.default_rng(0))
    assert dropped.dtype == np.float32 and abs((dropped == 0).mean() - 0.7) < 0.01 and abs(dropped.mean() - 1) < 0.02
    assert dropout(x, 0.7, None) is x


@pytest.mark.needs("torch")
@pytest.mark.parametrize("p", (0.3, 0.5, 0.7))
def test_dropout_zeros_its_share_and_keeps_the_mean(p):
    import torch

    from wvad_torch.blocks.random import Dropout

    torch.manual_seed(0)
    layer, x = Dropout(p=p), torch.ones(999, 1001, requires_grad=True)
    y = layer(x)
    assert abs((y == 0).float().mean().item() - p) < 5 * (p * (1 - p) / x.numel()) ** 0.5
    torch.testing.assert_close(y[y != 0], torch.full_like(y[y != 0], 1 / (1 - p)), rtol=1e-4, atol=0)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach()) and not torch.equal(layer(x), y)
    assert layer.eval()(x) is x
