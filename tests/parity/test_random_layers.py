"""Random layers: what they draw, against the distributions themselves, and where in the networks they are.

Everything else is compared without them, so a wrong scale, a wrong law or a layer left out would show nowhere else.
"""
import dataclasses
import sys

import numpy as np
import pytest
from scipy import stats

import native
import wvad_core as wv
from cases import NETWORKS, batch, detector
from compare import OUTPUT, assert_all_close, error
from wvad_core.blocks import random as random_layers
from wvad_core.registry import specification

SMALL = {"feature_dim": 8, "channels": 8, "depth": 1, "heads": 1, "head_dim": 8, "feed_forward_dim": 8}
COUNT = 60_000
FAR = 5  # standard deviations, and a level of 1e-4 for the Kolmogorov-Smirnov tests: the seeds are fixed


def eager(framework: str, random: str, p: float, training: bool = True):
    """A random layer of a freshly seeded network, as a function of arrays."""
    network = wv.create("ur-dmu", framework, **SMALL, dropout=p).network
    network.reseed(11)
    native.set_training(network, training)
    layer = network.noise if random == "noise" else native.dropouts(network)[0]
    return lambda x: native.to_numpy(layer(native.to_native(framework, x)))


def on_numpy(random: str, p: float, training: bool = True):
    rng = np.random.default_rng(11) if training else None
    return {"noise": lambda x: random_layers.noise(x.shape, x.dtype, rng),
            "dropout": lambda x: random_layers.dropout(x, p, rng)}[random]


def float64(random: str, p: float, training: bool = True):
    """PyTorch's own kernels, which compute in float64, on CUDA and in compiled graphs."""
    layer = eager("torch", random, p, training)
    return lambda x: layer(x.astype(np.float64))


def compiled(random: str, p: float, training: bool = True):
    """MindSpore's kernels, which compiled graphs and other devices have."""
    import mindspore as ms

    network = wv.create("ur-dmu", "mindspore", **SMALL, dropout=p).network
    network.reseed(11)
    native.set_training(network, training)
    layer = network.noise if random == "noise" else native.dropouts(network)[0]

    @ms.jit
    def graph(x):
        return layer(x)

    return lambda x: graph(ms.Tensor(x)).asnumpy()


WAYS = {"numpy": (on_numpy, ()),
        "torch": (lambda *given: eager("torch", *given), ("torch",)), "torch, float64": (float64, ("torch",)),
        "mindspore": (lambda *given: eager("mindspore", *given), ("mindspore",)),
        "mindspore, compiled": (compiled, ("mindspore",))}
every_way = pytest.mark.parametrize("way", [pytest.param(way, marks=pytest.mark.needs(*needed), id=name)
                                            for name, (way, needed) in WAYS.items()])


def assert_unrelated(values: np.ndarray) -> None:
    """No correlation with what comes up to eight places later, as numbers cut from one word might have."""
    for lag in range(1, 9):
        assert abs(np.corrcoef(values[:-lag], values[lag:])[0, 1]) < FAR / len(values) ** 0.5, lag


def assert_distribution(values: np.ndarray, law) -> None:
    """Mean, variance and the whole distribution function of independent draws."""
    mean, variance, kurtosis = law.stats(moments="mvk")
    assert abs(values.mean() - mean) < FAR * (variance / len(values)) ** 0.5
    assert abs(values.var() - variance) < FAR * variance * ((kurtosis + 2) / len(values)) ** 0.5
    assert stats.kstest(values, law.cdf).pvalue > 1e-4


@every_way
def test_noise_is_standard_normal(way):
    layer, x = way("noise", 0.5), np.full((COUNT // 6, 6), 3, np.float32)
    first, second = layer(x).astype(np.float64), layer(x)
    assert first.shape == x.shape and not np.array_equal(first, second)
    assert_distribution(first.ravel(), stats.norm)
    assert_unrelated(first.ravel())


@every_way
@pytest.mark.parametrize("p", (0.3, 0.7))
def test_dropout_zeros_its_share_and_rescales_the_rest(way, p):
    layer, x = way("dropout", p), np.random.default_rng(0).uniform(1, 2, (COUNT // 6, 6)).astype(np.float32)
    dropped, again = layer(x), layer(x)
    factors = (dropped / x.astype(np.float64)).ravel()
    kept = factors != 0
    np.testing.assert_allclose(factors[kept], 1 / (1 - p), rtol=1e-4)
    assert abs(kept.mean() - (1 - p)) < FAR * (p * (1 - p) / COUNT) ** 0.5
    assert abs(factors.mean() - 1) < FAR * (p / (1 - p) / COUNT) ** 0.5
    assert factors.var() == pytest.approx(p / (1 - p), rel=0.05)
    assert stats.kstest(np.flatnonzero(~kept) / COUNT, "uniform").pvalue > 1e-4, "zeros are everywhere alike"
    assert_unrelated(kept.astype(float))
    assert not np.array_equal(dropped, again)


@every_way
@pytest.mark.parametrize("random, expected", [("noise", 0), ("dropout", 1)])
def test_in_evaluation_nothing_is_random(way, random, expected):
    x = np.ones((50, 6), np.float32)
    assert np.array_equal(way(random, 0.5, False)(x), expected * x)


def test_the_checks_notice_what_is_wrong():
    rng = np.random.default_rng(0)
    assert_distribution(rng.standard_normal(COUNT), stats.norm)
    assert_distribution(rng.random(COUNT), stats.uniform)
    laplace = rng.laplace(0, 0.5**0.5, COUNT)  # of mean 0 and variance 1
    for values in (2 * rng.standard_normal(COUNT), rng.random(COUNT), rng.standard_normal(COUNT) + 0.1, laplace):
        with pytest.raises(AssertionError):
            assert_distribution(values, stats.norm)
    with pytest.raises(AssertionError):
        assert_unrelated(np.repeat(rng.standard_normal(COUNT // 2), 2))


@pytest.mark.parametrize("way", ["eager", "compiled"])
@pytest.mark.needs("mindspore")
def test_the_random_layers_of_a_network_draw_apart(way):
    network = wv.create("ur-dmu", "mindspore", **SMALL, dropout=0.5).network
    network.reseed(3)
    native.set_training(network, True)
    x, masks = native.to_native("mindspore", np.ones((400, 50), np.float32)), []
    for layer in native.dropouts(network):
        def called(x, layer=layer):
            return layer(x)

        masks.append(native.to_numpy(called(x) if way == "eager" else sys.modules["mindspore"].jit(called)(x)).ravel())
    assert len(masks) > 1
    for i, one in enumerate(masks):
        for other in masks[:i]:
            assert abs(np.corrcoef(one, other)[0, 1]) < FAR / one.size ** 0.5


# Where the dropouts are. Each is made to multiply by known numbers instead, which depend on its p and on the place.

def factors(shape: tuple[int, ...], p: float) -> np.ndarray:
    return (1 + 0.5 * p * np.cos(np.arange(np.prod(shape, dtype=int)))).reshape(shape).astype(np.float32)


def replace_dropouts(monkeypatch, known) -> list[float]:
    """Have dropouts multiply by known(shape, p), on every backend there is. Gives the p above 0 of calls on NumPy."""
    original, calls = random_layers.dropout, []
    for method in wv.list_methods():
        specification(method)  # imports its module

    def multiplied(x, p, rng):
        calls.extend([p] * (p > 0))
        return x * known(x.shape, p)

    for name, module in list(sys.modules.items()):
        if name.startswith("wvad_core") and getattr(module, "dropout", None) is original:
            monkeypatch.setattr(module, "dropout", multiplied)
    for framework, call in (("torch", "forward"), ("mindspore", "on_numbers")):
        if home := sys.modules.get(f"wvad_{framework}.blocks.random"):
            monkeypatch.setattr(home.Dropout, call, lambda layer, x, framework=framework: x * native.to_native(
                framework, known(tuple(x.shape), layer.p)) if layer.training else x)
    return calls


@pytest.fixture
def known_dropouts(monkeypatch):
    return replace_dropouts(monkeypatch, factors)


def without_noise(made: wv.Detector, given: wv.Batch) -> wv.Detector:
    videos, steps, config = len(given.labels), given.features.shape[1], made.config
    shape = {"ur-dmu": lambda: (videos // 2, steps, config.channels), "clip-tsa": lambda: (videos, config.num_samples, steps)}
    if made.method in shape:
        native.set_noise(made, np.zeros(shape[made.method]()))
    return made


@pytest.mark.parametrize("method, config", NETWORKS)
def test_dropouts_are_in_the_same_places(method, config, framework, known_dropouts):
    given = batch(method, config, 20)
    expected = without_noise(detector(method, config, "numpy"), given).losses(given)
    found = without_noise(detector(method, config, framework), given).losses(given)
    assert_all_close(found, expected, OUTPUT)
    plain = detector(method, config, framework).losses(given, deterministic=True)
    assert bool(known_dropouts) == any(error(np.array(found[name]), np.array(plain[name])) > 1e-3 for name in plain)


# As published, in one training forward of the default configuration but for sizes.
PLACES = {
    "ar-net": [0.7],                             # on the hidden feature
    "bn-wvad": [],
    "clip-tsa": [0.7] * (1 + 2 + 1),             # as rtfm
    "deep-mil": [0.6] * 2,                       # behind the first two layers
    "mgfn": [0.7],                               # selection mask
    "pel4vad": [0.1] * 2,                        # behind both convolutions
    "rtfm": [0.7] * (1 + 2 + 1),                 # aggregated features, head, selection mask
    "s3r": [0.7] * (2 + 2 + 2 + 1),              # both aggregations, both heads, selection mask
    "saa": [0.7] * (2 + 1 + 2),                  # attention, the head's input, head
    "ssrl": [0.7] * (1 + 1 + 2 + 1),             # patches of size 47, then as rtfm
    "ur-dmu": [0.5] * (2 * 3),                   # two layers: attention, inside and behind the feed-forward
    "adplg": [0.5] * (2 * 3) + [0.7] * 2,        # likewise, and in the classifier of each branch
    "vadclip": [],
}
SIZES = {"feature_dim": 8, "channels": 32, "head_dim": 4, "feed_forward_dim": 8, "hidden_dims": (4, 4),
         "attention_dim": 4, "hidden": 4, "local_head_dim": 4, "positions": 70, "max_length": 32, "text_width": 8, "text_depth": 1}
OTHER_SIZES = {"mgfn": {"channels": (4, 4, 4)}, "s3r": {"feature_dim": 32, "atoms": 5}}


@pytest.mark.parametrize("method", wv.list_methods())
def test_dropouts_as_published(method, known_dropouts):
    known = {field.name for field in dataclasses.fields(specification(method).Config)}
    config = {name: size for name, size in (SIZES | {"warm_up": 0} | OTHER_SIZES.get(method, {})).items() if name in known}
    detector(method, config, "numpy").losses(batch(method, config, 20))
    assert sorted(known_dropouts) == PLACES[method]


@pytest.mark.parametrize("kept", [(2, 5, 7), (0, 18, 19)])
def test_the_selection_mask_decides_which_snippets_stand_for_a_video(backend, kept, monkeypatch):
    """A mask with three snippets left: the video scores are those snippets' means, whatever the magnitudes are."""
    config = {"feature_dim": 16, "hidden_dims": (12, 6), "magnitude_weight": 0.0}
    given, mask = batch("rtfm", config, 20).normal_first(), np.isin(np.arange(20), kept).astype(np.float32)
    replace_dropouts(monkeypatch, lambda shape, p: np.broadcast_to(mask if len(shape) == 2 else np.float32(1), shape))
    scores, _ = native.magnitude_branches(detector("rtfm", config, backend), given.features[:, None], True)
    of_videos = scores[:, list(kept)].mean(1).astype(np.float64)
    expected = -np.log(np.where(given.labels == 1, of_videos, 1 - of_videos)).mean()
    assert detector("rtfm", config, backend).losses(given)["magnitude"] == pytest.approx(expected, rel=1e-5)
