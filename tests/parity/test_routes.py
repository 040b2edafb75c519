"""PyTorch's kernels on the CPU: each route of the table gives the exact numbers and gradients, whatever the processor."""
from dataclasses import replace

import numpy as np
import onednn
import pytest

from compare import OUTPUT, assert_close

pytestmark = pytest.mark.needs("torch")
CAPABILITIES = ("AVX512", "AVX2")


@pytest.fixture
def kernels():
    from wvad_torch import kernels

    return kernels


@pytest.fixture(params=CAPABILITIES)
def taken(request, monkeypatch):
    """The row of the table that a processor with this instruction set takes; few rows are fewer than 4 here."""
    from wvad_torch import routes

    monkeypatch.setattr(routes, "TAKEN", replace(routes.row(request.param), few_rows=4))
    return routes.TAKEN


def routes_of(capability: str):
    from wvad_torch import routes

    return routes.row(capability)


def tensors(*shapes):
    """float32 tensors with gradients, the same for the same shapes."""
    import torch

    rng = np.random.default_rng(list(shapes[0]))
    return [torch.tensor(rng.standard_normal(shape), dtype=torch.float32, requires_grad=True) for shape in shapes]


def check(operation, exact, inputs, dy=None) -> None:
    """Output and gradients of an operation on float32 inputs against those of `exact` in float64."""
    import torch

    wide = [t.detach().double().requires_grad_() for t in inputs]
    found, expected = operation(*inputs), exact(*wide)
    dy = torch.cos(torch.arange(expected.numel(), dtype=torch.float64)).view(expected.shape)
    assert_close(found.detach().numpy(), expected.detach().numpy(), OUTPUT, name="output")
    pairs = (torch.autograd.grad(y, given, dy.to(y.dtype)) for y, given in ((found, inputs), (expected, wide)))
    for name, ours, theirs in zip(("x", "weight", "bias"), *pairs):
        assert ours.shape == theirs.shape
        assert_close(ours.numpy(), theirs.numpy(), OUTPUT, name=name)


def exact_convolution(dilation: int):
    from torch.nn import functional as F

    def convolution(x, weight, bias=None):
        reach = dilation * (weight.shape[-1] // 2)
        return F.conv1d(x.transpose(1, 2), weight, bias, padding=reach, dilation=dilation).transpose(1, 2)

    return convolution


@pytest.mark.parametrize("shape, outputs", [((7, 5), 3), ((2, 9, 6), 1), ((1, 1), 1), ((3, 40, 256), 160)])
@pytest.mark.parametrize("bias", (True, False))
def test_products(taken, kernels, shape, outputs, bias):
    from torch.nn import functional as F

    inputs = tensors(shape, (outputs, shape[-1]), *([(outputs,)] if bias else []))
    check(kernels.product, F.linear, inputs)


@pytest.mark.parametrize("taps", (1, 3, 5))
@pytest.mark.parametrize("dilation", (1, 2, 4))
@pytest.mark.parametrize("shape, outputs, bias", [((2, 1, 4), 3, True), ((3, 7, 4), 5, False), ((2, 37, 160), 128, True)])
def test_convolutions_over_time(taken, taps, dilation, shape, outputs, bias):
    from wvad_torch.blocks.convolution import over_time

    inputs = tensors(shape, (outputs, shape[-1], taps), *([(outputs,)] if bias else []))
    check(lambda *given: over_time(*given, **({} if bias else {"bias": None}), dilation=dilation), exact_convolution(dilation),
          inputs)


@pytest.mark.parametrize("dilation", (1, 4))
def test_minimal_filtering_takes_the_products_of_the_route(taken, dilation):
    from wvad_torch.blocks import minimal_filtering

    inputs = tensors((3, 70, 130), (128, 130, 3), (128,))
    check(lambda *given: minimal_filtering.Convolution.apply(*given, dilation), exact_convolution(dilation), inputs)


@pytest.mark.on_the_cpu
@pytest.mark.parametrize("batch, steps, inputs, outputs, filtered", [
    (10, 240, 2048, 512, True), (10, 240, 1024, 1024, True), (1, 3000, 512, 512, True), (10, 40, 2048, 512, None),
    (10, 16, 2048, 512, False), (1, 120, 1024, 1024, False), (10, 60, 128, 128, False), (1000, 7, 1024, 1024, False)])
def test_minimal_filtering_is_taken_where_it_pays(taken, batch, steps, inputs, outputs, filtered):
    """By the measured times beside the table; None: with AVX2 alone. A layer takes it by this."""
    import torch

    from wvad_torch.blocks import convolution, minimal_filtering

    x, layer = torch.empty(1).expand(batch, steps, inputs), convolution.Conv1d(inputs, outputs, 3)
    expected = taken.filtering == routes_of("AVX2").filtering if filtered is None else filtered
    assert minimal_filtering.pays(x, layer.weight, 1) == expected


def test_large_convolutions_take_their_own_route(taken, kernels, monkeypatch):
    """The exact numbers, by the kernels that the table names."""
    seen = []
    for name, home in kernels.CONVOLUTIONS.items():
        monkeypatch.setattr(home, "output", staticmethod(lambda *given, name=name, whole=home.output: seen.append(name) or whole(*given)))
    for inputs, outputs in ((1024, 1024), (1024, 1023)):
        check(kernels.convolution, exact_convolution(1), tensors((1, 5, inputs), (outputs, inputs, 3), (outputs,)))
    assert seen == [taken.large_convolution.output, taken.convolution.output]


@pytest.mark.parametrize("shape, few", [((3, 6), True), ((1, 3, 6), True), ((4, 6), False), ((2, 2, 6), False)])
def test_products_of_few_rows_are_the_blas_s(taken, kernels, monkeypatch, shape, few):
    seen, whole = [], kernels.Matrix.output
    monkeypatch.setattr(kernels.Matrix, "output", staticmethod(lambda *given: seen.append(given) or whole(*given)))
    check(kernels.product, lambda x, weight: x @ weight.t(), tensors(shape, (5, 6)))
    assert len(seen) == few


@pytest.mark.on_the_cpu
@pytest.mark.parametrize("threads", (1, 2))
@pytest.mark.parametrize("part", ("output", "of_input", "of_weight"))
def test_products_of_many_rows_are_onednn_s_with_one_thread_too(kernels, threads, part):
    """PyTorch takes its own convolution of kernel 1 for one thread and few images, at half the rate or less."""
    x, weight, dy = (t.detach() for t in tensors((400, 130), (140, 130), (400, 140)))
    given = (x, weight) if part == "output" else (dy, x, weight)
    assert onednn.computes(lambda: getattr(kernels.Pixels, part)(*given), threads)


def test_without_a_dilation_they_are_not(kernels, monkeypatch):
    monkeypatch.setattr(kernels, "OF_ONE_TAP", 1)
    x, weight = (t.detach() for t in tensors((400, 130), (140, 130)))
    assert not onednn.computes(lambda: kernels.Pixels.output(x, weight), 1)


def test_each_gradient_takes_its_kernel(taken, kernels, monkeypatch):
    import torch

    seen = []
    for kind, names in (("product", kernels.PRODUCTS), ("convolution", kernels.CONVOLUTIONS)):
        for kernel, home in names.items():
            for part in ("output", "of_input", "of_weight"):
                whole = getattr(home, part)
                monkeypatch.setattr(home, part, staticmethod(
                    lambda *given, whole=whole, entry=(kind, part, kernel): seen.append(entry) or whole(*given)))
    x, weight = tensors((2, 9, 6), (5, 6))
    taps, = tensors((5, 6, 3))
    torch.autograd.grad(kernels.product(x, weight).sum() + kernels.convolution(x, taps).sum(), [x, weight, taps])
    assert set(seen) == {(kind, part, getattr(getattr(taken, kind), part)) for kind in ("product", "convolution")
                         for part in ("output", "of_input", "of_weight")}


@pytest.mark.parametrize("operation", ("product", "convolution"))
@pytest.mark.parametrize("part", ("output", "of_input", "of_weight"))
def test_a_kernel_that_errs_is_noticed(taken, kernels, monkeypatch, operation, part):
    from torch.nn import functional as F

    homes = {"product": kernels.PRODUCTS, "convolution": kernels.CONVOLUTIONS}[operation]
    home = homes[getattr(getattr(taken, operation), part)]
    whole = getattr(home, part)

    def wrong(*given):
        y = whole(*given).clone()
        y[(0,) * y.ndim] += 0.01
        return y

    monkeypatch.setattr(home, part, staticmethod(wrong))
    with pytest.raises(AssertionError):
        if operation == "product":
            check(kernels.product, F.linear, tensors((7, 5), (3, 5), (3,)))
        else:
            check(kernels.convolution, exact_convolution(1), tensors((2, 9, 4), (3, 4, 3), (3,)))


def test_what_is_frozen_gets_no_gradient(taken, kernels):
    x, weight, bias = tensors((2, 9, 6), (5, 6), (5,))
    weight.requires_grad_(False)
    kernels.product(x, weight, bias).sum().backward()
    assert weight.grad is None and (bias.grad == 18).all()


def test_gradients_of_gradients(taken, kernels):
    """As of PyTorch's own layers: a penalty on gradients can be trained."""
    import torch

    x, weight, taps = (t.detach().double().requires_grad_() for t in tensors((2, 5, 3), (4, 3), (4, 3, 3)))
    assert torch.autograd.gradgradcheck(kernels.product, (x, weight))
    assert torch.autograd.gradgradcheck(kernels.convolution, (x, taps))


@pytest.mark.parametrize("steps", (5, 200))
def test_the_decay_attention_of_short_videos_is_that_of_long_ones(steps, monkeypatch):
    import torch

    from wvad_torch.blocks import attention

    t, = tensors((2, steps, 6))
    assert steps <= attention.DECAY_MATRIX
    found = attention.decay_attention(t)
    gradient, = torch.autograd.grad(found.square().sum(), t)
    monkeypatch.setattr(attention, "DECAY_MATRIX", 0)
    other = attention.decay_attention(t)
    assert_close(found.detach().numpy(), other.detach().numpy(), 1e-6)
    assert_close(gradient.numpy(), torch.autograd.grad(other.square().sum(), t)[0].numpy(), 1e-6)


def test_rows_of_the_table():
    from wvad_torch import routes

    assert routes.row("AVX512") is routes.TABLE["AVX512"]
    assert all(routes.row(name) is routes.TABLE["AVX2"] for name in ("AVX2", "DEFAULT", "SVE256"))
