"""The loss terms of the frameworks against their NumPy specification, and their gradients at the edges."""
import importlib

import numpy as np
import pytest

import native
from compare import GRADIENT, OUTPUT, SPECIFICATION, assert_close
from wvad_core.blocks import losses

EDGES = np.array([0, 1e-30, 1e-13, 1e-12, 1e-7, 0.3, 0.5, 1 - 1e-7, 1], np.float32)
SCORES = np.random.default_rng(0).random((4, 9)).astype(np.float32)
MASKS = {"all": np.ones((4, 9), bool), "some": SCORES < 0.6, "few": SCORES < np.sort(SCORES, 1)[:, 1:2],
         "none": np.zeros((4, 9), bool)}


def native_losses(framework: str):
    return importlib.import_module(f"wvad_{framework}.blocks.losses")


def test_cross_entropy_is_at_most_100():
    """As PyTorch's: each logarithm is clamped, the other factor decides whether it counts."""
    p, labels = np.array([0, 0, 1, 1, 0.25, 1e-40]), np.array([0, 1, 0, 1, 1, 1.0])
    expected = [0, 100, 100, 0, 2 * np.log(2), 40 * np.log(10)]
    assert_close(losses.binary_cross_entropy(p, labels), expected, SPECIFICATION)


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("k", (1, 3, 9))
def test_masked_top_mean(framework, mask, k):
    expected = [np.mean(sorted(row[held])[-k:]) if held.any() else 0 for row, held in zip(SCORES, mask)]
    assert_close(losses.masked_top_mean(SCORES, mask, k), expected, OUTPUT)
    found = native_losses(framework).masked_top_mean(native.to_native(framework, SCORES), native.to_native(framework, mask), k)
    assert_close(native.to_numpy(found), expected, OUTPUT)


@pytest.mark.parametrize("k", (1, 3, 9, 20))
def test_top_mean(framework, k):
    expected = [np.mean(sorted(row)[-k:]) for row in SCORES]
    assert_close(losses.top_mean(SCORES, k), expected, OUTPUT)
    found = native_losses(framework).top_mean(native.to_native(framework, SCORES), k)
    assert_close(native.to_numpy(found), expected, OUTPUT)


@pytest.mark.parametrize("label", (0, 1))
@pytest.mark.parametrize("k", (1, 2, 9))
@pytest.mark.parametrize("scale", (1, 6))
def test_top_cross_entropy(framework, label, k, scale):
    """In float32 what the formula gives in float64, where scores near 1 and 0 are told from these."""
    logits = (scale * np.linspace(-4, 4, 36).reshape(4, 9)).astype(np.float32)
    labels = np.full(4, label, np.float32)
    scores = 1 / (1 + np.exp(-np.sort(logits.astype(np.float64), axis=1)[:, -k:]))
    p = scores.mean(1)
    expected = -np.log(p) if label else -np.log((1 - scores).mean(1))
    found = native_losses(framework).top_cross_entropy(*(native.to_native(framework, x) for x in (logits, labels)), k)
    for i in range(4):
        assert_close(native.to_numpy(found)[i], expected[i], OUTPUT, 1e-6)  # log k is rounded
        assert_close(losses.top_cross_entropy(logits, labels, k)[i], expected[i], OUTPUT)


@pytest.mark.needs("torch", "mindspore")
@pytest.mark.parametrize("label", (0, 1))
def test_top_cross_entropy_of_saturated_scores(label):
    """Values stop at 100, gradients stay finite, and a score that is 1 in float32 still has one."""
    import mindspore
    import torch

    logits = np.array([[-1000, -150], [-50, -40], [0, 0], [20, 30], [200, 1000]], np.float32)
    given = torch.tensor(logits, requires_grad=True)
    values = native_losses("torch").top_cross_entropy(given, torch.full((5,), float(label)), 2)
    values.sum().backward()
    own, labels = native_losses("mindspore").top_cross_entropy, mindspore.Tensor(np.full(5, label, np.float32))
    gradient = mindspore.grad(lambda x: own(x, labels, 2).sum())(mindspore.Tensor(logits)).asnumpy()
    assert_close(own(mindspore.Tensor(logits), labels, 2).asnumpy(), values.detach().numpy(), OUTPUT)
    assert_close(gradient, given.grad.numpy(), GRADIENT)
    assert values.max() == 100 and np.isfinite(gradient).all()
    assert abs(gradient[3 if label == 0 else 1]).sum() > 0.9


@pytest.mark.parametrize("steps", (1, 2, 9))
def test_smoothness_and_hinge(framework, steps):
    scores = SCORES[:, :steps]
    expected = [sum((row[t + 1] - row[t]) ** 2 for t in range(steps - 1)) for row in scores.astype(np.float64)]
    assert_close(losses.smoothness(scores), expected, OUTPUT)
    given = native.to_native(framework, scores)
    assert_close(native.to_numpy(native_losses(framework).smoothness(given)), expected, OUTPUT)
    pairs = native.to_native(framework, scores), native.to_native(framework, scores[::-1])
    expected = [[max(0.0, 0.1 + a - b) for a, b in zip(*rows)] for rows in zip(scores, scores[::-1])]
    assert_close(losses.hinge(scores, scores[::-1], 0.1), expected, OUTPUT)
    assert_close(native.to_numpy(native_losses(framework).hinge(*pairs, 0.1)), expected, OUTPUT)


@pytest.mark.needs("torch", "mindspore")
@pytest.mark.parametrize("label", (0, 1))
def test_cross_entropy_and_its_gradient_at_the_edges(label):
    """A saturated score must give PyTorch's clamped value and its finite gradient."""
    import mindspore
    import torch

    p = torch.tensor(EDGES, requires_grad=True)
    expected = torch.nn.functional.binary_cross_entropy(p, torch.full_like(p, label), reduction="none")
    expected.sum().backward()
    labels = mindspore.Tensor(np.full_like(EDGES, label))
    cross_entropy = native_losses("mindspore").binary_cross_entropy
    found = cross_entropy(mindspore.Tensor(EDGES), labels).asnumpy()
    gradient = mindspore.grad(lambda x: cross_entropy(x, labels).sum())(mindspore.Tensor(EDGES)).asnumpy()
    specification = losses.binary_cross_entropy(EDGES.astype(np.float64), label)
    for i in range(len(EDGES)):  # one by one: the edges are larger than all else
        assert_close(found[i], expected[i].item(), OUTPUT, 1e-6)  # its log(1 - p) rounds 1 - p
        assert_close(specification[i], expected[i].item(), OUTPUT)
        assert_close(gradient[i], p.grad[i].item(), GRADIENT)
