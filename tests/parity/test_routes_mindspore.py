"""MindSpore's kernels by the processor: which row is taken, and that all rows give the same numbers and gradients anywhere."""
import numpy as np
import pytest

from cases import NETWORKS, detector, video
from compare import GRADIENT, OUTPUT, assert_close
from native import set_weights
from wvad_core.blocks import convolution

pytestmark = pytest.mark.needs("mindspore")

INTEL = "processor : 0\nvendor_id : GenuineIntel\nflags\t\t: fpu sse4_1 avx avx2{} fma\nbugs : avx512bw\n"


@pytest.fixture(params=("product", "native"))
def kernel(monkeypatch, request):
    """One kernel for everything, whatever the processor."""
    from wvad_mindspore import routes

    kernels = routes.Kernels(request.param, request.param)
    monkeypatch.setattr(routes, "TABLE", dict.fromkeys(routes.TABLE, routes.Routes(kernels, kernels, kernels)))
    return request.param


@pytest.mark.parametrize("machine, flags, limit, expected", [
    ("x86_64", " avx512f avx512bw", "", "AVX512"), ("x86_64", " avx512f avx512bw", "all", "AVX512"),
    ("x86_64", " avx512f avx512bw", "AVX512_CORE_VNNI", "AVX512"), ("x86_64", " avx512f avx512bw", "AVX10_1_512", "AVX512"),
    ("x86_64", " avx512f avx512bw", "avx2", "AVX2"), ("x86_64", " avx512f avx512bw", "AVX2_VNNI_2", "AVX2"),
    ("x86_64", " avx512f avx512bw", "AVX", "other"), ("x86_64", " avx512f", "", "AVX2"),
    ("x86_64", "", "", "AVX2"), ("x86_64", "", "AVX512_CORE", "AVX2"), ("x86_64", "", "SSE41", "other"),
    ("aarch64", " avx512bw", "", "other")])
def test_the_row_of_a_processor(tmp_path, machine, flags, limit, expected):
    from wvad_mindspore import routes

    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(INTEL.format(flags))
    assert routes.capability(cpuinfo, machine, limit) == expected and expected in routes.TABLE


def test_a_system_that_does_not_tell_takes_the_row_that_is_never_slow(tmp_path):
    from wvad_mindspore import routes

    (tmp_path / "arm64").write_text("processor : 0\nFeatures : asimd\n")
    for cpuinfo in (tmp_path / "missing", tmp_path / "arm64"):
        assert routes.capability(cpuinfo, "x86_64", "") == "other"
    assert routes.TABLE["other"] == routes.Routes(routes.PRODUCT, routes.PRODUCT, routes.PRODUCT)


def test_the_variable_of_onednn_is_read(monkeypatch):
    from wvad_mindspore import routes

    for limit in ("AVX2", "SSE41"):
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
        assert routes.capability() in ("AVX2", "other")
    assert routes.capability() == "other"


# kind: (constructor arguments, weight's shape, input's shape, specification)
CONVOLUTIONS = {
    **{f"Conv1d, {k} taps, dilation {d}": (
        (7, 6, k, d), (6, 7, k), (2, steps, 7), lambda x, w, b, d=d: convolution.conv1d(x, w, b, dilation=d))
       for k, d, steps in ((1, 1, 9), (3, 1, 9), (3, 2, 1), (3, 4, 20), (5, 1, 9), (7, 2, 5))},
    "Conv2d, 3 x 3, padded": ((7, 6, 3, 1), (6, 7, 3, 3), (2, 4, 5, 7), lambda x, w, b: convolution.conv2d(x, w, b, padding=1)),
    "Conv2d, 2 x 2": ((7, 6, 2, 0), (6, 7, 2, 2), (2, 4, 5, 7), convolution.conv2d),
}


def made(kind):
    """A convolution of the table with drawn weights, an input, and its output and gradients by the specification in float64."""
    from wvad_mindspore.blocks import convolution as native_blocks

    arguments, shape, of_input, specification = CONVOLUTIONS[kind]
    rng = np.random.default_rng(1)
    weights = {"weight": rng.standard_normal(shape).astype(np.float32), "bias": rng.standard_normal(6).astype(np.float32)}
    layer = getattr(native_blocks, kind.partition(",")[0])(*arguments)
    set_weights(layer, weights)
    x = rng.standard_normal(of_input).astype(np.float32)
    return layer, x, specification, [v.astype(np.float64) for v in (x, weights["weight"], weights["bias"])]


def linear_gradients(function, given, of_output):
    """The gradients of sum(of_output * f) for an f that is linear in each argument, by the unit vectors of each."""
    zero = function(given[0], given[1], 0 * given[2])
    found = []
    for place in (0, 1):
        gradient = np.empty(given[place].size)
        for i in range(len(gradient)):
            unit = np.zeros(len(gradient))
            unit[i] = 1
            arguments = [given[0], given[1], 0 * given[2]]
            arguments[place] = unit.reshape(given[place].shape)
            gradient[i] = (of_output * function(*arguments)).sum()
        found.append(gradient.reshape(given[place].shape))
    return [*found, of_output.reshape(-1, zero.shape[-1]).sum(0)]


@pytest.mark.parametrize("kind", CONVOLUTIONS)
@pytest.mark.parametrize("training", (False, True))
def test_numbers_and_gradients(kernel, kind, training):
    import mindspore as ms

    layer, x, specification, exact = made(kind)
    layer.set_train(training)
    expected = specification(*exact)
    assert_close(layer(ms.Tensor(x)).asnumpy(), expected, OUTPUT)
    weights = np.random.default_rng(2).standard_normal(expected.shape)
    given = ms.Tensor(weights.astype(np.float32))
    of_input, of_weights = ms.grad(lambda x: (layer(x) * given).sum(), 0, layer.trainable_params())(ms.Tensor(x))
    for found, right in zip((of_input, *of_weights), linear_gradients(specification, exact, weights), strict=True):
        assert_close(found.asnumpy(), right, GRADIENT)


@pytest.mark.parametrize("training", (False, True))
@pytest.mark.parametrize("kind", ["Conv1d, 3 taps, dilation 1", "Conv2d, 3 x 3, padded"])
def test_the_kernel_of_the_table_is_the_one_that_runs(kernel, kind, training, monkeypatch):
    import mindspore as ms

    layer, x, *_ = made(kind)
    taken = []
    for name in ("conv1d", "conv2d"):
        own = getattr(ms.ops, name)
        monkeypatch.setattr(ms.ops, name, lambda *a, own=own, **k: taken.append(own) or own(*a, **k))
    layer.set_train(training)(ms.Tensor(x))
    assert bool(taken) == (kernel == "native")


def test_evaluation_and_training_apart(monkeypatch):
    import mindspore as ms

    from wvad_mindspore import routes

    kernels = routes.Kernels("native", "product")
    monkeypatch.setattr(routes, "TABLE", dict.fromkeys(routes.TABLE, routes.Routes(kernels, kernels, kernels)))
    layer, x, *_ = made("Conv2d, 3 x 3, padded")
    taken, own = [], ms.ops.conv2d
    monkeypatch.setattr(ms.ops, "conv2d", lambda *a, **k: taken.append(1) or own(*a, **k))
    layer.set_train(True)(ms.Tensor(x))
    assert not taken
    layer.set_train(False)(ms.Tensor(x))
    assert taken


def test_a_broken_route_is_seen(monkeypatch):
    """Taps in the wrong order, on either route, fail what is tested above."""
    import mindspore as ms

    layer, x, specification, exact = made("Conv1d, 3 taps, dilation 1")
    for native in (False, True):
        layer.native = native
        layer.weight.set_data(ms.Tensor(exact[1][..., ::-1].astype(np.float32)))
        with pytest.raises(AssertionError):
            assert_close(layer(ms.Tensor(x)).asnumpy(), specification(*exact), OUTPUT)


FORMS = {(method, str(config.get("variant")), config.get("stage")): (method, config) for method, config in NETWORKS}


@pytest.mark.parametrize("method, config", FORMS.values())
def test_networks(kernel, method, config):
    features = video(method, config, 12, 2)
    expected = detector(method, config, "numpy").score(features)
    assert_close(detector(method, config, "mindspore").score(features), expected, OUTPUT)
