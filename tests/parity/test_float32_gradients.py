"""float32 gradients differ from float64's by rounding of 1e-6, and by ReLUs and picks that flip: apart, by both ways.

A small batch at widths that take minimal filtering. Every decision that the float32 network takes, the sign of a ReLU's
input, a pick, a comparison, is recorded; the float64 network takes the same ones instead of its own.
"""
from dataclasses import replace

import numpy as np
import pytest
from filtered import counted, whatever_the_size

from cases import batch, detector
from compare import error

pytestmark = pytest.mark.needs("torch")
ROUNDING = 1e-5
CASES = {
    "bn-wvad": {"feature_dim": 256, "channels": 128, "depth": 1, "heads": 2, "head_dim": 32, "feed_forward_dim": 64},
    "clip-tsa": {"feature_dim": 512, "hidden_dims": (64, 32), "k": 0.8},
    "mgfn": {"feature_dim": 512, "channels": (64, 128), "depths": (1, 1), "blocks": ("glance", "focus"), "expansion": 2},
    "rtfm": {"feature_dim": 512, "hidden_dims": (64, 32)},
    "s3r": {"feature_dim": 512, "atoms": 30},
    "saa": {"feature_dim": 512, "attention_dim": 128, "hidden_dims": (64, 32)},
    "adplg": {"feature_dim": 256, "hidden": 64, "channels": 128, "local_heads": 2, "local_head_dim": 16, "positions": 200,
              "depth": 1, "heads": 2, "head_dim": 32, "feed_forward_dim": 64, "classifier_dim": 32, "warm_up": 0},
    "ur-dmu": {"feature_dim": 256, "channels": 128, "depth": 1, "heads": 2, "head_dim": 32, "feed_forward_dim": 64},
}
STEPS = 40


def decisions(past=None, change=None):
    """A mode in which ReLUs, picks, orders and comparisons are recorded in `made`, or taken from `past`.

    change: the number of a ReLU, counted from 1, whose smallest input then counts with the other sign.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    class Decisions(TorchFunctionMode):
        def __init__(self):
            super().__init__()
            self.made, self.relus = [], 0

        def decide(self, own):
            self.made.append(own)
            if past is None:
                return own
            taken = past[len(self.made) - 1]
            assert taken.shape == own.shape
            return taken

        def relu(self, x, slope):
            positive = self.decide(x > 0)
            self.relus += 1
            if change == self.relus:
                positive = positive.contiguous().clone()
                positive.view(-1)[x.detach().abs().flatten().argmin()] ^= True
            return torch.where(positive, x, slope * x)

        def __torch_function__(self, function, types, args=(), kwargs=None):
            kwargs, name = kwargs or {}, getattr(function, "__name__", "")
            if name in ("relu", "leaky_relu"):
                return self.relu(args[0], kwargs.get("negative_slope", 0.0))
            if name == "topk":
                places = self.decide(function(*args, **kwargs).indices)
                return torch.return_types.topk((args[0].gather(kwargs["dim"], places), places))
            if name == "abs" and args[0].requires_grad:
                return torch.where(self.decide(args[0] > 0), args[0], -args[0])
            made = function(*args, **kwargs)
            data = name == "argsort" or name in ("__gt__", "__lt__", "__ge__", "__le__", "gt", "lt", "ge", "le")
            return self.decide(made) if data else made

    return Decisions()


def gradients(method, double=False, **given):
    """All gradients of a fresh network's total loss, end to end in float64; and the decisions that it took."""
    import torch

    from wvad_torch.training import training_losses

    network, mode = detector(method, CASES[method], "torch").network, decisions(**given)
    drawn = batch(method, CASES[method], STEPS, videos=2, crops=1 if method == "rtfm" else None)
    if double:
        network, drawn = network.double(), replace(drawn, features=drawn.features.astype(np.float64))
    with mode:
        total = training_losses(network, drawn, True)["total"]
    found = torch.autograd.grad(total, list(network.parameters()), allow_unused=True, materialize_grads=True)
    return torch.cat([gradient.double().flatten() for gradient in found]).numpy(), mode


@pytest.fixture(params=("AVX512", "AVX2"))
def route(request, monkeypatch):
    whatever_the_size(monkeypatch, request.param)


@pytest.mark.parametrize("filtered", (True, False))
@pytest.mark.parametrize("method", CASES)
def test_only_rounding_is_left_where_nothing_flips(route, method, filtered, monkeypatch):
    from wvad_torch.blocks import minimal_filtering

    taken = counted("torch", monkeypatch)
    if not filtered:
        monkeypatch.setattr(minimal_filtering, "pays", lambda *_: False)
    found, mode = gradients(method)
    exact, _ = gradients(method, double=True, past=mode.made)
    assert bool(taken) == filtered and len(mode.made) > 3
    assert error(found, exact) <= ROUNDING


@pytest.mark.parametrize("method", ("rtfm", "saa"))
def test_one_flip_is_more_than_rounding(method):
    """In float64 throughout: the ReLU input nearest to zero, which moves no loss, counted with the other sign."""
    exact, mode = gradients(method, double=True)
    again, _ = gradients(method, double=True, past=mode.made)
    flipped, _ = gradients(method, double=True, past=mode.made, change=1)
    assert error(again, exact) == 0
    assert error(flipped, exact) > ROUNDING


def test_a_wrong_gradient_is_no_flip(monkeypatch):
    from wvad_torch import kernels, routes

    home = kernels.PRODUCTS[routes.TAKEN.product.of_weight]
    whole = home.of_weight
    monkeypatch.setattr(home, "of_weight", staticmethod(lambda *given: whole(*given) * 1.001))
    found, mode = gradients("bn-wvad")
    exact, _ = gradients("bn-wvad", double=True, past=mode.made)
    assert error(found, exact) > ROUNDING
