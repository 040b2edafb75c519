"""The origin of features: read with a folder, refused where it is another one, kept by a detector and its checkpoint."""
import copy
import dataclasses
import json
import logging
import pickle
import sys
from pathlib import Path

import pytest

import wvad_core as wv
from wvad_core import origin
from wvad_core.checkpoints import formats
from wvad_core.checkpoints.contents import Contents
from wvad_core.cli import convert, inspect
from wvad_core.cli import test as test_command

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import worlds  # noqa: E402

MADE = {"extractor": "i3d-resnet50", "config": {"scale": "kinetics", "norm_eps": 1e-5}, "feature_dim": worlds.DIM,
        "weights_sha256": "1a" * 32, "precision": "float32", "recipe": "rtfm",
        "preprocessing": {"extractor": "i3d-resnet50", "scale": "kinetics", "tail": "repeat", "crops": ["tl", "tr"], "settings": {}},
        "layout": "crops", "dtype": "float32"}
OTHERS = {
    "extractor": ({"extractor": "c3d"}, "extractor"),
    "weights": ({"weights_sha256": "2b" * 32}, "weights"),
    "D": ({"feature_dim": worlds.DIM + 1}, "D"),
    "settings": ({"config": {"scale": "kinetics", "norm_eps": 1e-3}}, r"norm_eps 0.001, not 1e-05"),
    "recipe": ({"recipe": "mine", "preprocessing": MADE["preprocessing"] | {"tail": "drop"}}, "tail drop, not repeat")}


def made(**values) -> origin.Origin:
    return origin.from_dict(MADE | values, "here")


@pytest.fixture
def world(tmp_path) -> worlds.World:
    return worlds.make(tmp_path)


def declare(folder: Path, names=tuple(worlds.FRAMES), rate=30.0, **values) -> Path:
    """Write a features.json for the videos of a world."""
    videos = {name: {"frames": worlds.FRAMES[name], "snippets": -(-worlds.FRAMES[name] // 16), "crops": worlds.CROPS, "frame_rate": rate,
                     "remarks": []} for name in names}
    (folder / "features.json").write_text(json.dumps({"origin": MADE | values, "versions": {}, "videos": videos}))
    return folder


def opened(world) -> wv.data.Dataset:
    return wv.data.Dataset.open(world.options["dataset"], world.options["features"])


def detector(world, known: origin.Origin | None = None) -> wv.Detector:
    return dataclasses.replace(wv.load(world.options["checkpoint"]), origin=known)


def evaluated(world, known, **named):
    return wv.evaluate(detector(world, known), opened(world), replicates=2, **named)


def test_a_folder_gives_its_origin_and_frame_rates_to_dataset_training_set_and_report(world):
    assert opened(world).origin is None
    declare(world.root / "features")
    dataset = opened(world)
    assert dataset.origin == made() and str(dataset.origin) == "i3d-resnet50, D = 8, weights 1a1a1a1a1a1a, recipe rtfm"
    assert dataset.dealt(0, 2).origin == made()
    report = evaluated(world, made())
    assert {video.frame_rate for video in report.videos} == {30.0}
    assert report.about["origin"] == {"features": MADE, "detector": MADE}


@pytest.mark.parametrize("values, message", OTHERS.values(), ids=OTHERS)
def test_features_of_another_origin_are_refused_and_force_warns(world, values, message, caplog):
    declare(world.root / "features", **values)
    with pytest.raises(wv.InputError, match=message) as error:
        evaluated(world, made())
    assert str(made()) in str(error.value) and str(made(**values)) in str(error.value) and "\n" not in str(error.value)
    with caplog.at_level(logging.WARNING, "wvad"):
        report = evaluated(world, made(), force=True)
    assert len([line for line in caplog.messages if str(made()) in line]) == 1 and report.about["origin"]["detector"] == MADE


def test_layout_precision_dtype_and_the_name_of_a_recipe_may_differ(world, caplog):
    declare(world.root / "features", layout="video", precision="bf16", dtype="float16", recipe="renamed")
    evaluated(world, made())
    assert not caplog.messages
    assert made().sha256 == made(recipe="renamed").sha256 != made(weights_sha256="2b" * 32).sha256


@pytest.mark.parametrize("known, declared", [(made(), False), (None, True)], ids=["of features", "of the detector"])
def test_an_unknown_origin_passes_with_one_line(world, known, declared, caplog):
    if declared:
        declare(world.root / "features")
    evaluated(world, known)
    (line,) = caplog.messages
    assert "of unknown origin" in line and str(made()) in line


def test_the_command_says_that_an_origin_is_unknown_and_takes_force(world, capsys):
    test_command.main([*world.argv])
    assert "made by     features of unknown origin (without a features.json)\n" in capsys.readouterr().out
    detector(world, made()).save(world.options["checkpoint"])
    declare(world.root / "features", extractor="c3d")
    with pytest.raises(wv.InputError, match="they differ in extractor"):
        test_command.main([*world.argv])
    capsys.readouterr()
    test_command.main([*world.argv, "--force"])
    assert "made by     c3d, D = 8" in capsys.readouterr().out


def move(world, folder: str, names) -> Path:
    target = world.root / "features" / folder
    target.mkdir()
    for name in names:
        for crop in range(worlds.CROPS):
            world.feature(name, crop).rename(target / f"{name}__{crop}.npy")
    return target


def test_folders_in_a_folder_have_one_origin(world):
    names = [*worlds.FRAMES]
    declare(move(world, "a", names[:2]), names[:2])
    declare(move(world, "b", names[2:]), names[2:], recipe="renamed")
    assert opened(world).origin == made()
    declare(world.root / "features" / "b", names[2:], extractor="c3d")
    with pytest.raises(wv.InputError, match=rf"{names[0]} has features of i3d-resnet50.*{names[2]} of c3d.*expected one origin"):
        opened(world)
    (world.root / "features" / "b" / "features.json").unlink()
    with pytest.raises(wv.InputError, match=rf"{names[0]} has features of i3d.*{names[2]} of unknown origin"):
        opened(world)
    (world.root / "features" / "a" / "features.json").unlink()
    assert opened(declared_above(world)).origin == made()


def declared_above(world):
    declare(world.root / "features")
    return world


def test_files_that_features_json_does_not_know_are_named(world):
    names = [*worlds.FRAMES]
    declare(world.root / "features", names[1:])
    with pytest.raises(wv.InputError, match=rf"{names[0]}: .*does not know {names[0]}__0.npy"):
        opened(world)
    declare(world.root / "features")
    for crop in range(worlds.CROPS):
        world.change(names[1], crop, lambda features: features[:-1])
    with pytest.raises(wv.InputError, match=rf"{names[1]}: {names[1]}__0.npy has T = 3, .*features.json says 4"):
        opened(world)


DAMAGED = {
    "no JSON": ("{", "not JSON"), "nested": ("[" * 100000, "not JSON"), "a list": ("[]", "has no videos"),
    "no origin": ('{"videos": {}}', "its origin has NoneType, expected extractor"),
    "of another kind": ('{"origin": {"extractor": "a"}, "videos": {}}', "its origin has extractor, expected extractor, config"),
    "videos of numbers": (json.dumps({"origin": MADE, "videos": {"a": 1}}), "has no videos"),
    "no hash": (json.dumps({"origin": MADE | {"weights_sha256": "x"}, "videos": {}}), "weights_sha256 of its origin is 'x', expected"),
    "deep": (json.dumps({"origin": MADE | {"config": {"a": [[[[1]]]]}}, "videos": {}}), "config of its origin"),
    "D": (json.dumps({"origin": MADE | {"feature_dim": True}, "videos": {}}), "feature_dim of its origin is True, expected a positive")}


@pytest.mark.parametrize("text, message", DAMAGED.values(), ids=DAMAGED)
def test_a_features_json_that_is_none_is_one_line(world, text, message):
    (world.root / "features" / "features.json").write_text(text)
    with pytest.raises(wv.InputError, match=message) as error:
        opened(world)
    assert "\n" not in str(error.value) and "features.json" in str(error.value)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".ckpt"])
def test_a_detector_and_its_files_keep_the_origin(world, suffix, tmp_path, capsys):
    known = detector(world, made())
    known.save(tmp_path / f"a{suffix}")
    assert wv.load(tmp_path / f"a{suffix}").origin == made()
    assert copy.deepcopy(known).origin == made() and pickle.loads(pickle.dumps(known)).origin == made()
    convert.main([str(tmp_path / f"a{suffix}"), str(tmp_path / "b.safetensors")])
    assert wv.load(tmp_path / "b.safetensors").origin == made()
    capsys.readouterr()
    inspect.main([str(tmp_path / f"a{suffix}")])
    assert f"trained on  features of {made()}\n" in capsys.readouterr().out


def test_the_hash_of_a_checkpoint_covers_its_origin(world, tmp_path):
    path = tmp_path / "a.safetensors"
    detector(world, made()).save(path)
    kind, contents = formats.read(path)
    for value in (json.dumps(MADE | {"recipe": "other"}), None):
        metadata = {key: text for key, text in (contents.metadata | {"origin": value}).items() if text}
        kind.write(path, Contents(contents.tensors, metadata))
        with pytest.raises(wv.InputError, match="do not have the hash"):
            wv.load(path)
