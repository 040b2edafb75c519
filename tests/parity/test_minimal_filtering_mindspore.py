"""MindSpore's convolutions by minimal filtering on the CPU: the same as the direct ones, compiled and differentiated too."""
import numpy as np
import pytest

from compare import GRADIENT, OUTPUT, assert_close
from native import set_weights
from wvad_core.blocks.convolution import conv1d

pytestmark = [pytest.mark.needs("mindspore"), pytest.mark.on_the_cpu]


@pytest.fixture
def minimal_filtering(monkeypatch):
    """Taken for every size."""
    from wvad_mindspore.blocks import minimal_filtering

    for name, value in {"CHANNELS": 1, "TILES": 0}.items():
        monkeypatch.setattr(minimal_filtering, name, value)
    return minimal_filtering


def convolution(inputs, outputs, dilation=1, bias=True):
    """A layer in evaluation mode, and its weights."""
    from wvad_mindspore.blocks.convolution import Conv1d

    rng, layer = np.random.default_rng(1), Conv1d(inputs, outputs, 3, dilation, bias)
    shapes = {"weight": (outputs, inputs, 3)} | ({"bias": (outputs,)} if bias else {})
    weights = {name: rng.uniform(-1, 1, shape).astype(np.float32) for name, shape in shapes.items()}
    set_weights(layer, weights)
    return layer, weights


def features(batch, steps, inputs):
    return np.random.default_rng([steps, inputs]).standard_normal((batch, steps, inputs)).astype(np.float32)


def expected(x, weights, dilation=1):
    exact = {name: value.astype(np.float64) for name, value in weights.items()}
    return conv1d(x.astype(np.float64), **exact, dilation=dilation)


@pytest.mark.parametrize("steps", (1, 2, 3, 4, 5, 15, 16, 17, 100))
@pytest.mark.parametrize("dilation", (1, 2, 3, 4))
@pytest.mark.parametrize("batch, bias", [(1, True), (5, False)])
def test_any_length_dilation_and_batch(minimal_filtering, steps, dilation, batch, bias):
    from mindspore import Tensor

    (layer, weights), x = convolution(7, 6, dilation, bias), features(batch, steps, 7)
    assert minimal_filtering.pays(Tensor(x), layer.weight, dilation)
    assert_close(layer(Tensor(x)).asnumpy(), expected(x, weights, dilation), OUTPUT)


@pytest.mark.parametrize("spread", (1e-3, 1, 1e3))
def test_the_rounding_error_of_a_large_one(spread):
    """Channels of very different size, as features before a normalisation may have."""
    from mindspore import Tensor

    from wvad_mindspore.blocks import minimal_filtering

    layer, weights = convolution(1024, 256)
    x = np.maximum(features(1, 100, 1024) * spread ** np.random.default_rng(0).standard_normal(1024), 0).astype(np.float32)
    assert minimal_filtering.pays(Tensor(x), layer.weight, 1)
    assert_close(layer(Tensor(x)).asnumpy(), expected(x, weights), 3e-6)


def test_a_changed_weight_is_seen(minimal_filtering):
    from mindspore import Tensor, ops

    (layer, weights), x = convolution(7, 6), features(2, 20, 7)
    layer(Tensor(x))
    for change in (lambda: ops.assign(layer.weight, layer.weight + 1), lambda: set_weights(layer, weights)):
        change()
        now = {"weight": layer.weight.asnumpy(), "bias": weights["bias"]}
        assert_close(layer(Tensor(x)).asnumpy(), expected(x, now), OUTPUT)


def test_compiled(minimal_filtering):
    import mindspore as ms

    (layer, weights), x = convolution(7, 6, 2), features(2, 20, 7)

    @ms.jit
    def compiled(x):
        return layer(x)

    assert_close(compiled(ms.Tensor(x)).asnumpy(), expected(x, weights, 2), OUTPUT)


def test_gradients_are_those_of_the_direct_one(minimal_filtering, monkeypatch):
    import mindspore as ms

    (layer, _), x = convolution(7, 6, 2), ms.Tensor(features(2, 20, 7))

    def gradients():
        of_input, of_weights = ms.grad(lambda x: ms.ops.square(layer(x)).sum(), 0, layer.trainable_params())(x)
        return [g.asnumpy() for g in (of_input, *of_weights)]

    found = gradients()
    monkeypatch.setattr(minimal_filtering, "pays", lambda *_: False)
    for ours, direct in zip(found, gradients(), strict=True):
        assert_close(ours, direct, GRADIENT)


@pytest.mark.parametrize("training", (False, True))
def test_taken_in_evaluation_alone(minimal_filtering, monkeypatch, training):
    from mindspore import Tensor

    (layer, _), taken, direct = convolution(7, 6), [], minimal_filtering.conv1d
    monkeypatch.setattr(minimal_filtering, "conv1d", lambda *given: taken.append(given) or direct(*given))
    layer.set_train(training)(Tensor(features(1, 8, 7)))
    assert bool(taken) == (not training)
