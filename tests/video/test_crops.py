"""Frames to crops, against what the published preprocessing gives: every byte, where it is known."""
from pathlib import Path

import numpy as np
import pytest

import golden
import wvad_core as wv
from wvad_core.video import recipe as recipes
from wvad_core.video.clips import snippets
from wvad_core.video.cropping import boxes
from wvad_core.video.recipe import Recipe
from wvad_core.video.resizing import opencv_linear, pillow, resize
from wvad_core.video.source import Frames

ROOT = Path(golden.__file__).parent / "golden" / "video"
CASES = golden.names(ROOT)
RECIPES = {"stretch": "gowtham", "short-side": "rtfm", "centre-first": "roc-ng", "clip": "vadclip"}
"""A published recipe that has each of the cases' ways."""
SCALES = {"symmetric": lambda x: x * 2 / 255 - 1, "kinetics": lambda x: (x - 114.75) / 57.375}


def case_and_recipe(name):
    case = golden.load(name, ROOT)
    return case, wv.video.recipes()[RECIPES[case.about["config"]["recipe"]]]


def test_there_are_cases_of_every_way_and_size():
    assert len(CASES) == 14 and {golden.load(name, ROOT).about["config"]["recipe"] for name in CASES} == set(RECIPES)


@pytest.mark.parametrize("name", CASES)
def test_frames_are_resized_bit_for_bit(name):
    case, recipe = case_and_recipe(name)
    resized = [resize(frame, recipe, name) for frame in case.outputs["input:frames"]]
    assert np.array_equal(np.stack([frame[::7, ::9] for frame in resized]), case.outputs["resized"])
    if "resized_size" in case.outputs:
        assert resized[0].shape[:2] == tuple(case.outputs["resized_size"])


@pytest.mark.parametrize("name", CASES)
def test_crops_are_those_of_the_case_in_its_order(name):
    """Every picked pixel, and the sum of all."""
    case, recipe = case_and_recipe(name)
    (clip,) = snippets(Frames(case.outputs["input:frames"]), recipe)
    crops = clip[:, :len(case.outputs["input:frames"])]
    picked = crops[:, :, ::16, 3::17]
    if recipe.scale == "clip":
        assert np.array_equal(picked, case.outputs["crops_uint8"])
        assert np.array_equal(crops.sum((2, 3), dtype=np.int64), case.outputs["crop_sums"])
        return
    scaled = SCALES[recipe.scale]
    assert np.array_equal(picked, np.rint(inverse(case.outputs["crops"], scaled)))
    assert np.abs(scaled(picked.astype(np.float64)) - case.outputs["crops"]).max() < 1e-14
    assert np.abs(scaled(crops.astype(np.float64)).sum((2, 3)) - case.outputs["crop_sums"]).max() < 1e-6


def inverse(values, scaled):
    """The bytes of scaled values."""
    low, high = scaled(0.0), scaled(255.0)
    return (values - low) / (high - low) * 255


def naive_linear(frame, height, width, factor=None):
    """OpenCV's 8-bit linear interpolation, pixel by pixel."""
    def taps(j, source, target, clamp):
        position = np.float32((j + 0.5) * (1 / factor if factor else source / target) - 0.5)
        first = int(np.floor(position))
        part = np.float32(position - np.float32(first))
        if clamp and (first < 0 or first >= source - 1):
            first, part = min(max(first, 0), source - 1), np.float32(0)
        weights = [int(np.rint(np.float32(2048) * (np.float32(1) - part))), int(np.rint(np.float32(2048) * part))]
        return [min(max(first, 0), source - 1), min(max(first + 1, 0), source - 1)], weights

    result = np.empty((height, width, frame.shape[2]), np.uint8)
    for y in range(height):
        rows, down = taps(y, frame.shape[0], height, False)
        for x in range(width):
            columns, right = taps(x, frame.shape[1], width, True)
            for c in range(frame.shape[2]):
                across = [sum(int(frame[row, column, c]) * w for column, w in zip(columns, right)) for row in rows]
                result[y, x, c] = (sum((w * (value >> 4)) >> 16 for w, value in zip(down, across)) + 2) >> 2
    return result


@pytest.mark.parametrize("source, target, factor", [((7, 9), (16, 5), None), ((9, 4), (3, 11), None), ((6, 10), (9, 15), 1.5),
                                                    ((5, 1), (4, 3), None), ((11, 8), (6, 4), 0.5)])
@pytest.mark.parametrize("channels", [2, 3])
def test_opencv_linear_is_that_of_its_definition(source, target, factor, channels):
    frame = np.random.default_rng(0).integers(0, 256, (*source, channels), np.uint8)
    assert np.array_equal(opencv_linear(frame, target, factor), naive_linear(frame, *target, factor))


def test_flow_is_resized_axis_by_axis():
    """Pillow would weigh the two channels of a picture with transparency by each other."""
    flow = np.random.default_rng(0).integers(0, 256, (20, 30, 2), np.uint8)
    both = pillow(flow, (16, 24), "lanczos")
    for axis in (0, 1):
        alone = np.repeat(flow[..., axis:axis + 1], 3, axis=2)
        assert np.array_equal(both[..., axis], pillow(alone, (16, 24), "lanczos")[..., 0])


def recipe(**values):
    return Recipe(**{"extractor": "i3d-resnet50", "scale": "raw", "resize": "none", "filter": "bilinear", "crops": recipes.POSITIONS,
                     "mirror": "none", "tail": "repeat", "crop": 4, **values})


def test_where_the_crops_lie():
    assert boxes(7, 9, recipe()) == [(0, 0), (0, 5), (1, 2), (3, 0), (3, 5)]
    assert boxes(7, 9, recipe(centre="round"))[2] == (2, 2)  # 1.5 and 2.5, to even
    assert boxes(9, 11, recipe(centre="round", crops=("c", "br"))) == [(2, 4), (5, 7)]  # 2.5 and 3.5


@pytest.mark.parametrize("mirror", ["none", "frame", "crop"])
def test_mirrored_crops_show_the_mirrored_pixels(mirror):
    """Of the mirrored frame, crop 5 is the mirror image of the right corner; of mirrored crops, that of the left one."""
    frame = np.random.default_rng(0).integers(0, 256, (7, 9, 3), np.uint8)
    (clip,) = snippets(Frames([frame]), recipe(mirror=mirror))
    assert clip.shape == (5 if mirror == "none" else 10, 16, 4, 4, 3)
    assert np.array_equal(clip[0, 0], frame[:4, :4]) and np.array_equal(clip[2, 0], frame[1:5, 2:6])
    if mirror != "none":
        assert np.array_equal(clip[5, 0], frame[:4, 8:4:-1] if mirror == "frame" else frame[:4, 3::-1])
        assert np.array_equal(clip[7, 0], frame[1:5, 6:2:-1] if mirror == "frame" else frame[1:5, 5:1:-1])


@pytest.mark.parametrize("height, width, size", [(240, 320, (256, 341)), (320, 240, (341, 256)), (256, 256, (256, 256)),
                                                 (100, 301, (256, 770))])
@pytest.mark.parametrize("name", ["rtfm", "roc-ng"])
def test_the_short_side_on_top_and_on_the_left(height, width, size, name):
    """int(256 * 301 / 100) = 770, and round(301 * 2.56) = 771: the two libraries differ."""
    frame = np.zeros((height, width, 3), np.uint8)
    expected = (256, 771) if (name, width) == ("roc-ng", 301) else size
    assert resize(frame, wv.video.recipes()[name], "a").shape == (*expected, 3)


def test_a_frame_that_is_too_small_or_becomes_too_large_is_one_line():
    with pytest.raises(wv.InputError, match="^small: frames of 3 x 9, smaller than the recipe's crops of 4 x 4$"):
        list(snippets(Frames([np.zeros((9, 3, 3), np.uint8)], "small"), recipe()))
    with pytest.raises(wv.InputError, match="^strip: frames of 2560000 x 256, expected at most 67108864 pixels$"):
        list(snippets(Frames([np.zeros((1, 10000, 3), np.uint8)], "strip"), "rtfm"))
