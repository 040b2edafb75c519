"""CLIP-TSA: what its golden cases hold beyond scores and losses, and by hand what they cannot tell."""
import dataclasses
import importlib

import devices
import numpy as np
import pytest
from test_golden import (
    assert_ranked,
    CASES,
    DTYPE,
    assert_gradient_norms,
    detector,
    expected_losses,
    published,
    tolerance,
    training_batch,
)

import native
import wvad_core as wv
from compare import OUTPUT, assert_all_close, assert_close
from wvad_core.blocks import magnitude
from wvad_core.blocks.tensors import Scope
from wvad_core.checkpoints.contents import Contents
from wvad_core.checkpoints.identification.recognition import identify
from wvad_core.methods import clip_tsa

NOISY, QUIET = CASES["clip_tsa_train_noise"], CASES["clip_tsa_train"]
SMALL = {"feature_dim": 8, "hidden_dims": (4, 2), "scorer_dim": 4, "dropout": 0.0}
PROJECTED = SMALL | {"feature_dim": 12, "projection": True, "projection_dims": (6, 8)}


def small(backend: str, **settings) -> wv.Detector:
    return wv.create("clip-tsa", backend, devices.of(backend), seed=3, **SMALL | settings)


def video(crops: int, steps: int, dim: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, crops, steps]).random((crops, steps, dim), np.float32)


def shares(made: wv.Detector, features: np.ndarray, training: bool = False) -> np.ndarray:
    """What the snippets of (B, N, T, D), nowhere zero, are multiplied with: (B, N, T). For features that are not projected."""
    network = made.network
    if made.backend_name == "numpy":
        p = Scope(network.weights, training=training, rng=network.rng if training else None)
        found = clip_tsa.clips(features, p, made.config)
    else:
        native.set_training(network, training)
        found = native.to_numpy(network.clips(native.to_native(made.backend_name, features)))
        native.set_training(network, False)
    return found.sum(-1) / features.sum(-1)


def module_of(backend: str):
    return clip_tsa if backend == "numpy" else importlib.import_module(f"wvad_{backend}.methods.clip_tsa")


def largest(backend: str, values: np.ndarray, k: int) -> np.ndarray:
    """The function of this name of a backend."""
    count = native.to_native("torch", np.array([k])) if backend == "torch" else k
    return native.to_numpy(module_of(backend).largest(native.to_native(backend, values), count))


# Golden cases.

def noisy_scores(case, backend: str, features: np.ndarray, noise: np.ndarray, monkeypatch) -> np.ndarray:
    """The scores of a video (N, T, D) with noise (N, n, T) that the case has."""
    config = case.about["config"]
    made = detector(dataclasses.replace(case, about=case.about | {"config": config | {"noise_samples": config["num_samples"]}}), backend)
    drawn = noise.swapaxes(0, 1).astype(DTYPE.get(backend, np.float32))
    monkeypatch.setattr(clip_tsa, "noise_blocks", lambda *sizes: iter((drawn[:2], drawn[2:])))
    return made.score(features.astype(drawn.dtype))


@pytest.mark.parametrize("name, given, noise, expected", [
    ("clip_tsa_eval", "features", "noise", "scores_noise"),
    ("clip_tsa_eval", "features_crops", "noise_crops", "scores_crops_noise"),
    ("clip_tsa_eval_long", "features", "noise", "scores_noise"),
    ("clip_tsa_i3d_eval", "features", "noise", "scores_noise")])
def test_scores_with_the_noise_given(name, given, noise, expected, backend, monkeypatch):
    case = CASES[name]
    for features, drawn, scores in zip(case.inputs()[given], case.outputs[noise], case.outputs[expected]):
        found = noisy_scores(case, backend, features.reshape(-1, *features.shape[-2:]),
                             drawn.reshape(-1, *drawn.shape[-2:]), monkeypatch)
        assert_close(found, scores, tolerance(case, backend))


@pytest.mark.parametrize("name, given, expected", [("clip_tsa_eval", "features_one", "scores_one"),
                                                   ("clip_tsa_eval", "features_crops", "scores_crops"),
                                                   ("clip_tsa_eval_long", "features_crops", "scores_crops")])
def test_scores_of_one_snippet_and_of_crops(name, given, expected, backend):
    case = CASES[name]
    features = case.inputs()[given].astype(DTYPE.get(backend, np.float32))
    assert_close(detector(case, backend).score(features[0]), case.outputs[expected][0], tolerance(case, backend))
    assert_close(native.network_scores(detector(case, backend), features), case.outputs[expected], tolerance(case, backend))


def test_magnitudes(backend):
    case = CASES["clip_tsa_eval"]
    features = case.inputs()["features"].astype(DTYPE.get(backend, np.float32))[:, None]
    found = native.magnitude_branches(detector(case, backend), features, False)
    for values, key in zip(found, ("scores", "feature_magnitudes")):
        assert_close(values, case.outputs[key], tolerance(case, backend), name=key)


def with_noise(case, backend: str) -> wv.Detector:
    """Without dropout, and with the case's noise, zero where it has none: what the published code was run with."""
    made = detector(dataclasses.replace(case, about=case.about | {"config": case.about["config"] | {"dropout": 0}}), backend)
    batch = case.inputs()["batch"]
    native.set_noise(made, case.outputs.get("noise", np.zeros((batch[..., 0, 0].size, made.config.num_samples, batch.shape[-2]))))
    return made


def clips_of(case, backend: str) -> np.ndarray:
    features = training_batch(case, backend).features
    return features.reshape(len(features), -1, *features.shape[-2:])


@pytest.mark.parametrize("case", (QUIET, NOISY), ids=lambda case: case.name)
def test_what_training_looks_at(case, backend):
    """Shares, scores, magnitudes, what stands for a video, and running statistics, after one forward."""
    made = with_noise(case, backend)
    if "shares" in case.outputs:
        found = shares(made, clips_of(case, backend), training=True)
        assert_close(found.reshape(case.outputs["shares"].shape), case.outputs["shares"], tolerance(case, backend))
    made = with_noise(case, backend)
    if backend == "numpy":
        p = Scope(made.network.weights, training=True, rng=made.network.rng)
        _, scores, magnitudes = magnitude.branches(clip_tsa.clips(clips_of(case, backend), p, made.config), p, made.config)
    else:
        scores, magnitudes = native.magnitude_branches(made, clips_of(case, backend), True)
    assert_ranked(case, scores, magnitudes, backend)
    names, weights = published(case).names, made.weights()
    after = {key.removeprefix("after:"): value for key, value in case.outputs.items() if key.startswith("after:")}
    assert len(after) == 10
    for theirs, value in after.items():
        assert_close(weights[names[theirs]], value, tolerance(case, backend), name=theirs)


def test_loss_terms_with_the_noise_given(backend):
    found = with_noise(NOISY, backend).losses(training_batch(NOISY, backend))
    assert_all_close(found, expected_losses(NOISY), tolerance(NOISY, backend))


def test_norm_of_every_gradient_with_the_noise_given(framework):
    found = with_noise(NOISY, framework).gradients(training_batch(NOISY, framework))
    assert_gradient_norms(found, NOISY)
    assert np.linalg.norm(found["attention.fc1.weight"]) > 1e-4


def test_noise_of_another_video_is_noticed(backend):
    turned = dataclasses.replace(NOISY, outputs=NOISY.outputs | {"noise": NOISY.outputs["noise"][::-1]})
    found = with_noise(turned, backend).losses(training_batch(NOISY, backend))
    with pytest.raises(AssertionError, match="error"):
        assert_close(found["total"], NOISY.outputs["loss:total"], tolerance(NOISY, backend))


# By hand.

@pytest.mark.parametrize("values, k, expected", [
    ([0.5, 0.5, 0.5, 0.5], 1, [1, 0, 0, 0]),
    ([0.1, 0.5, 0.2, 0.5, 0.5], 1, [0, 1, 0, 0, 0]),
    ([0.1, 0.5, 0.2, 0.5, 0.5], 2, [0, 1, 0, 1, 0]),
    ([0.5, 0.1, 0.9, 0.5, 0.5], 2, [1, 0, 1, 0, 0]),
    ([0.5, 0.1, 0.9, 0.5, 0.5], 4, [1, 0, 1, 1, 1]),
    ([0.5, 0.1, 0.9, 0.5, 0.5], 5, [1, 1, 1, 1, 1]),
    ([0.3], 1, [1])])
def test_of_equal_scores_the_first_are_in(values, k, expected, backend):
    assert largest(backend, np.array([values], np.float32), k).astype(int).tolist() == [expected]


@pytest.mark.parametrize("training", (False, True))
def test_snippets_whose_scores_are_1_in_float32_keep_their_order(backend, training):
    """sigmoid(20), sigmoid(30), sigmoid(25) are all 1 there, and are not in float64. Without noise, and with noise that is 0."""
    made = small(backend, k=0.3)
    weights = {name: 0 * value if name.startswith("attention.") else value for name, value in made.weights().items()}
    weights["attention.fc1.weight"][0, 0], weights["attention.fc2.weight"][0, 0] = 1, 1  # the logit is the first feature
    made = dataclasses.replace(made, network=made.backend.build("clip-tsa", made.config, weights, devices.of(backend)))
    if training:
        native.set_noise(made, np.zeros((1, 100, 5)))
    features = video(1, 5)[None]
    features[0, 0, :, 0] = 20, 3, 30, 25, 1
    assert np.array_equal(shares(made, features, training).round(), [[[0, 0, 1, 0, 0]]])


def test_the_largest_of_many_with_ties(backend):
    """Against a sort by value and place, of 3 x 4 x 40 values of five kinds."""
    values = np.random.default_rng(0).integers(0, 5, (3, 4, 40)).astype(np.float32)
    for k in (1, 7, 40):
        expected = np.zeros(values.shape, bool)
        for row in np.ndindex(3, 4):
            expected[row][sorted(range(40), key=lambda t, row=row: (-values[row][t], t))[:k]] = True
        assert np.array_equal(largest(backend, values, k), expected)


def test_one_snippet_of_an_even_video_is_attended_to(backend):
    """K = int(0.01 T), at least 1, of snippets that are all alike."""
    features = np.ones((1, 2, 250, 8), np.float32)
    for steps, count in ((1, 1), (32, 1), (250, 2)):
        expected = np.arange(steps) < count
        assert np.array_equal(shares(small(backend, k=0.01), features[:, :, :steps]), np.broadcast_to(expected, (1, 2, steps)))


def test_k_is_counted_in_double_precision(backend):
    assert shares(small(backend), video(1, 20)[None]).round().sum() == 19
    assert int(np.float32(0.95) * 20.0) == 18


def test_how_many_are_attended_to_is_bounded(backend, monkeypatch):
    """Of 20 snippets 5 for a video of one crop, however many videos there are; for crops of CLIP features all 19."""
    monkeypatch.setattr(clip_tsa, "MOST_ATTENDED", 5)
    made = small(backend, k=0.95)
    for videos, crops, count in ((1, 1, 5), (3, 1, 5), (1, 2, 19), (2, 3, 19)):
        found = shares(made, np.stack([video(crops, 20, seed=seed) for seed in range(videos)]))
        assert (found.round().sum(-1) == count).all()
    one, two = video(1, 20), video(2, 20)
    bounded, whole = (made.score(given) for given in (one, two))
    monkeypatch.setattr(clip_tsa, "MOST_ATTENDED", 1000)
    assert not np.allclose(made.score(one), bounded) and np.array_equal(made.score(two), whole)
    assert shares(made, video(1, 20)[None], training=False).round().sum() == 19


def test_projected_features_are_bounded_crop_by_crop(backend, monkeypatch):
    """The scores of crops together are the mean of those of each alone, which are bounded, too."""
    made, crops = wv.create("clip-tsa", backend, devices.of(backend), seed=3, **PROJECTED), video(3, 20, 12)
    free = made.score(crops)
    monkeypatch.setattr(clip_tsa, "MOST_ATTENDED", 5)
    together = made.score(crops)
    assert_close(together, np.mean([made.score(crop) for crop in crops], 0), OUTPUT)
    assert not np.allclose(together, free, rtol=1e-4)


def test_training_is_not_bounded(backend, monkeypatch):
    monkeypatch.setattr(clip_tsa, "MOST_ATTENDED", 5)
    made = small(backend)
    native.set_noise(made, np.zeros((1, 100, 20)))
    assert shares(made, video(1, 20)[None], training=True).round().sum() == 19


def of_shares(framework: str, a, noise, masks, sigma, slope) -> list[np.ndarray]:
    """d sum(slope shares) / da by the framework's own code; in MindSpore compiled too."""
    module, given = module_of(framework), [native.to_native(framework, x.astype(np.float32)) for x in (noise, masks)]
    a, slope = (native.to_native(framework, x.astype(np.float32)) for x in (a, slope))
    if framework == "torch":
        a.requires_grad_()
        (slope * module._Shares.apply(a, *given, sigma)).sum().backward()
        return [native.to_numpy(a.grad)]
    ms, shares_of = importlib.import_module("mindspore"), module._mean_of_masks
    return [native.to_numpy(ms.grad(lambda x: (slope * function(x, *given, sigma)).sum())(a))
            for function in (shares_of, ms.jit(shares_of))]


def test_gradient_of_the_scorer_is_the_published_one(framework):
    """Term by term: dL/da_t = 1 / (n sigma) sum_s m[s, t] sum_u Z[s, u] G_u, not the other way round."""
    rng, items, n, steps, sigma = np.random.default_rng(0), 2, 3, 5, 0.2
    a, noise, slope = rng.random((items, steps)), rng.standard_normal((items, n, steps)), rng.standard_normal((items, steps))
    masks = clip_tsa.largest(a[:, None] + sigma * noise, 2)
    expected, other = np.zeros(a.shape), np.zeros(a.shape)
    for i, s, t, u in np.ndindex(items, n, steps, steps):
        expected[i, t] += masks[i, s, t] * noise[i, s, u] * slope[i, u] / (n * sigma)
        other[i, t] += noise[i, s, t] * masks[i, s, u] * slope[i, u] / (n * sigma)
    for found in of_shares(framework, a, noise, masks, sigma, slope):
        assert_close(found, expected, OUTPUT)
        assert not np.allclose(found, other, rtol=0.1)


def test_without_noise_the_scorer_does_not_move(framework):
    given = wv.Batch(np.concatenate([video(4, 9), 2 * video(4, 9, seed=1)])[:, None], np.repeat([0, 1], 4))
    still, moved = (small(framework).gradients(given, deterministic=quiet) for quiet in (True, False))
    for name in ("attention.fc1.weight", "attention.fc2.bias"):
        assert not still[name].any() and np.isfinite(moved[name]).all() and moved[name].any()
    assert still["aggregate.merge.conv.weight"].any()


def test_scores_with_noise_are_reproducible(backend):
    """They depend on the seed and on the video, not on what was scored before it or with it."""
    made, videos = small(backend, noise_samples=7, k=0.5), [video(2, 9), video(2, 14), video(1, 9)]
    first = [made.score(each) for each in videos]
    again = [small(backend, noise_samples=7, k=0.5).score(each) for each in reversed(videos)][::-1]
    assert all(np.array_equal(one, other) for one, other in zip(first, again))
    plain = small(backend, k=0.5)
    for settings in ({"noise_seed": 1}, {"noise_samples": 8}, {"sigma": 0.1}):
        other = small(backend, **{"noise_samples": 7, "k": 0.5} | settings)
        assert not np.allclose(other.score(videos[1]), first[1], rtol=1e-5)
    assert not np.allclose(plain.score(videos[1]), first[1], rtol=1e-5)
    together = np.stack([videos[0], videos[0][::-1] + 1])
    apart = np.concatenate([native.network_scores(made, one[None]) for one in together])
    assert_close(native.network_scores(made, together), apart, OUTPUT)


def test_noise_in_blocks_is_the_same(backend, monkeypatch):
    made, features = small(backend, noise_samples=7, k=0.5), video(2, 9)
    expected = made.score(features)
    monkeypatch.setattr(clip_tsa, "NOISE_BLOCK", 3 * 2 * 9)
    assert [len(z) for z in clip_tsa.noise_blocks(made.config, 2, 9)] == [3, 3, 1]
    assert np.array_equal(made.score(features), expected)


def test_shares_with_noise_by_brute_force(backend):
    """Sample by sample, of a scorer's numbers that are known: with zero weights the bias 0, so a = 0.5 everywhere."""
    made = small(backend, noise_samples=50, k=0.3, sigma=0.5)
    weights = {name: value * (name != "attention.fc2.weight") for name, value in made.weights().items()}
    made = dataclasses.replace(made, network=made.backend.build("clip-tsa", made.config, weights, devices.of(backend), "float32", 0))
    z = np.random.default_rng([0, 2, 10]).standard_normal((50, 2, 10), np.float32)
    expected = np.zeros((2, 10))
    for s, crop in np.ndindex(50, 2):
        expected[crop, np.argsort(-z[s, crop])[:3]] += 1 / 50
    assert_close(shares(made, video(2, 10)[None])[0], expected, OUTPUT)


def test_noise_of_scoring_is_standard_normal():
    config = clip_tsa.Config(noise_samples=400)
    (z,) = clip_tsa.noise_blocks(config, 2, 50)
    assert abs(z.mean()) < 0.03 and abs(z.std() - 1) < 0.03
    assert abs(np.corrcoef(z[:, 0].ravel(), z[:, 1].ravel())[0, 1]) < 0.05


def test_noise_of_scoring_takes_little_memory():
    """Of a day's video, 100 samples: one at a time."""
    drawn = clip_tsa.noise_blocks(clip_tsa.Config(noise_samples=100), 1, 150_000)
    assert next(drawn).shape == (1, 1, 150_000)


def test_without_the_attention_it_is_rtfm(framework):
    """Scores, terms and gradients of the network of that name with the same tensors; the attention's stay, and do not move."""
    made = small(framework, disable_HA=True)
    config = {name: made.config.as_dict()[name] for name in ("feature_dim", "hidden_dims", "dropout")}
    plain = wv.create("rtfm", framework, devices.of(framework), **config)
    weights = {name: value for name, value in made.weights().items() if not name.startswith("attention.")}
    plain = dataclasses.replace(plain, network=plain.backend.build("rtfm", plain.config, weights, devices.of(framework), "float32", 0))
    given = wv.Batch(np.concatenate([video(4, 9), 2 * video(4, 9, seed=1)])[:, None], np.repeat([0, 1], 4))
    assert_close(made.score(video(2, 9)), plain.score(video(2, 9)), OUTPUT)
    assert_all_close(made.losses(given), plain.losses(given), OUTPUT)
    found, expected = made.gradients(given), plain.gradients(given)
    assert {name for name in found if name not in expected} == {
        f"attention.fc{i}.{tensor}" for i in (1, 2) for tensor in ("weight", "bias")}
    assert not any(found[name].any() for name in found if name not in expected)
    assert not np.allclose(small(framework, k=0.5).score(video(2, 9)), made.score(video(2, 9)), rtol=1e-4)


@pytest.mark.parametrize("dim, expected", [(512, {"projection": False}), (64, {"projection": False, "hidden_dims": (16, 4)}),
                                           (2048, {"projection": True, "hidden_dims": (128, 32)})])
def test_a_bare_published_file(dim, expected):
    """The projection's tensors are always in it; whether they are used, their width says."""
    made = wv.create("clip-tsa", feature_dim=dim, projection=expected["projection"])
    state = {theirs: made.weights()[ours] for theirs, ours in wv.published_names("clip-tsa", **made.config.as_dict()).items()}
    for name, shape in (("mlp.fc1", (1024, dim)), ("mlp.fc2", (512, 1024))):
        state |= {f"{name}.weight": np.zeros(shape, np.float32), f"{name}.bias": np.zeros(shape[:1], np.float32)}
    found = identify(Contents(state, {}), "x.pkl")
    assert found.method == "clip-tsa" and found.config == dataclasses.replace(made.config, **expected)
    assert set(found.assumed.scored) == {"k", "noise_samples", "disable_HA"}
    assert len(found.dropped) == (0 if expected["projection"] else 4)


@pytest.mark.parametrize("settings, message", [
    ({"sigma": 0}, "setting sigma: expected a number above 0"),
    ({"feature_dim": 12}, "setting feature_dim: expected a multiple of 8"),
    ({"projection": True}, "setting projection: expected false for features of 512 channels and less, found D = 512"),
    ({"projection": True, "projection_dims": (16, 12)}, "setting projection_dims: expected a multiple of 8 at the end")])
def test_settings_that_do_not_fit(settings, message):
    with pytest.raises(wv.InputError, match=message):
        wv.create("clip-tsa", **settings)


@pytest.mark.on_the_cpu
@pytest.mark.needs("torch")
def test_the_bound_in_an_exported_file(tmp_path, monkeypatch):
    onnxruntime = pytest.importorskip("onnxruntime")
    made = small("torch")
    for module in (clip_tsa, module_of("torch")):
        monkeypatch.setattr(module, "MOST_ATTENDED", 5)
    wv.export(made, tmp_path / "x.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "x.onnx")
    for crops in (1, 2):
        found = session.run(None, {"features": video(crops, 20)})[0]
        assert_close(found, made.score(video(crops, 20)), OUTPUT)
    with pytest.raises(wv.InputError, match="noise_samples = 3: no graph draws the noise of a video, expected 0"):
        wv.export(small("torch", noise_samples=3), tmp_path / "y.onnx")
