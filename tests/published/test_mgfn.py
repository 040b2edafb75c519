"""MGFN: what its golden cases hold beyond scores and losses, and by hand what they cannot tell."""
import dataclasses

import devices
import numpy as np
import pytest
from test_golden import CASES, DTYPE, assert_ranked, detector, expected_losses, fresh, published, tolerance, training_batch

import native
import wvad_core as wv
from compare import OUTPUT, SPECIFICATION, assert_all_close, assert_close
from wvad_core.blocks.tensors import Scope
from wvad_core.methods import mgfn

SMALL = {"feature_dim": 6, "channels": (4, 8), "depths": (1, 1), "blocks": ("glance", "focus"), "head_dim": 2, "kernel_size": 3}
TRAINED = ["mgfn_train_margin"]  # the other one takes long, and has its loss terms in test_golden.py


def small(backend: str, change=lambda name, value: value, **settings) -> wv.Detector:
    """Fresh but for the last norm's scale, with which all magnitudes would be alike, and for what `change` makes of it."""
    made, scale = wv.create("mgfn", backend, devices.of(backend), seed=3, **SMALL | settings), np.linspace(0.2, 2, 8, dtype=np.float32)
    weights = {name: change(name, scale if name == "norm.weight" else value) for name, value in made.weights().items()}
    network = made.backend.build("mgfn", made.config, weights, devices.of(backend), "float32", 0)
    return wv.Detector("mgfn", made.config, backend, made.backend, network)


def batch(videos: int, crops: int, steps: int) -> wv.Batch:
    """`videos` normal and as many abnormal videos, normal first, of different magnitude."""
    rng = np.random.default_rng([videos, crops, steps])
    features = rng.random((2 * videos, crops, steps, 6)) * rng.uniform(0.5, 4, (2 * videos, crops, 1, 1))
    return wv.Batch(features.astype(np.float32), np.repeat([0, 1], videos))


def branches(made: wv.Detector, clips: np.ndarray, training: bool) -> tuple[np.ndarray, np.ndarray]:
    """Scores and magnitudes (B, T) of (B, N, T, D)."""
    if made.backend_name == "numpy":
        found = mgfn.branches(clips, Scope(made.network.weights, training=training), made.config)
    else:
        native.set_training(made.network, training)
        found = made.network.branches(native.to_native(made.backend_name, clips))
    return native.to_numpy(found[1]), native.to_numpy(found[2])


def test_magnitudes_and_videos_shorter_than_the_kernels(backend):
    case = CASES["mgfn_eval"]
    given = {name: value.astype(DTYPE.get(backend, np.float32)) for name, value in case.inputs().items()}
    for suffix in ("", "_short"):
        found = branches(detector(case, backend), given[f"features{suffix}"], False)
        for key, values in zip(("scores", "feature_magnitudes"), found):
            assert_close(values, case.outputs[key + suffix], tolerance(case, backend), name=key + suffix)
    score = detector(case, backend).score(given["features_short"][0])
    assert_close(score, case.outputs["scores_short"][0], tolerance(case, backend))


@pytest.mark.parametrize("name", TRAINED)
def test_what_training_looks_at(name, backend):
    """Scores, magnitudes, the mean scores of what stands for a video, and running statistics, after one forward."""
    case = CASES[name]
    made = detector(case, backend)
    scores, magnitudes = branches(made, training_batch(case, backend).features, True)
    assert_ranked(case, scores, magnitudes, backend)
    names, weights = published(case).names, made.weights()
    after = {key.removeprefix("after:"): value for key, value in case.outputs.items() if key.startswith("after:")}
    assert len(after) >= 6
    for theirs, value in after.items():
        assert_close(weights[names[theirs]].reshape(value.shape), value, tolerance(case, backend), name=theirs)


@pytest.mark.needs("torch")
def test_terms_in_float64():
    """Contrast is of sums near 200 that differ by a few: float32 leaves some 1e-5 of it."""
    import torch

    case = CASES["mgfn_train_margin"]
    network, features = fresh(case, "torch").network.double().train(), training_batch(case, "torch").features
    network.dropout.eval()
    with torch.no_grad():
        found = network.terms(native.to_native("torch", features.astype(np.float64)))
    assert_all_close({name: native.to_numpy(value) for name, value in found.items()}, expected_losses(case), SPECIFICATION)


def test_channels_belong_to_heads_in_turn(backend):
    """Four channels, two heads: channels 0 and 2 are delayed by one snippet, 1 and 3 are doubled and raised by 1."""
    x = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    weights = {"weight": np.array([[[1, 0, 0]], [[0, 2, 0]]], np.float32), "bias": np.array([0, 1], np.float32)}
    if backend == "numpy":
        found = mgfn.filtered(x, **weights)
    else:
        module = __import__(f"wvad_{backend}.methods.mgfn", fromlist=["Filter"])
        layer = module.Filter(4, mgfn.Config(**SMALL))
        native.set_weights(layer, weights)
        found = native.to_numpy(layer(native.to_native(backend, x)))
    assert found.tolist() == [[[0, 3, 0, 7], [0, 11, 2, 15], [4, 19, 6, 23]]]


def test_eps_joins_the_deviation(backend):
    """Of a snippet whose channels differ by 1e-6: an eps in the variance would leave nothing of it."""
    x = np.array([[0, 2e-6]], np.float32)
    expected = np.array([[-1, 1]]) * 1e-6 / (1e-6 + 1e-5) * [2, 3] + [0, 1]
    weight, bias = np.array([2, 3], np.float32), np.array([0, 1], np.float32)
    if backend == "numpy":
        found = mgfn.channel_norm(x, weight, bias)
    else:
        layer = __import__(f"wvad_{backend}.methods.mgfn", fromlist=["ChannelNorm"]).ChannelNorm(2)
        native.set_weights(layer, {"weight": weight, "bias": bias})
        found = native.to_numpy(layer(native.to_native(backend, x)))
    assert found == pytest.approx(expected, rel=1e-5)


def test_terms_by_hand(backend):
    """Against sums over videos, crops and picks, one after another, of what the specification's branches give in float64."""
    made = small(backend, margin=1.0)
    given = batch(2, 4, 9)
    x, s, magnitudes = mgfn.branches(given.features.astype(np.float64), Scope(small("numpy").weights(), training=True),
                                     mgfn.Config(**SMALL))
    picks = [sorted(range(9), key=lambda t, video=video: -magnitudes[video, t])[:3] for video in range(4)]

    def d(video, crop, other, second):
        u, v = ([np.abs(x[i, c, t]).sum() for t in picks[i]] for i, c in ((video, crop), (other, second)))
        return sum((a - b + 1e-6) ** 2 for a, b in zip(u, v)) ** 0.5

    contrast = [max(0, 1 - d(2 + i, c, i, c)) ** 2 for i in range(2) for c in range(4)]
    compact = {half: np.mean([d(i, c + 2, i, c) ** 2 for i in videos for c in range(2)])
               for half, videos in (("normal", (0, 1)), ("abnormal", (2, 3)))}
    p = [np.mean([s[i, t] for t in picks[i]]) for i in range(4)]
    terms = {"classification": -np.mean([np.log(1 - p[0]), np.log(1 - p[1]), np.log(p[2]), np.log(p[3])]),
             "contrast": np.mean(contrast), "compact_normal": compact["normal"], "compact_abnormal": compact["abnormal"],
             "smooth": 8e-4 * sum((s[i, t + 1] - s[i, t]) ** 2 for i in range(4) for t in range(8)),
             "sparsity": 8e-3 * sum(s[i, t] ** 2 for i in range(2) for t in range(9)) ** 0.5}
    assert 0 < np.count_nonzero(contrast) < len(contrast), "pairs on both sides of the margin"
    total = sum(terms[name] for name in ("classification", "smooth", "sparsity")) + 1e-3 * (
        1e-3 * terms["contrast"] + terms["compact_normal"] + terms["compact_abnormal"])
    assert made.losses(given, deterministic=True) == pytest.approx(terms | {"total": total}, rel=1e-5)


@pytest.mark.parametrize("kept", [(8, 1, 4), (0, 7, 8)])
def test_the_mask_of_the_selection_decides_what_stands_for_a_video(backend, kept, monkeypatch):
    mask = np.isin(np.arange(9), kept).astype(np.float32)
    if backend == "numpy":
        monkeypatch.setattr(mgfn, "dropout", lambda x, p, rng: x * mask)
    else:
        dropout = __import__(f"wvad_{backend}.methods.mgfn", fromlist=["Dropout"]).Dropout
        monkeypatch.setattr(dropout, "forward" if backend == "torch" else "on_numbers",
                            lambda self, x: x * native.to_native(backend, mask))
    made, given = small(backend), batch(2, 2, 9)
    scores, _ = branches(small(backend), given.features, True)
    p = scores[:, list(kept)].mean(1).astype(np.float64)
    expected = -np.log(np.where(given.labels == 1, p, 1 - p)).mean()
    assert made.losses(given)["classification"] == pytest.approx(expected, rel=1e-5)


def test_videos_that_do_not_train_are_scored(backend):
    made = small(backend)
    for crops, steps, message in ((3, 9, "N = 3 crops, expected an even number"), (1, 9, "N = 1 crops"),
                                  (2, 2, "T = 2 snippets, expected at least k = 3")):
        given = wv.Batch(np.ones((4, crops, steps, 6), np.float32), [0, 0, 1, 1])
        with pytest.raises(wv.InputError, match=message):
            made.losses(given)
        assert made.score(given.features[0]).shape == (steps,)


def test_a_constant_snippet_has_a_gradient(framework):
    """All channels alike behind the stem: the code's own gradient of the channel norm is NaN there."""
    made = small(framework, lambda name, value: 0 * value if "embedding" in name or "convolution" in name else value)
    gradients = made.gradients(batch(2, 2, 5), deterministic=True)
    assert all(np.isfinite(value).all() for value in gradients.values())


def test_scores_of_many_crops_in_blocks(backend, monkeypatch):
    made, features = small(backend), np.random.default_rng(0).random((7, 11, 6)).astype(np.float32)
    expected = made.score(features)
    module = mgfn if backend == "numpy" else __import__(f"wvad_{backend}.methods.mgfn", fromlist=["x"])
    monkeypatch.setattr(module, "EVALUATION_BLOCK", 22)
    assert_close(made.score(features), expected, OUTPUT)


@pytest.mark.needs("torch")
@pytest.mark.on_the_cpu
def test_some_hidden_channels_of_some_snippets_at_a_time(monkeypatch):
    """512 of 130 snippets, the last of either fewer than the others; and weights that changed are seen."""
    from wvad_torch.methods import mgfn as network

    made, exact = (wv.create("mgfn", name, feature_dim=16, channels=(64, 64, 128), depths=(1, 1, 1)) for name in ("torch", "numpy"))
    video = np.random.default_rng(0).random((2, 65, 16), np.float32)
    calls, linear = [], network.linear
    monkeypatch.setattr(network, "linear", lambda x, *given: calls.append(x.shape) or linear(x, *given))
    monkeypatch.setattr(network, "ROWS", 60)
    monkeypatch.setattr(network, "HIDDEN", 200)
    assert_close(made.score(video), exact.score(video.astype(np.float64)), OUTPUT)
    assert calls[-18:] == [(rows, channels) for rows in (60, 60, 10) for part in (200, 200, 112) for channels in (128, part)]
    made.network.stages[2].layers[0].feed_forward.linear2.weight.data *= 2
    changed = dataclasses.replace(exact, network=exact.backend.build("mgfn", exact.config, made.weights()))
    assert_close(made.score(video), changed.score(video.astype(np.float64)), OUTPUT)
