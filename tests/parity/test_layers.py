"""Every layer of the frameworks against its NumPy specification, forward in both modes, and properties of that."""
import importlib
import math

import numpy as np
import pytest
from scipy import signal, stats

import native
from cases import perturbed
from compare import OUTPUT, SPECIFICATION, assert_close
from wvad_core import aggregation, attention, layers, parameters
from wvad_core.layers import Scope

# layer: (constructor arguments, its tensors, its specification, input (B, T, C))
LAYERS = {
    "Linear": ((6, 5), parameters.linear(6, 5), lambda x, p: layers.linear(x, **p), 6),
    "Conv1d": ((6, 5, 3, 4), parameters.conv1d(6, 5, 3), lambda x, p: layers.conv1d(x, **p, dilation=4), 6),
    "BatchNorm": ((6,), parameters.batch_norm(6), layers.batch_norm, 6),
    "LayerNorm": ((6,), parameters.layer_norm(6), lambda x, p: layers.layer_norm(x, **p), 6),
    "Transformer": ((6, 2, 3, 8, 10), parameters.transformer(6, 2, 3, 8, 10),
                    lambda x, p: attention.transformer(x, p, 2, 3), 6),
    "Transformer, global": ((6, 2, 3, 8, 10, 0.0, False), parameters.transformer(6, 2, 3, 8, 10, local=False),
                            lambda x, p: attention.transformer(x, p, 2, 3, local=False), 6),
    "NonLocal": ((6,), parameters.non_local(6), aggregation.non_local, 6),
    "PyramidAggregation": ((16,), parameters.pyramid_aggregation(16, aggregation.PYRAMID_DILATIONS), aggregation.pyramid_aggregation, 16),
    "ScoreHead": ((6, (5, 4), 0.0), parameters.score_head(6, (5, 4)), lambda x, p: layers.score_head(x, p, 0.0), 6),
}


def sequence(steps: int, channels: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, steps]).standard_normal((3, steps, channels)).astype(np.float32)


def native_layer(framework: str, name: str, arguments: tuple, weights: dict, training: bool):
    """The framework's layer with these weights, as a function of arrays."""
    homes = (importlib.import_module(f"wvad_{framework}.{home}") for home in ("layers", "attention", "aggregation"))
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
    weights = {n: perturbed(n, value, rng) for n, value in parameters.draw(parameters.flatten(tree), 0).items()}
    x = sequence(steps, channels)
    expected = specification(x.astype(np.float64), Scope(dict(weights), training=training))
    assert_close(native_layer(framework, name.partition(",")[0], arguments, weights, training)(x), expected, OUTPUT)


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
    home = importlib.import_module(f"wvad_{framework}.attention")
    monkeypatch.setattr(home, "ATTENTION_BLOCK", framework_block)
    arguments, tree, specification, channels = LAYERS["Transformer"]
    weights = parameters.draw(parameters.flatten(tree), 0)
    x = sequence(21, channels)
    expected = specification(x.astype(np.float64), Scope(dict(weights)))
    assert_close(native_layer(framework, "Transformer", arguments, weights, False)(x), expected, OUTPUT)


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
    assert_close(layers.conv1d(x, weight, dilation=dilation), expected, SPECIFICATION)


def test_gelu_is_exact():
    x = np.linspace(-6, 6, 101)
    assert_close(layers.gelu(x), x * stats.norm.cdf(x), SPECIFICATION)


def test_non_local_is_the_mean_over_pairs():
    rng = np.random.default_rng(0)
    weights = {n: perturbed(n, v, rng) for n, v in parameters.draw(parameters.flatten(parameters.non_local(6)), 0).items()}
    p, x = Scope(weights), sequence(11, 6).astype(np.float64)
    theta, phi, g = (layers.conv1d(x, **p.at(name)) for name in ("theta", "phi", "g"))
    y = np.einsum("bic,bjc,bjd->bid", theta, phi, g) / 11
    expected = x + layers.batch_norm(layers.conv1d(y, **p.at("out")), p.at("norm"))
    assert_close(aggregation.non_local(x, p), expected, SPECIFICATION)
    fresh = Scope(parameters.draw(parameters.flatten(parameters.non_local(6)), 0))
    assert_close(aggregation.non_local(x, fresh), x, SPECIFICATION)


def test_dropout_keeps_the_mean_and_needs_a_generator():
    x = np.ones((200, 500), np.float32)
    dropped = layers.dropout(x, 0.7, np.random.default_rng(0))
    assert dropped.dtype == np.float32 and abs((dropped == 0).mean() - 0.7) < 0.01 and abs(dropped.mean() - 1) < 0.02
    assert layers.dropout(x, 0.7, None) is x
