"""Classes, companions, batches of items and smoothed scores, by a small method that has them all, on every backend."""
import dataclasses
import json

import numpy as np
import pytest
import tagger

import devices
import wvad_core as wv
from compare import GRADIENT, OUTPUT, assert_close
from wvad_core import registry
from wvad_core.backend import find_backend
from wvad_core.data import Dataset, TrainingSet, demo
from wvad_core.errors import Failure
from wvad_core.scoring.evaluation import Frames, postprocessed, scored
from wvad_core.training.loop import Journal, read_training_set, train
from wvad_core.training.planning import all_companions, plan
from wvad_core.training.recipe import Recipe

NAMES = ("Normal", "Fight", "Riot")
SETTINGS = [{}, {"biased": False, "squared": False, "shift": 1.5, "smoothing": 3, "branch": "classes"}]


@pytest.fixture(autouse=True)
def install(tagger_installed):
    """As another package's method."""


def made(backend: str, **settings) -> wv.Detector:
    return wv.create("tagger", backend, devices.of(backend), seed=1, **settings)


def video(crops: int = 2, snippets: int = 7) -> np.ndarray:
    return np.random.default_rng(3).standard_normal((crops, snippets, 8)).astype(np.float32)


def batch() -> wv.Batch:
    rng = np.random.default_rng(4)
    return wv.Batch(rng.standard_normal((5, 6, 8)).astype(np.float32), [1, 0, 1, 1, 0], lengths=[6, 2, 3, 6, 1],
                    classes=[(2, 1), (0,), (1,), (2,), (0,)], companions={"prompts": rng.standard_normal((3, 8))})


def own_videos(folder, split: str, **given) -> Dataset:
    """Seven videos of each split, of 5 to 11 snippets and 10 crops, and a table of them; in own.csv, and texts in t.npy."""
    rng, lines = np.random.default_rng(0), ["video,split,category,frames,intervals"]
    for number, name in enumerate(("train", "test") * 7):
        category = ("Normal", "Riot-Fight", "Fight")[number // 2 % 3]
        lines.append(f"v{number},{name},{category},,{'3-20' if category != 'Normal' and name == 'test' else ''}")
        np.save(folder / f"v{number}.npy", rng.random((5 + number // 2, 10, 3), np.float32))
    np.save(folder / "t.npy", rng.random((3, 3)))
    (folder / "own.csv").write_text("\n".join(lines))
    return Dataset.open(folder / "own.csv", folder, split, **given)


@pytest.mark.parametrize("settings", SETTINGS, ids=["defaults", "others"])
def test_class_probabilities(settings, framework):
    found, expected = (made(name, **settings).classify(video()) for name in (framework, "numpy"))
    assert found.dtype == np.float32 and found.shape == (7, 3)
    assert_close(found, expected, OUTPUT)
    assert np.allclose(found.sum(1), 1, atol=1e-6)
    crops = [made(framework, **settings).classify(crop) for crop in video()]
    assert_close(found, np.mean(crops, 0), OUTPUT)


@pytest.mark.parametrize("settings", SETTINGS, ids=["defaults", "others"])
def test_one_pass_gives_scores_and_class_probabilities(settings, backend, monkeypatch):
    """The same as each of both gives; what the features pass, they pass once."""
    detector, passes = made(backend, **settings), []
    home = registry.specification("tagger") if backend == "numpy" else type(detector.network)
    classify = home.classify
    expected = detector.score(video()), detector.score(video(), raw=True), detector.classify(video())
    monkeypatch.setattr(tagger if backend == "numpy" else home, "classify",
                        lambda *given: passes.append(1) or classify(*given))
    scores, probabilities = detector.score_and_classify(video())
    assert len(passes) == 1
    assert np.array_equal(scores, expected[0]) and np.array_equal(probabilities, expected[2])
    assert np.array_equal(detector.score_and_classify(video(), raw=True)[0], expected[1])


def test_a_method_that_has_no_pass_for_both_takes_two(backend, monkeypatch):
    detector = made(backend, smoothing=2)
    expected = detector.score_and_classify(video())
    if backend == "numpy":
        monkeypatch.setattr(registry.specification("tagger"), "score_and_classify", None)
    else:
        monkeypatch.delattr(type(detector.network), "score_and_classify")
    assert all(np.array_equal(*pair) for pair in zip(detector.score_and_classify(video()), expected))


def test_what_classify_refuses(backend):
    detector = made(backend)
    assert detector.classes == NAMES
    with pytest.raises(wv.InputError, match="features have D = 9, this tagger detector takes D = 8"):
        detector.classify(np.zeros((4, 9)))
    with pytest.raises(wv.InputError, match="rtfm tells no classes of anomalies apart, it only scores"):
        wv.create("rtfm", backend, devices.of(backend), feature_dim=16, hidden_dims=(8, 4)).classify(np.zeros((4, 16)))


def test_classify_leaves_the_mode_as_it_is(framework):
    detector = made(framework)
    modes = {"torch": lambda on: detector.network.train(on), "mindspore": lambda on: detector.network.set_train(on)}
    modes[framework](True)
    detector.classify(video())
    assert detector.network.training
    assert all(np.array_equal(value, made(framework).weights()[name]) for name, value in detector.weights().items())


@pytest.mark.parametrize("settings", SETTINGS, ids=["defaults", "others"])
def test_losses_of_items_with_classes_and_companions(settings, framework):
    found, expected = (made(name, **settings).losses(batch(), deterministic=True) for name in (framework, "numpy"))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert_close(np.float64(found[name]), np.float64(value), OUTPUT, name=name)


def test_gradients_of_items(framework):
    """Against differences of the specification's total in float64."""
    found = made(framework).gradients(batch(), deterministic=True)
    exact = made("numpy")
    weights = {name: value.astype(np.float64) for name, value in exact.weights().items()}

    def total(name: str, place: int, step: float) -> float:
        moved = weights[name].copy()
        moved.flat[place] += step
        exact.network.weights = weights | {name: moved}
        return exact.network.losses(batch(), deterministic=True)["total"]

    for name, value in weights.items():
        expected = [(total(name, place, 1e-6) - total(name, place, -1e-6)) / 2e-6 for place in range(value.size)]
        assert_close(found[name], np.reshape(expected, value.shape), GRADIENT, name=name)


@pytest.mark.parametrize("change, message", [
    ({"companions": {}}, r"a batch has no companion 'prompts' \(found none\), expected the dataset to bring it"),
    ({"classes": [(3,), (0,), (1,), (2,), (0,)]}, r"batch classes of video 0 are \[3\], expected different ones of 0 to 2")])
def test_batches_that_lack_something(change, message, backend):
    with pytest.raises(wv.InputError, match=message):
        made(backend).losses(dataclasses.replace(batch(), **change), deterministic=True)


def test_methods_with_halves_still_take_only_these(backend):
    detector = wv.create("rtfm", backend, devices.of(backend), feature_dim=8, hidden_dims=(8, 4))
    with pytest.raises(wv.InputError, match="a batch has 2 normal and 3 abnormal videos, expected as many of each"):
        detector.losses(batch())


def test_scores_are_smoothed_at_last(backend):
    detector, features = made(backend, smoothing=3), video(crops=5)
    raw = detector.score(features, raw=True)
    assert np.array_equal(raw, made(backend).score(features))
    by_hand = [sum(raw[t:t + 3]) / 3 for t in range(7)]
    assert detector.score(features).dtype == np.float32
    np.testing.assert_allclose(detector.score(features), by_hand, rtol=1e-6)
    assert not np.allclose(raw, by_hand)


def test_a_set_is_scored_raw_and_smoothed(tmp_path, backend):
    detector, dataset = made(backend, smoothing=3, feature_dim=3), own_videos(tmp_path, "test")
    raw, smooth = scored(detector, dataset, raw=True), scored(detector, dataset)
    for one, other, (item, features) in zip(raw, smooth, dataset.prefetched()):
        assert one.name == item.video.name and np.array_equal(one.scores, detector.score(features, raw=True))
        assert np.array_equal(other.scores, detector.score(features)) and not np.allclose(one.scores, other.scores)
    for one, other in zip(postprocessed(detector, raw), smooth):
        assert np.array_equal(one.scores, other.scores) and one.name == other.name


def test_float64_stays_float64_in_numpy():
    exact = made("numpy", smoothing=2).score(video().astype(np.float64))
    assert exact.dtype == np.float64
    assert made("numpy").classify(video().astype(np.float64)).dtype == np.float64


def test_a_post_processing_that_loses_scores(monkeypatch):
    monkeypatch.setattr(registry.specification("tagger"), "postprocess", lambda scores, config: scores[1:])
    with pytest.raises(Failure, match=r"tagger: scores \(7,\) became \(6,\) by its post-processing, expected as many"):
        made("numpy").score(video())


@pytest.mark.on_the_cpu
@pytest.mark.needs("torch")
def test_exported_files_have_raw_scores_and_say_so(tmp_path):
    import onnxruntime

    detector = made("torch", smoothing=3)
    wv.export(detector, tmp_path / "a.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    assert_close(session.run(None, {"features": video()})[0], detector.score(video(), raw=True), OUTPUT)
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata["scores"] == "raw" and json.loads(metadata["config"])["smoothing"] == 3


@pytest.mark.parametrize("settings", SETTINGS + [{"categories": ("Normal", "Fire"), "smoothing": 5}])
def test_settings_of_every_kind_are_kept_in_a_file(tmp_path, settings, backend):
    detector = made(backend, **settings)
    detector.save(tmp_path / "a.safetensors")
    again = wv.load(tmp_path / "a.safetensors", backend, devices.of(backend))
    assert again.config == detector.config and not again.assumed
    assert np.array_equal(again.score(video()), detector.score(video()))


def test_training_on_items(tmp_path, framework):
    """The steps move the terms down, on the method's own sampler, with the crops as items and a short batch at the end."""
    videos = own_videos(tmp_path, "train", companions={"prompts": np.random.default_rng(0).random((3, 3))})
    config, journal = tagger.Config(feature_dim=3), Journal()
    recipe = Recipe(**tagger.RECIPES["ucf-crime"])
    training_set = read_training_set(videos, recipe, "tagger", config)
    assert np.array_equal(training_set.features[1], tagger.halved(videos[1].features.read(), 4))
    short = training_set.batch(4, recipe.videos, 0, "each", batches="items", draw=recipe.draw)
    assert len(short.labels) == 6 and set(short.classes) <= {(0,), (2, 1), (1,)}
    train("tagger", config, training_set, recipe, framework, devices.of(framework), journal=journal)
    totals = [line["total"] for line in journal.history if "total" in line]
    assert len(totals) == 12 and np.mean(totals[-3:]) < np.mean(totals[:3])


def test_the_backends_functions(backend):
    """What others call in place of a Detector."""
    found = find_backend(backend)
    detector = made(backend)
    assert np.array_equal(found.classify(detector.network, video()), detector.classify(video()))


def test_a_run_keeps_to_its_companions(tmp_path, framework):
    """It begins, is stopped, and goes on only with the same values, wherever they come from."""
    own_videos(tmp_path, "train")
    given = dict(dataset=tmp_path / "own.csv", features=tmp_path, backend=framework, device=devices.of(framework))
    words = dict(steps=4, save_every=2, evaluate_every=2, smoothing=3, output=tmp_path / "run")
    result = wv.train("tagger", **given, **words, companions={"prompts": tmp_path / "t.npy"})
    assert result.plan.companions == {"prompts": str(tmp_path / "t.npy")} and len(result.plan.companions_sha256) == 64
    longer = wv.train(resume=tmp_path / "run", steps=6, device=devices.of(framework))
    assert [line["step"] for line in longer.history if "total" in line] == [1, 2, 3, 4, 5, 6]
    np.save(tmp_path / "t.npy", np.load(tmp_path / "t.npy") + 1)
    with pytest.raises(wv.InputError, match="t.npy: have changed since the run was planned"):
        wv.train(resume=tmp_path / "run", steps=8, device=devices.of(framework))


def test_the_best_is_chosen_by_raw_scores_and_reported_smoothed(tmp_path, framework):
    own_videos(tmp_path, "train")
    given = dict(features=tmp_path, backend=framework, device=devices.of(framework), steps=2, evaluate_every=1, smoothing=4)
    result = wv.train("tagger", tmp_path / "own.csv", **given, companions={"prompts": tmp_path / "t.npy"}, output=tmp_path / "run")
    test = own_videos(tmp_path, "test")
    raw = Frames(scored(result.last, test, raw=True)).metric(wv.metrics.roc_auc)
    smooth = Frames(scored(result.last, test)).metric(wv.metrics.roc_auc)
    assert raw != smooth
    assert result.history[-1]["validation"] == pytest.approx(raw) and result.report["last"]["metrics"]["auc"] == pytest.approx(smooth)
    saved = wv.Report.load(tmp_path / "run" / "last")
    assert list(saved.classes) == list(NAMES) and saved.detection == wv.evaluate(result.last, test, 5).detection


@pytest.mark.parametrize("method, companions, message", [
    ("tagger", None, "tagger trains with companions prompts, found none; --companion NAME=FILE.npy gives one"),
    ("tagger", {"prompt": "t.npy"}, "tagger trains with companions prompts, found prompt"),
    ("rtfm", {"prompts": "t.npy"}, "rtfm trains with no companions, found prompts"),
    ("tagger", {"prompts": "none.npy"}, "companion prompts: none.npy: cannot be read")])
@pytest.mark.needs("torch")
def test_companions_that_a_method_does_not_train_with(method, companions, message, tmp_path):
    own_videos(tmp_path, "train")
    with pytest.raises(wv.InputError, match=message):
        plan(method, str(tmp_path / "own.csv"), tmp_path, companions=companions)


def test_what_is_told_of_few_videos(tmp_path):
    """Items are counted as such: 7 videos of 10 crops; of halves, 3 normal and 4 abnormal videos."""
    training_set = TrainingSet(own_videos(tmp_path, "train"), 4)
    assert training_set.counts("each", "items") == {"training videos": 70}
    assert training_set.counts("random", "halves") == {"normal training videos": 3, "abnormal training videos": 4}


@pytest.fixture
def tags(monkeypatch, tmp_path):
    """What `wv.train` takes, where a companion is a tensor of the method."""
    monkeypatch.setattr(registry.specification("tagger"), "COMPANIONS", ("prompts", "tags"))
    own_videos(tmp_path, "train")
    np.save(tmp_path / "tags.npy", np.random.default_rng(1).random((3, 3)))
    return {"dataset": tmp_path / "own.csv", "features": tmp_path, "steps": 1,
            "companions": {"tags": tmp_path / "tags.npy", "prompts": tmp_path / "t.npy"}}


def test_a_companion_that_is_a_tensor_is_its_first_value(tags, tmp_path, framework):
    """One tiny step moves nothing: what the other tensors start with is the seed's, this one's is the file's."""
    result = wv.train("tagger", **tags, backend=framework, device=devices.of(framework), learning_rate=1e-30)
    fresh, found = wv.create("tagger", feature_dim=3).weights(), result.last.weights()
    assert np.array_equal(found["tags"], np.load(tmp_path / "tags.npy").astype(np.float32))
    assert all(np.array_equal(found[name], fresh[name]) for name in ("score", "bias"))


@pytest.mark.needs("torch")
def test_a_companion_of_another_shape_than_its_tensor(tags, tmp_path):
    np.save(tmp_path / "tags.npy", np.ones((3, 4)))
    with pytest.raises(wv.InputError, match=r"^companion tags: .*tags.npy: has shape \(3, 4\), expected \(3, 3\)$"):
        wv.train("tagger", **tags, backend="torch")


@pytest.mark.needs("torch")
def test_the_demo_set_brings_its_companions(monkeypatch, tmp_path):
    """Bundled beside the checkpoints, of the method's name; one that is given takes their place."""
    home = tmp_path / "data" / "demo"
    home.mkdir(parents=True)
    for file, value in (("tagger.prompts", 1.0), ("tagger.tags", 2.0), ("rtfm.prompts", 3.0)):
        np.save(home / f"{file}.npy", np.full((3, 32), value))
    monkeypatch.setattr(demo, "__file__", str(home.with_suffix(".py")))
    monkeypatch.setattr(registry.specification("tagger"), "COMPANIONS", ("prompts", "tags"))
    assert demo.demo_companions("tagger") == {name: home / f"tagger.{name}.npy" for name in ("prompts", "tags")}
    made = plan("tagger", "demo", recipe="ucf-crime")
    np.save(tmp_path / "other.npy", np.full((3, 32), 5.0))
    other = plan("tagger", "demo", recipe="ucf-crime", companions={"tags": tmp_path / "other.npy"})
    assert made.companions == {} and other.companions == {"tags": str(tmp_path / "other.npy")}
    assert made.companions_sha256 != other.companions_sha256
    assert all_companions("tagger", None, other.companions) == {
        "prompts": home / "tagger.prompts.npy", "tags": str(tmp_path / "other.npy")}
    assert all_companions("tagger", tmp_path, {}) == {}
