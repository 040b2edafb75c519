"""PyTorch's convolutions by minimal filtering on the CPU: the same as the direct ones, for any length and dilation."""
import filtered
import numpy as np
import pytest

from compare import OUTPUT, assert_close
from wvad_core.blocks import convolution

pytestmark = [pytest.mark.needs("torch"), pytest.mark.on_the_cpu]


@pytest.fixture
def torch():
    import torch

    with torch.no_grad():
        yield torch


@pytest.fixture
def minimal_filtering(monkeypatch):
    """Taken for every size, in blocks of a few rows."""
    from wvad_torch.blocks import minimal_filtering

    for name, value in {"TILES": 0, "ROWS": 12, "GRADIENT_ROWS": 12}.items():
        monkeypatch.setattr(minimal_filtering, name, value)
    filtered.whatever_the_size(monkeypatch)
    return minimal_filtering


@pytest.mark.parametrize("steps", (1, 2, 3, 4, 5, 15, 16, 17, 100))
@pytest.mark.parametrize("dilation", (1, 2, 3, 4))
@pytest.mark.parametrize("batch, bias", [(1, True), (5, False), (20, True)])
def test_any_length_dilation_and_batch(torch, minimal_filtering, steps, dilation, batch, bias):
    from wvad_torch.blocks.convolution import Conv1d

    layer = Conv1d(7, 6, 3, dilation, bias)
    x = np.random.default_rng([steps, dilation]).standard_normal((batch, steps, 7)).astype(np.float32)
    assert minimal_filtering.pays(torch.from_numpy(x), layer.weight, dilation)
    exact = {name: p.numpy().astype(np.float64) for name, p in layer.named_parameters()}
    assert_close(layer(torch.from_numpy(x)), convolution.conv1d(x.astype(np.float64), **exact, dilation=dilation), OUTPUT)


@pytest.mark.parametrize("steps", (1, 5, 16, 100))
@pytest.mark.parametrize("dilation", (1, 2, 4))
@pytest.mark.parametrize("batch, bias", [(1, True), (20, False)])
def test_gradients(torch, minimal_filtering, steps, dilation, batch, bias):
    from torch.nn import functional as F

    from wvad_torch.blocks.convolution import Conv1d

    layer, rng = Conv1d(7, 6, 3, dilation, bias), np.random.default_rng([steps, dilation])
    x, dy = (torch.tensor(rng.standard_normal((batch, steps, size)), dtype=torch.float32) for size in (7, 6))
    tensors = [x.requires_grad_(), *layer.parameters()]
    exact = [t.detach().double().requires_grad_() for t in tensors]
    with torch.enable_grad():
        found = torch.autograd.grad(layer(x), tensors, dy)
        y = F.conv1d(exact[0].transpose(1, 2), *exact[1:], padding=dilation, dilation=dilation).transpose(1, 2)
        expected = torch.autograd.grad(y, exact, dy.double())
    for ours, theirs in zip(found, expected):
        assert_close(ours, theirs.numpy(), OUTPUT)


def test_gradients_of_frozen_tensors_are_not_computed(torch, minimal_filtering):
    from wvad_torch.blocks.convolution import Conv1d

    layer, x = Conv1d(4, 4, 3), torch.ones(1, 8, 4)
    layer.weight.requires_grad_(False)
    with torch.enable_grad():
        layer(x).sum().backward()
    assert layer.weight.grad is None and x.grad is None
    assert (layer.bias.grad == 8).all()


@pytest.mark.parametrize("spread", (1e-3, 1, 1e3))
def test_the_rounding_error_of_a_large_one(torch, spread):
    """Channels of very different size, as features before a normalisation may have."""
    from wvad_torch.blocks import minimal_filtering
    from wvad_torch.blocks.convolution import Conv1d

    rng, layer = np.random.default_rng(0), Conv1d(1024, 256, 3)
    x = np.maximum(rng.standard_normal((10, 150, 1024)) * spread ** rng.standard_normal(1024), 0).astype(np.float32)
    assert minimal_filtering.pays(torch.from_numpy(x), layer.weight, 1)
    exact = {name: p.numpy().astype(np.float64) for name, p in layer.named_parameters()}
    assert_close(layer(torch.from_numpy(x)), convolution.conv1d(x.astype(np.float64), **exact), 3e-6)


@pytest.mark.parametrize("change", ("in place", "data", "load_state_dict", "inference", "fused"))
def test_a_changed_weight_is_seen(torch, minimal_filtering, change):
    from wvad_torch.blocks.convolution import Conv1d

    with torch.inference_mode() if change == "inference" else torch.no_grad():
        layer, x = Conv1d(4, 4, 3), torch.ones(1, 8, 4)
        before = layer(x)
        if change == "in place":
            layer.weight.zero_()
        elif change == "data":
            layer.weight.data.zero_()
        elif change == "load_state_dict":
            layer.load_state_dict({name: torch.zeros_like(p) for name, p in layer.state_dict().items()})
        elif change == "inference":
            layer.weight.copy_(torch.zeros(4, 4, 3))
        else:
            layer.weight.grad = layer.weight.detach().clone()
            torch.optim.SGD([layer.weight], lr=1.0, fused=True).step()
        assert torch.count_nonzero(before - layer.bias) and torch.equal(layer(x), layer.bias.expand(1, 8, 4))
    assert set(layer.state_dict()) == {"weight", "bias"}


@pytest.mark.parametrize("shape", ((1, 1), (5, 4)))
def test_the_weight_is_left_as_it_is(torch, minimal_filtering, shape):
    """One whose taps lie apart in memory too, so that each is contiguous as it is."""
    weight = torch.arange(1.0, 1 + 3 * shape[0] * shape[1]).view(3, *shape).permute(1, 2, 0)
    before, exact = weight.clone(), torch.einsum("jk,oik->joi", minimal_filtering.G, weight)
    for reverse in (False, True):
        found = torch.stack(minimal_filtering.transformed(weight, reverse))
        assert_close(found, exact if not reverse else torch.einsum("jk,oik->joi", minimal_filtering.G.flip(1), weight), OUTPUT)
        assert torch.equal(weight, before)
        found.zero_()
    for kernel in minimal_filtering.transformed(weight):
        kernel.zero_()
    assert torch.equal(weight, before)


@pytest.mark.parametrize("why", ("float64", "autocast"))
def test_not_taken(torch, minimal_filtering, why):
    x, weight = torch.ones(1, 8, 4), torch.nn.Parameter(torch.ones(4, 4, 3))
    assert minimal_filtering.pays(x, weight, 1)
    with torch.autocast("cpu", torch.bfloat16, enabled=why == "autocast"):
        assert not minimal_filtering.pays(x.double() if why == "float64" else x, weight, 1)
