"""What the golden cases of S3R hold beyond scores and losses, and how its dictionary comes and stays."""
import devices
import numpy as np
import pytest
from test_golden import CASES, DTYPE, detector, published, state, tolerance, training_batch

import native
import wvad_core as wv
from compare import GRADIENT, OUTPUT, assert_close
from wvad_core.checkpoints import formats
from wvad_core.checkpoints.contents import Contents
from wvad_core.checkpoints.identification.recognition import identify
from wvad_core.data import Dataset, demo
from wvad_core.data.segments import resize_segments
from wvad_core.registry import specification
from wvad_core.training.loop import read_training_set, train
from wvad_core.training.planning import plan
from wvad_core.training.recipe import Recipe

EVALUATED, TRAINED = CASES["s3r_eval"], CASES["s3r_train"]
SMALL = {"feature_dim": 32, "atoms": 5}


@pytest.mark.parametrize("suffix", ("", "_one"))
def test_all_outputs_in_evaluation(suffix, backend):
    """Of eleven snippets, and of a single one, where the published forward fails."""
    case = EVALUATED
    features = case.inputs()["features" + suffix].astype(DTYPE.get(backend, np.float32))
    found = native.s3r_outputs(detector(case, backend), features, training=False)
    found["scores"] = np.stack([detector(case, backend).score(video) for video in features])
    for name in ("scores", "macro_scores", "feature_magnitudes"):
        assert_close(found[name], case.outputs[name + suffix], tolerance(case, backend), name=name)
    weights = found["attention"].reshape(len(features), 10, features.shape[2], -1)[:, :3]  # of the first three crops
    expected = case.outputs["attention" + suffix]
    assert_close(weights.reshape(len(features), -1, expected.shape[1]).swapaxes(1, 2), expected, tolerance(case, backend))


@pytest.mark.parametrize("name", ("s3r_train", "s3r_train_margin"))
def test_macro_scores_in_training(name, backend):
    case = CASES[name]
    found = native.s3r_outputs(detector(case, backend), training_batch(case, backend).features, training=True)
    assert_close(found["macro_scores"], case.outputs["macro_scores"], tolerance(case, backend))


@pytest.mark.parametrize("name", ("s3r_train", "s3r_train_margin"))
def test_the_running_statistics_behind_a_step(name, backend):
    """Those of the two non-local blocks, the only ones."""
    case, names = CASES[name], published(CASES[name]).names
    made = detector(case, backend)
    native.training_losses(made, training_batch(case, backend))
    expected = {names[key[6:]]: value for key, value in case.outputs.items() if key.startswith("after:")}
    found = made.weights()
    assert len(expected) == 4 and set(expected) == {n for n in found if n.endswith(("running_mean", "running_var"))}
    for ours, value in expected.items():
        assert_close(found[ours], value, GRADIENT if "var" in ours else OUTPUT, name=ours)


@pytest.mark.parametrize("snippets, segments, expected", [
    (1, 3, [0, 0, 0]), (2, 4, [0, 0.25, 0.75, 1]), (5, 2, [0.75, 3.25]), (3, 3, [0, 1, 2]), (8, 2, [1.5, 5.5])])
def test_segments_are_interpolated(snippets, segments, expected):
    """By hand, of a ramp: segment j lies at (j + 1/2) T / S - 1/2 between the snippets, cut to the first and the last."""
    ramp = np.arange(snippets, dtype=np.float32)[:, None] * np.array([1, -2], np.float32)
    np.testing.assert_allclose(resize_segments(ramp, segments), np.array(expected)[:, None] * [1, -2], atol=1e-6)


@pytest.mark.needs("torch")
@pytest.mark.parametrize("snippets", (1, 2, 31, 32, 33, 100, 1001))
def test_segments_are_those_of_torch(snippets):
    import torch

    video = np.random.default_rng(snippets).random((2, snippets, 3), np.float32)
    expected = torch.nn.functional.interpolate(torch.from_numpy(video.swapaxes(1, 2).copy()), size=32, mode="linear")
    np.testing.assert_allclose(resize_segments(video, 32), expected.numpy().swapaxes(1, 2), rtol=1e-5, atol=1e-6)


def test_training_sets_are_read_by_resizing():
    spec = specification("s3r")
    assert {recipe["sampling"] for recipe in spec.RECIPES.values()} == {"resized"}


def test_widths_that_groups_do_not_divide():
    with pytest.raises(wv.InputError, match="setting feature_dim: expected a multiple of 32, found 48"):
        wv.create("s3r", feature_dim=48)


@pytest.mark.parametrize("steps", (1, 4))
def test_a_dictionary_of_a_single_atom(steps, framework):
    """Its share is 1 everywhere; the gradients of what asks for it are 0, and no others are."""
    video = np.random.default_rng(0).random((1, steps, 32), np.float32)
    batch = wv.Batch(np.random.default_rng(1).random((2, steps, 32), np.float32), [0, 1])
    made = {name: wv.create("s3r", name, devices.of(name), feature_dim=32, atoms=1) for name in ("numpy", framework)}
    assert_close(made[framework].score(video), made["numpy"].score(video), OUTPUT)
    gradients = made[framework].gradients(batch, deterministic=True)
    assert not gradients["query.weight"].any() and not gradients["key.weight"].any() and gradients["value.weight"].any()


def test_settings_are_seen_from_the_dictionary():
    """Of a published checkpoint and its dictionary nothing has to be said, but what neither shows."""
    whole = state(EVALUATED)
    made = wv.from_published("s3r", whole)
    assert (made.config.feature_dim, made.config.atoms) == (64, 20)
    assert wv.from_published("s3r", whole, atoms=20, feature_dim=64).config == made.config
    wrapped = {name if name == "dictionary" else f"module.{name}": value for name, value in whole.items()}
    assert all(np.array_equal(value, made.weights()[name]) for name, value in wv.from_published("s3r", wrapped).weights().items())
    with pytest.raises(wv.InputError, match=r"tensor dictionary has shape \(20, 64\), expected \(21, 64\)"):
        wv.from_published("s3r", whole, atoms=21)


@pytest.mark.parametrize("suffix", (".pt", ".ckpt", ".safetensors"))
def test_a_published_file_and_its_dictionary(suffix, tmp_path):
    """The projections that are stored and never used are dropped by name; without the dictionary the file says what it lacks."""
    path, case = tmp_path / f"official{suffix}", EVALUATED
    formats.by_suffix(path).write(path, Contents(case.weights(), {}))
    np.save(tmp_path / "M.npy", case.inputs()["dictionary"])
    with pytest.raises(wv.InputError, match=r"missing tensor dictionary, --companion dictionary=FILE.npy gives it"):
        wv.load(path)
    found = wv.load(path, companions={"dictionary": tmp_path / "M.npy"})
    assert found.method == "s3r" and found.config.atoms == 20 and found.assumed.scored == ("norm_groups",)
    assert np.array_equal(found.weights()["dictionary"], case.inputs()["dictionary"])
    whole = identify(Contents(state(case), {}), "x.pt")
    assert len(whole.dropped) == 8 and all("_projection." in name for name in whole.dropped)


@pytest.fixture
def own(tmp_path):
    """What `wv.train` takes: a table of two normal and two abnormal videos of each split, their features, a dictionary."""
    rng, lines = np.random.default_rng(0), ["video,split,category,frames,intervals"]
    for number, split in enumerate(("train", "test") * 4):
        category = ("Normal", "Fight")[number // 2 % 2]
        lines.append(f"v{number},{split},{category},,{'3-20' if (category, split) == ('Fight', 'test') else ''}")
        np.save(tmp_path / f"v{number}.npy", rng.random((5 + number, 2, 32), np.float32))
    np.save(tmp_path / "d.npy", rng.random((7, 32)).astype(np.float32))
    (tmp_path / "own.csv").write_text("\n".join(lines))
    return {"dataset": tmp_path / "own.csv", "features": tmp_path, "companions": {"dictionary": tmp_path / "d.npy"}}


def test_no_step_moves_the_dictionary(framework, own, tmp_path):
    """It is the training set's from the start; gradients and weight decay move all others, running statistics too."""
    words = {"backend": framework, "device": devices.of(framework), "segments": 4, "videos": 2, "evaluate_every": 2, "dropout": 0.0}
    result = wv.train("s3r", **own, output=tmp_path / "run", steps=2, weight_decay=0.5, learning_rate=0.1, **words)
    dictionary, found = np.load(tmp_path / "d.npy"), result.last.weights()
    fresh = wv.create("s3r", feature_dim=32, atoms=7, seed=823).weights()
    assert result.last.config.atoms == 7 and np.array_equal(found["dictionary"], dictionary)
    assert {name for name in found if np.array_equal(found[name], fresh[name])} <= {"classifier.fc1.bias"}
    longer = wv.train(resume=tmp_path / "run", steps=3, device=devices.of(framework))
    assert np.array_equal(longer.last.weights()["dictionary"], dictionary)
    assert np.array_equal(wv.load(tmp_path / "run" / "best.safetensors").weights()["dictionary"], dictionary)


@pytest.mark.needs("torch")
def test_fine_tuning_takes_the_dictionary_that_is_given(own, tmp_path):
    wv.create("s3r", feature_dim=32, atoms=7, seed=1).save(tmp_path / "begun.pt")
    tuned = wv.train("s3r", **own, backend="torch", init=tmp_path / "begun.pt", steps=1, videos=2, segments=4)
    assert np.array_equal(tuned.last.weights()["dictionary"], np.load(tmp_path / "d.npy"))
    initial = tuned.report["initial"]
    assert "dictionary" not in initial["taken"] and not initial["fresh"] and "query.weight" in initial["taken"]


def test_a_training_set_with_another_dictionary(own):
    """As the loop is called by itself."""
    spec = specification("s3r")
    videos = Dataset.open(own["dataset"], own["features"], "train", companions={"dictionary": np.ones((7, 33))})
    recipe, config = Recipe(segments=4, videos=2, steps=1, sampling="resized"), spec.Config(feature_dim=32, atoms=7)
    with pytest.raises(wv.InputError, match=r"companion dictionary: has shape \(7, 33\), expected \(7, 32\)"):
        train("s3r", config, read_training_set(videos, recipe, "s3r", config), recipe, "numpy")


@pytest.mark.needs("torch")
@pytest.mark.parametrize("shape, message", [
    ((7, 32), None), ((7, 16), r"companion dictionary: .*d.npy: has shape \(7, 16\), expected \(7, 32\)$"),
    ((32,), r"companion dictionary: .*d.npy: has shape \(32,\), expected \(\d+, 32\)$")])
def test_a_run_is_planned_with_its_dictionary(shape, message, tmp_path):
    """The number of atoms is the dictionary's; the demo set brings one of its own, and another takes its place."""
    np.save(tmp_path / "d.npy", np.ones(shape))
    given = {"companions": {"dictionary": tmp_path / "d.npy"}}
    if message:
        with pytest.raises(wv.InputError, match=message):
            plan("s3r", "demo", **given)
        return
    made = plan("s3r", "demo", **given)
    assert made.config.atoms == 7 and made.companions == {"dictionary": str(tmp_path / "d.npy")}
    own = plan("s3r", "demo")
    assert own.config.atoms == 20 and own.companions == {} and len(own.companions_sha256) == 64
    assert np.array_equal(own.open("train").companions["dictionary"], np.load(demo.demo_companions("s3r")["dictionary"]))
    with pytest.raises(wv.InputError, match=r"has shape \(7, 32\), expected \(6, 32\)"):
        plan("s3r", "demo", overrides={"atoms": 6}, **given)
    with pytest.raises(wv.InputError, match="^s3r trains with companions dictionary, found none; --companion NAME=FILE.npy gives one$"):
        plan("s3r", "ucf-crime", tmp_path)
