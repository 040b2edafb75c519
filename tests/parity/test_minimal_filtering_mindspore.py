"""MindSpore's convolutions by minimal filtering on the CPU: the same as the direct ones, compiled and differentiated too."""
import numpy as np
import pytest
from filtered import counted

from compare import GRADIENT, OUTPUT, assert_close
from native import set_weights
from wvad_core.blocks import convolution3d
from wvad_core.blocks.convolution import conv1d

pytestmark = [pytest.mark.needs("mindspore"), pytest.mark.on_the_cpu]


@pytest.fixture
def minimal_filtering(monkeypatch):
    """Taken for every size."""
    from wvad_mindspore.blocks import minimal_filtering

    for name, value in {"CHANNELS": 1, "TILES": 0, "CLIP_CHANNELS": 1}.items():
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

    (layer, _), taken = convolution(7, 6), counted("mindspore", monkeypatch)
    layer.set_train(training)(Tensor(features(1, 8, 7)))
    assert bool(taken) == (not training)


def clip_convolution(inputs, outputs, kernel, stride=(1, 1, 1)):
    """A convolution of clips that is padded as "same", and its weights."""
    from wvad_mindspore.blocks.convolution3d import Conv3d

    rng, layer = np.random.default_rng(1), Conv3d(inputs, outputs, kernel, stride, None, bias=True)
    weights = {"weight": rng.uniform(-1, 1, (outputs, inputs, *kernel)).astype(np.float32),
               "bias": rng.uniform(-1, 1, outputs).astype(np.float32)}
    set_weights(layer, weights)
    return layer, weights


def clips(*shape):
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)


def expected_of_clips(x, weights, stride=(1, 1, 1)):
    exact = {name: value.astype(np.float64) for name, value in weights.items()}
    padding = convolution3d.same_padding(x.shape[1:4], weights["weight"].shape[2:], stride)
    return convolution3d.conv3d(x.astype(np.float64), **exact, stride=stride, padding=padding)


@pytest.fixture
def filtered(monkeypatch):
    """The shapes of what is computed in parts of clips."""
    from wvad_mindspore.blocks import minimal_filtering

    taken, parts = [], minimal_filtering.parts
    monkeypatch.setattr(minimal_filtering, "parts", lambda x, *given: taken.append(x.shape) or parts(x, *given))
    return taken


@pytest.mark.parametrize("frames", (1, 2, 3, 4, 5, 8, 9))
@pytest.mark.parametrize("kernel, stride, block", [((3, 3, 3), (1, 1, 1), 2**20), ((3, 3, 3), (1, 1, 1), 1500), ((3, 1, 1), (1, 1, 1), 1),
                                                   ((3, 2, 3), (1, 2, 1), 1500)])
def test_clips_of_any_length(minimal_filtering, monkeypatch, filtered, frames, kernel, stride, block):
    from mindspore import Tensor

    monkeypatch.setattr(minimal_filtering, "BLOCK", block)
    (layer, weights), x = clip_convolution(7, 6, kernel, stride), clips(2, frames, 5, 6, 7)
    assert_close(layer(Tensor(x)).asnumpy(), expected_of_clips(x, weights, stride), OUTPUT)
    assert len(filtered) == (frames > 2)


def test_clips_of_large_channels(filtered):
    """Of channels of very different size, in a convolution of the published width."""
    from mindspore import Tensor

    layer, weights = clip_convolution(192, 208, (3, 3, 3))
    x = np.maximum(clips(2, 4, 6, 6, 192) * 1e3 ** np.random.default_rng(0).standard_normal(192), 0).astype(np.float32)
    assert_close(layer(Tensor(x)).asnumpy(), expected_of_clips(x, weights), 3e-6)
    assert len(filtered) == 1


def test_a_changed_weight_is_seen_in_clips(minimal_filtering, filtered):
    from mindspore import Tensor, ops

    (layer, weights), x = clip_convolution(7, 6, (3, 3, 3)), clips(1, 4, 5, 6, 7)
    before = layer(Tensor(x)).asnumpy()
    for change in (lambda: ops.assign(layer.weight, layer.weight + 1), lambda: set_weights(layer, weights)):
        change()
        after = layer(Tensor(x)).asnumpy()
        assert_close(after, expected_of_clips(x, weights | {"weight": layer.weight.asnumpy()}), OUTPUT)
    assert np.array_equal(after, before) and len(filtered) == 3
