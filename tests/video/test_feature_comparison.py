"""wvad extract --compare: how near features are to others of the same videos, and each cause by its name."""
import json
import shutil
from dataclasses import replace
from itertools import permutations

import drawn
import numpy as np
import pytest
from test_extraction import RECIPE, World, installed  # noqa: F401, a fixture

import wvad_core as wv
from wvad_core.blocks.clips import scaled
from wvad_core.extraction import causes
from wvad_core.extraction.comparison import assignment, measure
from wvad_core.video.recipe import from_dict
from wvad_core.video.source import Frames

ONE = from_dict(RECIPE | {"crops": ["c"], "mirror": "none", "resize": "86x64", "crop": 56, "filter": "lanczos"})
FRAMES = 115  # 7 snippets and 3 frames


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A lossless video, its path and frames, without what looks alike from left and right or one frame later."""
    path = tmp_path_factory.mktemp("film") / "film.mkv"
    rng = np.random.default_rng(3)
    frames = drawn.frames(FRAMES, 72, 128, seed=5).astype(int) // 2
    frames += (rng.integers(0, 120, (FRAMES, 1, 1, 3)) * np.linspace(0.2, 1, 128)[:, None]).astype(int)
    drawn.write(path, frames.astype(np.uint8), **drawn.LOSSLESS)
    return path, frames.astype(np.uint8)


def features(extractor, frames, recipe, change=lambda clip: clip):
    return np.stack([extractor.features(change(clip)) for clip in wv.video.snippets(Frames(list(frames)), recipe)], 1)


def explain(film, recipe, make, frames=FRAMES):
    extractor = wv.create("pixel-means", seed=1, depth=24)
    own = features(extractor, film[1], recipe)
    given = make(extractor, film[1], own)
    return causes.explained(measure("film", own, given), own, given, frames, str(film[0]), recipe, extractor)


def by_scale(scale, unit=False):
    def change(clip):
        if not unit:
            return scaled(clip, scale)
        return ((clip / 255 - 114.75) / 57.375).astype(np.float32)
    return change


CASES = {
    "same": (lambda e, f, own: own, "the same"),
    "normalisation": (lambda e, f, own: features(e, f, ONE, by_scale("symmetric")), "normalisation: scale symmetric, not kinetics"),
    "raw": (lambda e, f, own: features(e, f, ONE, by_scale("raw")), "normalisation: scale raw, not kinetics"),
    "0 to 1": (lambda e, f, own: features(e, f, ONE, by_scale("", unit=True)), "normalisation: values from 0 to 1"),
    "mirror": (lambda e, f, own: features(e, f[:, :, ::-1], ONE), "mirrored frames"),
    "BGR": (lambda e, f, own: features(e, f[..., ::-1], ONE), "BGR: blue and red"),
    "one frame later": (lambda e, f, own: features(e, f[1:], ONE), "one frame later"),
    "one frame earlier": (lambda e, f, own: features(e, np.concatenate([f[:1], f]), ONE), "one frame earlier"),
    "another crop": (lambda e, f, own: features(e, f, replace(ONE, crops=("tl",))), "another crop: tl, not c"),
    "resize": (lambda e, f, own: features(e, f, replace(ONE, resize="short side 64")), "resize: short side 64, not 86x64"),
    "tail": (lambda e, f, own: features(e, f, replace(ONE, tail="drop")), "tail rule: 7 snippets, as drop or drop-last makes of 115 frames, "),
    "last": (lambda e, f, own: np.concatenate([own[:, :-1], own[:, :1]], 1), "tail rule: the last snippet alone differs"),
    "shift": (lambda e, f, own: features(e, f[16:], replace(ONE, tail="drop")), "shifted by -1 snippets"),
    "multiplied": (lambda e, f, own: 3 * own, "features multiplied by 3"),
    "L2": (lambda e, f, own: own / np.linalg.norm(own, axis=2, keepdims=True), "normalised features: each has the norm 1"),
    "other weights": (lambda e, f, own: features(wv.create("pixel-means", seed=2, depth=24), f, ONE), "other weights, or a difference"),
    "another D": (lambda e, f, own: own[..., :20], "another network: D = 20, not 24"),
    "other frames": (lambda e, f, own: own[:, ::2], "other frames: 4 snippets for 8, 0.500 times as many"),
}


@pytest.mark.parametrize("make, expected", CASES.values(), ids=CASES)
def test_each_cause_is_named(installed, film, make, expected):
    found = explain(film, ONE, make)
    assert any(cause.startswith(expected) for cause in found.causes), found.causes
    assert found.name == "film" and found.text().splitlines()[1].strip() == found.causes[0]


def test_two_causes_are_both_named_and_the_rest_told(installed, film):
    found = explain(film, ONE, lambda e, f, own: features(e, f[:, :, ::-1], ONE, by_scale("symmetric")))
    assert {cause.split(" (")[0] for cause in found.causes} == {"mirrored frames", "normalisation: scale symmetric, not kinetics"}
    assert any("of a ResNet-50 5.2" in cause for cause in found.causes)


def test_without_the_video_nothing_is_tried(installed, film):
    extractor = wv.create("pixel-means", seed=1, depth=24)
    own = features(extractor, film[1], ONE)
    given = features(extractor, film[1][:, :, ::-1], ONE)
    found = causes.explained(measure("film", own, given), own, given, FRAMES, None, ONE, extractor)
    assert found.causes[0].startswith("not tried, as videos before it were; of this size are: ")


def test_crops_in_another_order_and_fewer_of_them(installed, film):
    ten = replace(ONE, crops=("tl", "tr", "c", "bl", "br"), mirror="frame")
    order = [3, 1, 4, 0, 2, 5, 9, 6, 8, 7]
    found = explain(film, ten, lambda e, f, own: own[order])
    assert list(found.order) == order and found.causes == ("crop order: the given crops are the own 3 1 4 0 2 5 9 6 8 7",)
    fewer = explain(film, ten, lambda e, f, own: own[[2, 0]])
    assert fewer.order == (2, 0) and fewer.causes == ("other crops: 2, not 10",) and fewer.distance < 1e-9


def test_numbers_against_their_definitions(installed, film):
    rng = np.random.default_rng(0)
    own = rng.random((1, 30, 8))
    given = 2 * own + 0.1 * rng.random(own.shape)
    found = measure("a", own, given)
    cosines = [one @ other / np.linalg.norm(one) / np.linalg.norm(other) for one, other in zip(own[0], given[0])]
    step = np.median([np.linalg.norm(own[0, t + 5] - own[0, t]) for t in range(25)])
    assert found.cosine == pytest.approx(np.median(cosines)) and found.cosine_low == pytest.approx(np.quantile(cosines, 0.05))
    assert found.distance == pytest.approx(np.median(np.linalg.norm(own[0] - given[0], axis=1)) / step)
    assert found.scale == pytest.approx(np.median(np.linalg.norm(given[0], axis=1) / np.linalg.norm(own[0], axis=1)))


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (5, 3), (1, 1)])
def test_assignments_have_the_least_costs(shape):
    costs = np.random.default_rng(1).random(shape)
    found = assignment(costs)
    turned = costs if shape[0] <= shape[1] else costs.T
    least = min(sum(turned[row, column] for row, column in enumerate(picks)) for picks in permutations(range(turned.shape[1]), len(turned)))
    assert sum(costs[row, column] for row, column in enumerate(found) if column >= 0) == pytest.approx(least)


def test_the_command_compares_with_a_folder_in_any_layout(installed, tmp_path, capsys):
    world = World(tmp_path)
    world.run("--layout", "crops")
    given = tmp_path / "given"
    shutil.copytree(world.output, given)
    for path in given.glob(".*"):
        shutil.rmtree(path, ignore_errors=True)
    (given / "features.json").unlink()
    np.save(given / "v1__0.npy", 2 * np.load(given / "v1__0.npy"))
    for crop in range(10):
        (given / f"v2__{crop}.npy").rename(given / f"v2_x264__{crop}.npy")
    capsys.readouterr()
    world.run("--layout", "crops", "--compare", str(given), "--json", str(tmp_path / "found.json"))
    out = capsys.readouterr().out
    assert "v0: T 2 and 2, crops 10 and 10, D 6 and 6; cosine 1.0000 (5 %: 1.0000), distance 0, shift 0, crops in order, scale 1\n  the same\n" in out
    found = json.loads((tmp_path / "found.json").read_text())
    assert [video["name"] for video in found["videos"]] == ["v0", "v1", "v2"] and found["videos"][2]["causes"] == ["the same"]
    assert found["videos"][1]["distance"] > 0
    with pytest.raises(wv.InputError, match="--json writes what --compare finds"):
        world.run("--json", "found.json")
    with pytest.raises(wv.InputError, match="expected some of v0"):
        (tmp_path / "empty").mkdir()
        np.save(tmp_path / "empty" / "other.npy", np.ones((2, 6), np.float32))
        world.run("--layout", "crops", "--compare", str(tmp_path / "empty"))
