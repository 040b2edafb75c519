"""DeepMIL: its segments and its own evaluation by the golden case and by hand, the optimiser's steps, fresh weights."""
from dataclasses import replace
from fractions import Fraction

import devices
import numpy as np
import pytest
from scipy import stats
from scipy.io import savemat
from test_golden import CASES, DTYPE, detector, tolerance

import wvad_core as wv
from compare import OUTPUT, TRAINED, assert_all_close, assert_close
from wvad_core.data import Dataset
from wvad_core.data.annotations import Video
from wvad_core.data.segments import unit_segments
from wvad_core.methods.deep_mil import PROTOCOLS, RECIPES, clip_scores, frame_auc, frame_truth
from wvad_core.training.recipe import from_dict
from wvad_core.training.trainer import Trainer

CASE = CASES["deep_mil_eval"]
SMALL = {"feature_dim": 6, "hidden_dims": (5, 3), "dropout": 0.0, "smooth_weight": 0.1, "sparsity_weight": 0.01,
         "norm_weight": 0.05}


@pytest.mark.parametrize("clips", [1, 17, 33, 100])
def test_segments_and_scores_of_clips(clips, backend):
    features = CASE.inputs()[f"clips_{clips}"].astype(DTYPE.get(backend, np.float32))
    made, exact = detector(CASE, backend), tolerance(CASE, backend)
    segments = unit_segments(features, 32)
    assert_close(segments, CASE.outputs[f"segments_{clips}"], exact)
    assert_close(made.score(segments), CASE.outputs[f"segment_scores_{clips}"], exact)
    assert_close(clip_scores(made.score, features[None]), CASE.outputs[f"clip_scores_{clips}"], exact)


def test_one_snippet(backend):
    features = CASE.inputs()["features_one"].astype(DTYPE.get(backend, np.float32))
    scores = detector(CASE, backend).score(features[0])
    assert_close(scores, CASE.outputs["scores_one"].reshape(1), tolerance(CASE, backend))


def by_clips(clips: int) -> list[int]:
    """The segment, from 1, that each clip has its score of, from 1; 0 for none: as told, in fractions, halves up."""
    borders = [int(1 + Fraction(i * (clips - 1), 32) + Fraction(1, 2)) for i in range(33)]
    found = [0] * (clips + 1)
    for i, (start, end) in enumerate(zip(borders, borders[1:]), 1):
        for clip in range(start, max(end, start + 1)):
            found[clip] = i
    return found[1:]


def test_which_segment_scores_which_clip():
    for clips in range(1, 140):
        scored = clip_scores(lambda segments: np.arange(1, 1 + segments.shape[-2]), np.ones((2, clips, 3)))
        assert scored.tolist() == by_clips(clips)
        assert (scored[-1] == 0) == (clips >= 18) and (scored[:-1] > 0).all()
    assert by_clips(1) == [32] and by_clips(2) == [16, 32]


@pytest.mark.parametrize("frames, interval, abnormal", [
    (20, (3, 5), range(2, 5)),       # both ends count, from frame 1
    (20, (1, 2), range(2)), (20, (0, 2), range(2)), (20, (19, 40), range(18, 20)), (20, (25, 40), range(0)),
    (None, (31, 40), range(30, 32))])
def test_frames_of_the_truth(frames, interval, abnormal):
    truth = frame_truth(Video("a", "test", "Fighting", frames, (interval,)), 2)
    assert len(truth) == (frames or 32) and np.flatnonzero(truth).tolist() == list(abnormal)


def test_area_with_equal_scores_by_hand():
    """In their order: of 2 x 3 pairs of an abnormal and a normal frame those whose abnormal one comes first."""
    assert frame_auc([1, 0, 1, 0, 0], [0.5] * 5) == 5 / 6
    assert frame_auc([0, 0, 1, 0, 1], [0.5] * 5) == 1 / 6          # the same frames the other way round
    assert frame_auc([0, 1, 0, 0, 1], [0.5, 0.5, 0.9, 0.1, 0.9]) == 3 / 6
    assert np.isnan(frame_auc([1, 1], [0.1, 0.2])) and np.isnan(frame_auc([0], [0.1]))
    rng = np.random.default_rng(0)
    labels, scores = rng.random(50) < 0.3, rng.random(50)
    assert frame_auc(labels, scores) == pytest.approx(wv.metrics.roc_auc(labels, scores), rel=1e-12)


@pytest.fixture
def dataset(tmp_path):
    (tmp_path / "own.csv").write_text("video,split,category,frames,intervals\na,test,Fight,330,17-40\nb,test,Normal,35,\n")
    rng = np.random.default_rng(0)
    for name, snippets in (("a", 20), ("b", 2)):
        np.save(tmp_path / f"{name}.npy", rng.random((snippets, 6), np.float32))
    return Dataset.open(tmp_path / "own.csv", tmp_path)


def test_the_published_protocol(dataset):
    """Frame by frame: 16 for each clip, those behind the last one as it; equal scores in the table's order."""
    made = wv.create("deep-mil", seed=1, **SMALL)
    report = wv.evaluate(made, dataset, replicates=1, protocol="published")
    frames = []
    for item in dataset:
        of_clips = made.score(unit_segments(item.features.read()[0], 32))[np.array(by_clips(item.features.shape[1])) - 1]
        of_clips[np.array(by_clips(len(of_clips))) == 0] = 0
        frames += [of_clips[min(f // 16, len(of_clips) - 1)] for f in range(item.video.frames)]
    truth = np.zeros(365, bool)
    truth[16:40] = True
    order = sorted(range(365), key=lambda f: -frames[f])
    above = [sum(truth[g] for g in order[:place]) for place, f in enumerate(order) if not truth[f]]
    assert report.metrics["published_auc"] == pytest.approx(sum(above) / (24 * 341), rel=1e-12)
    assert report.videos[0].scores[-1] == 0 < report.videos[0].scores[:-1].min() and report.about["frames"] == 365
    assert set(PROTOCOLS) == {""}


def test_a_segment_of_zeros_names_the_video(dataset, tmp_path):
    np.save(tmp_path / "b.npy", np.zeros((2, 6), np.float32))
    made = wv.create("deep-mil", seed=1, **SMALL)
    with pytest.raises(wv.InputError, match="^b: segment 0 is all zero, expected one that can be divided by its norm$"):
        wv.evaluate(made, Dataset.open(tmp_path / "own.csv", tmp_path), replicates=1, protocol="published")


def test_normalise_divides_each_snippet_by_its_norm(backend):
    rng = np.random.default_rng(0)
    features = rng.random((2, 7, 6)).astype(np.float32) * rng.uniform(0.1, 9, (2, 7, 1)).astype(np.float32)
    features[1, 3] = 0
    plain, made = (wv.create("deep-mil", backend, devices.of(backend), seed=1, **SMALL, normalise=n) for n in (False, True))
    norms = np.linalg.norm(features, axis=-1, keepdims=True)
    assert_close(made.score(features), plain.score(features / np.where(norms == 0, 1, norms)), OUTPUT)
    assert np.abs(made.score(features) - plain.score(features)).max() > 1e-3


def test_fresh_weights_are_normal():
    weights = wv.create("deep-mil", seed=3, feature_dim=300).weights()
    for name, (outputs, inputs) in {"fc1": (512, 300), "fc2": (32, 512), "fc3": (1, 32)}.items():
        weight = weights[f"{name}.weight"].astype(np.float64) / np.sqrt(2 / (inputs + outputs))
        assert weight.shape == (outputs, inputs) and not weights[f"{name}.bias"].any()
        assert stats.kstest(weight.ravel(), stats.norm.cdf).pvalue > 1e-3
    assert np.abs(weights["fc1.weight"]).max() > 4 * np.sqrt(2 / 812)  # not cut off


def gradients(w: dict, features: np.ndarray, config: dict) -> dict:
    """The gradient of the total loss by the chain rule, a video after another; (2B, T, D), normal videos first."""
    x, half = features.astype(np.float64), len(features) // 2
    a = x @ w["fc1.weight"].T + w["fc1.bias"]
    h = np.maximum(a, 0)
    g = h @ w["fc2.weight"].T + w["fc2.bias"]
    s = 1 / (1 + np.exp(-(g @ w["fc3.weight"].T + w["fc3.bias"])))[..., 0]
    of_s, largest = np.zeros_like(s), s.argmax(1)
    for n in range(half):
        for m in range(half, 2 * half):
            if 1 - s[m, largest[m]] + s[n, largest[n]] > 0:
                of_s[n, largest[n]] += 1 / half
                of_s[m, largest[m]] -= 1 / half
    of_s[half:] += config["sparsity_weight"]
    steps = np.diff(s[half:], axis=1)
    of_s[half:, 1:] += 2 * config["smooth_weight"] * steps
    of_s[half:, :-1] -= 2 * config["smooth_weight"] * steps
    of_z = (of_s * s * (1 - s)).reshape(-1, 1)
    of_g = of_z @ w["fc3.weight"]
    of_a = of_g @ w["fc2.weight"] * (a.reshape(len(of_z), -1) > 0)
    found = {}
    for name, of, given in (("fc1", of_a, x), ("fc2", of_g, h), ("fc3", of_z, g)):
        found[f"{name}.weight"] = of.T @ given.reshape(len(of_z), -1) + 2 * config["norm_weight"] * w[f"{name}.weight"]
        found[f"{name}.bias"] = of.sum(0)
    return found


def test_ten_published_steps_by_hand(framework):
    """Adagrad with sums from 0 and eps added to the root; the weight term by its gradient, on the kernels alone."""
    recipe = replace(from_dict(RECIPES["ucf-crime"]), segments=8, videos=4, learning_rate=0.05)
    assert (recipe.optimiser, recipe.eps, recipe.weight_decay) == ("adagrad", 1e-8, 0)
    made, rng = wv.create("deep-mil", framework, devices.of(framework), seed=2, **SMALL), np.random.default_rng(1)
    weights = {name: value.astype(np.float64) for name, value in made.weights().items()}
    sums, trainer = {name: np.zeros_like(value) for name, value in weights.items()}, Trainer(made, recipe)
    for _ in range(10):
        features = rng.standard_normal((8, 8, 6)).astype(np.float32)
        trainer.step(wv.Batch(features, [0] * 4 + [1] * 4))
        for name, gradient in gradients(weights, features, SMALL).items():
            sums[name] += gradient**2
            weights[name] -= 0.05 * gradient / (np.sqrt(sums[name]) + 1e-8)
    assert_all_close(made.weights(), weights, TRAINED)


def official(path, state: dict) -> None:
    """weights_L1L2.mat as Keras's weights were saved: layers 1 and 3, the dropouts, have none."""
    layers: dict = {name: np.zeros((0, 0)) for name in ("1", "3")}
    for number, name in enumerate(("fc1", "fc2", "fc3")):
        layers[str(2 * number)] = np.empty((1, 2), object)
        layers[str(2 * number)][0] = [state[f"{name}.weight"].T, state[f"{name}.bias"][None]]
    savemat(path, layers)


def test_the_official_weights(tmp_path, backend):
    official(tmp_path / "weights_L1L2.mat", CASE.weights())
    with pytest.warns(wv.AssumedWarning, match="normalise=false"):
        made = wv.load(tmp_path / "weights_L1L2.mat", backend)
    features = CASE.inputs()["features"][0]
    assert made.method == "deep-mil" and made.config.feature_dim == 64 and made.config.hidden_dims == (512, 32)
    assert_close(made.score(features), CASE.outputs["scores"][0], OUTPUT)
    assert not wv.load(tmp_path / "weights_L1L2.mat", normalise=True).assumed.in_scores()
